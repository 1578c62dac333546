"""Opens executable graphs: finds the Runtime of a model file by the file's name and lets it open Sessions.

ONNX Runtime and TensorFlow are built in. Others are found in two ways:

- an installed package names its class in the entry-point group ``bookserve.runtimes``::

      [project.entry-points."bookserve.runtimes"]
      toy = "toy_runtime:ToyRuntime"

  The class is called without arguments when a model file comes up that no other runtime opens.
- a program calls ``register_runtime(ToyRuntime())``.

Where several runtimes open a file, the built-in ones go first, then those registered, then those installed.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

from bookserve.errors import Failed, InvalidInput, NotFound
from bookserve.runtime.base import DEFAULT_GRAPH, Runtime, Session
from bookserve.runtime.onnx import OnnxRuntime
from bookserve.runtime.tensorflow import TensorflowRuntime

ENTRY_POINTS = "bookserve.runtimes"

_BUILT_IN: tuple[Runtime, ...] = (OnnxRuntime(), TensorflowRuntime())
_registered: list[Runtime] = []


def register_runtime(runtime: Runtime) -> None:
    """Make a runtime known to this process.

    Raises:
        InvalidInput: there is another one of that name.
    """
    if any(runtime.name == other.name for other in (*_BUILT_IN, *_registered)):
        raise InvalidInput(f"there is a runtime '{runtime.name}' already.", "Give this one another name.")
    _registered.append(runtime)


def runtimes() -> Iterator[Runtime]:
    """All runtimes in the order in which they are tried. Installed ones are imported only when the others are through.

    Raises:
        Failed: (during the iteration) an installed runtime cannot be imported.
    """
    yield from _BUILT_IN
    yield from tuple(_registered)
    yield from _installed_runtimes()


def open_session(path: Path, graph: str = DEFAULT_GRAPH, *, device: str = "cpu", threads: int = 1) -> Session:
    """Open one graph of a model file. The name of the graph counts only where a file has several (a SavedModel).

    Raises:
        InvalidInput: there is no such device.
        Failed: no runtime opens such a file, or the file or graph cannot be loaded.
    """
    return open_model_file(path, (graph,), device=device, threads=threads)[graph]


def open_model_file(
    path: Path, graphs: Collection[str] | None = None, *, device: str = "cpu", threads: int = 1
) -> dict[str, Session]:
    """Open several graphs of one model file, or all of them (None), which loads it once.

    Raises:
        InvalidInput, Failed: see ``open_session``.
    """
    devices: list[str] = []
    for runtime in runtimes():
        if runtime.opens(path):
            if device in runtime.devices:
                return runtime.open_sessions(path, graphs, device=device, threads=threads)
            devices += runtime.devices
    if not devices:
        known = ", ".join(runtime.model_file for runtime in runtimes())
        raise Failed(f"no runtime opens {path}.", f"Model files are called like {known}.")
    raise InvalidInput(f"there is no device '{device}' for {path.name}.", f"Use {', '.join(dict.fromkeys(devices))}.")


def open_model_directory(directory: Path, *, device: str = "cpu", threads: int = 1) -> tuple[Path, dict[str, Session]]:
    """Open all graphs of the model in a version directory without ``bundle.json``; gives the model file, too.

    Raises:
        NotFound: no runtime finds its model file there.
        InvalidInput, Failed: see ``open_session``.
    """
    for runtime in runtimes():
        if (path := directory / runtime.model_file).is_file():
            return path, open_model_file(path, device=device, threads=threads)
    known = " or ".join(runtime.model_file for runtime in runtimes())
    raise NotFound(f"{directory} holds no bundle.json, {known}.", "Write a bundle: bookserve export")


@cache
def _installed_runtimes() -> tuple[Runtime, ...]:
    if not _any_installed():
        return ()
    from importlib.metadata import entry_points

    found: list[Runtime] = []
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            found.append(entry.load()())
        except Exception as error:  # a package of somebody else can fail in any way
            raise Failed(
                f"the runtime '{entry.name}' ({entry.value}) cannot be imported: {type(error).__name__}: {error}.",
                "Install it again, or uninstall it.",
            ) from error
    return tuple(found)


def _any_installed() -> bool:
    """Whether any installed package names the group. The files alone are read in a tenth of the time that
    ``importlib.metadata`` takes, and hardly any machine has such a package."""
    group = f"[{ENTRY_POINTS}]".encode()
    return any(group in file.read_bytes() for place in sys.path for file in Path(place).glob("*-info/entry_points.txt"))
