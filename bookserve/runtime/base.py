"""The two interfaces between bookserve and what executes a graph: ``Session`` and ``Runtime``.

A Session is one graph that is ready to run. A Runtime opens model files of one kind as Sessions. A new runtime is one
class that has what ``Runtime`` lists; ``bookserve/runtime/registry.py`` says how it becomes known.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeGuard, runtime_checkable

import numpy as np

from bookserve.errors import InvalidInput
from bookserve.graph import Arrays, Graph
from bookserve.runtime.devices import DeviceConfig, Gpu

#: Name of the graph of a file that holds only one, and of a SavedModel's default signature.
DEFAULT_GRAPH = "serving_default"


class TensorDeclaration(NamedTuple):
    """What a model file declares of one tensor.

    ``dtype`` is NumPy's name or ``string``, as in ``bookserve.graph.DTYPES``; a type that is not in that list keeps the
    name that the runtime has for it. An axis is a size, the name of a size that each call chooses, or None for a free
    axis without a name. ``shape`` is None where not even the number of axes is declared.
    """

    dtype: str
    shape: tuple[int | str | None, ...] | None


#: By the name of the tensor.
Declarations = dict[str, TensorDeclaration]


class GraphHints(NamedTuple):
    """What is known about a graph besides the declarations of its inputs and outputs."""

    #: Whether its answers depend on what was asked before.
    has_state: bool = False
    #: Strings that it is known to take; none where any string may do.
    texts: Sequence[bytes] = ()
    #: How many rows its tables have, largest first: whole numbers may be ids of one of them.
    table_sizes: Sequence[int] = ()
    #: See ``Graph.half``.
    half: bool = False


def refuse_empty(feeds: Mapping[str, np.ndarray], declared: Declarations) -> None:
    """Refuse inputs without any element, unless the model file declares an axis of length 0.

    ``Graph.check`` refuses them for requests. This is for everything else that runs a graph: some operators of the
    runtimes end the whole process where they get no rows.

    Raises:
        InvalidInput: an input is empty; the message names it.
    """
    for name, array in feeds.items():
        if not array.size and name in declared and 0 not in (declared[name].shape or ()):
            raise InvalidInput(f"input '{name}' is empty: its shape is {list(array.shape)}.", "Send at least one row.")


class Session(Protocol):
    """One graph that is ready to run. One thread at a time may call it; it is freed with its last reference."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Run the graph on feeds that fit it (``Graph.check``); gives the outputs by name.

        Raises:
            InvalidInput: the runtime refused the values, such as an index beyond the end of a table.
            Failed: the run failed for any other reason.
        """


@runtime_checkable
class DeclaringSession(Session, Protocol):
    """A Session that knows its graph's inputs and outputs, so that it can be served without ``bundle.json``."""

    def declared(self) -> tuple[Declarations, Declarations]:
        """The inputs and the outputs, each by name.

        Raises:
            Failed: one of them is not a tensor.
        """


@runtime_checkable
class HintingSession(Session, Protocol):
    """A Session that knows more about its graph than it declares."""

    def hints(self) -> GraphHints:
        """What it knows."""


class Runtime(Protocol):
    """Opens the model files of one kind."""

    @property
    def name(self) -> str:
        """Short name for messages, such as ``onnxruntime``."""

    @property
    def model_file(self) -> str:
        """Name of the model file in a version directory without ``bundle.json``, such as ``model.onnx``."""

    @property
    def devices(self) -> Collection[str]:
        """What sessions can run on; every runtime has ``cpu``."""

    def opens(self, path: Path) -> bool:
        """Whether ``path`` is a model file of this kind, judged by its name alone."""

    def open_sessions(
        self, path: Path, graphs: Collection[str] | None = None, *, device: str = "cpu", threads: int = 1
    ) -> dict[str, Session]:
        """Open graphs of one model file: those named, or all (None).

        Where a kind of file holds only one graph, that graph is what every name means, and ``DEFAULT_GRAPH`` is its
        name where none is given. ``device`` is one of ``devices``; ``threads`` is how many threads a run may use.

        Raises:
            Failed: the file is damaged, lacks one of the graphs, or needs what the runtime does not have.
        """


@runtime_checkable
class GpuRuntime(Runtime, Protocol):
    """A Runtime that can also run its graphs on GPUs."""

    @property
    def version(self) -> str:
        """Version of the runtime. What was measured with one version says nothing of another."""

    @property
    def clock(self) -> Callable[[], float]:
        """The clock, in seconds, by which runs are measured: ``time.perf_counter``."""

    def gpus(self) -> list[Gpu]:
        """The GPUs that it can use, with the memory that is free now.

        Raises:
            DeviceUnavailable: it can use none; the message says what is missing, the hint how to get it.
        """

    def open_on_gpu(self, path: Path, graph: str, device: str, config: DeviceConfig, threads: int) -> Session:
        """Open one graph of a model file on the GPU ``device`` (``cuda:0``).

        Its runs raise ``OutOfMemory`` and ``DeviceLost`` where that is the reason.

        Raises:
            OutOfMemory: it does not fit.
            DeviceUnavailable: the GPU cannot be used.
            Failed: the graph cannot be loaded.
        """


def knows_gpus(runtime: Runtime) -> TypeGuard[GpuRuntime]:
    """Whether it is a ``GpuRuntime``. ``isinstance`` would read its properties, and a version takes long to find."""
    return hasattr(type(runtime), "open_on_gpu")


@runtime_checkable
class FixedSizeRuntime(GpuRuntime, Protocol):
    """A GpuRuntime that can run some batch sizes through buffers of their own: ``bookserve/runtime/fixed_sizes.py``."""

    def open_fixed_sizes(
        self, path: Path, graph: Graph, sizes: Sequence[int], device: str, config: DeviceConfig, threads: int
    ) -> Session:
        """Open a model file with one graph a second time, for batches of ``sizes`` only.

        ``graph`` has fixed sizes behind the rows. Raises as ``GpuRuntime.open_on_gpu``.
        """
