"""A fake runtime for tests: simple arithmetic, no other library, and the same results on every machine.

``FakeSession`` stands in for any Session. ``FakeRuntime`` opens files called ``model.fake``, which are JSON::

    {"inputs": {"x": "float32[batch, 3]"}, "outputs": {"y": "float32[batch, 3]"}, "scale": 2, "shift": 1}

It is known to ``open_session`` only where a test registers it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import msgspec
import numpy as np

from bookserve.errors import Failed, InvalidInput
from bookserve.graph import Arrays
from bookserve.runtime.base import DEFAULT_GRAPH, Declarations, Session, TensorDeclaration


class FakeModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a ``model.fake`` holds. An output is ``scale × input + shift`` of the input in the same place."""

    inputs: dict[str, str]
    outputs: dict[str, str]
    scale: float = 1.0
    shift: float = 0.0
    #: Seconds of a run on the CPU, by the clock of the runtime, for each row.
    per_row: float = 0.0


class FakeSession:
    """Runs a ``FakeModel``; see ``Session``. Negative numbers are refused, so that a test can make a run fail."""

    def __init__(self, model: FakeModel, advance: Callable[[float], None] = lambda _: None) -> None:
        """``advance`` moves the clock by which runs are measured."""
        self._model = model
        self._advance = advance
        #: What each run was fed.
        self.runs: list[Arrays] = []

    def declared(self) -> tuple[Declarations, Declarations]:
        """See ``DeclaringSession``."""
        inputs, outputs = (
            {name: _declaration(text) for name, text in side.items()}
            for side in (self._model.inputs, self._model.outputs)
        )
        return inputs, outputs

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Run the model; see ``Session.run``.

        Raises:
            InvalidInput: a number is negative.
        """
        self.runs.append(dict(feeds))
        if any((array < 0).any() for array in feeds.values()):
            raise InvalidInput("the model refused the input: a number is negative.")
        self._advance(self._model.per_row * max(map(len, feeds.values())))
        pairs = zip(self._model.outputs, self._model.inputs, strict=True)
        return {
            output: (feeds[name] * self._model.scale + self._model.shift).astype(feeds[name].dtype)
            for output, name in pairs
        }


class FakeRuntime:
    """Opens ``model.fake``; see ``Runtime``."""

    name = "fake"
    model_file = "model.fake"
    devices: Collection[str] = ("cpu",)

    def __init__(self, advance: Callable[[float], None] = lambda _: None) -> None:
        """``advance`` moves the clock by which runs are measured."""
        self._advance = advance

    def opens(self, path: Path) -> bool:
        """Whether the name ends in ``.fake``."""
        return path.suffix == ".fake"

    def open_sessions(
        self, path: Path, graphs: Collection[str] | None = None, *, device: str = "cpu", threads: int = 1
    ) -> dict[str, Session]:
        """Open the only graph of the file; see ``Runtime.open_sessions``."""
        try:
            model = msgspec.json.decode(path.read_bytes(), type=FakeModel)
        except (OSError, msgspec.MsgspecError) as error:
            raise Failed(f"the fake runtime cannot load {path}: {error}.", "Write the file again.") from error
        return dict.fromkeys(graphs or (DEFAULT_GRAPH,), FakeSession(model, self._advance))


def _declaration(text: str) -> TensorDeclaration:
    """``float32[batch, 3]`` as a declaration."""
    dtype, _, axes = text.rstrip("]").partition("[")
    shape = tuple(int(axis) if axis.isdigit() else axis for axis in axes.replace(" ", "").split(",") if axis)
    return TensorDeclaration(dtype, shape)
