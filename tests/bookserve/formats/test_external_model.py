"""Models that bookserve did not export: what is found out about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from bookserve.errors import Failed, InvalidInput
from bookserve.formats import external_model
from bookserve.formats.external_model import describe_model_directory
from bookserve.graph import UNKNOWN_RANK, Arrays, Graph
from bookserve.runtime import Session, TensorDeclaration
from bookserve.runtime.base import Declarations
from bookserve.runtime.fake import FakeModel, FakeSession

Axes = tuple[int | str | None, ...] | None


class Computed(FakeSession):
    """Declares and computes what a test says."""

    def __init__(self, inputs: dict[str, Axes], outputs: dict[str, Axes], compute: Callable[..., object]) -> None:
        super().__init__(FakeModel({}, {}))
        self.sides = inputs, outputs
        self.compute = compute

    def declared(self) -> tuple[Declarations, Declarations]:
        inputs, outputs = (
            {name: TensorDeclaration("float32", axes) for name, axes in side.items()} for side in self.sides
        )
        return inputs, outputs

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        try:
            return {"y": np.asarray(self.compute(**feeds), np.float32)}
        except ValueError as error:
            raise InvalidInput(f"{error}.") from error


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Graph]:
    def describe(session: Session) -> Graph:
        sessions = {"serving_default": session}
        monkeypatch.setattr(external_model, "open_model_directory", lambda *_, **__: (tmp_path / "model.x", sessions))
        return describe_model_directory(tmp_path / "net/1", "net")[0].graph()[1]

    return describe


def shown(graph: Graph) -> dict[str, str]:
    return {name: str(tensor) for name, tensor in {**graph.inputs, **graph.outputs}.items()}


@pytest.mark.parametrize(
    ("inputs", "outputs", "compute", "expected"),
    [
        pytest.param(
            {"x": ("N", 2)}, {"y": ("N", 2)}, lambda x: 2 * x, ["[batch, 2]", "[batch, 2]"], id="rows of their own"
        ),
        pytest.param(
            {"x": (None, 2)}, {"y": (None, 2)}, lambda x: x / x.sum(), ["[x_0, 2]", "[y_0, 2]"], id="rows that depend"
        ),
        pytest.param(
            {"x": (None, "n")}, {"y": (None, None)}, lambda x: x, ["[batch, n]", "[batch, y_1]"], id="free axes"
        ),
        pytest.param({"x": ("batch", 2)}, {"y": (2,)}, lambda x: x.sum(0), ["[x_0, 2]", "[2]"], id="no batch"),
        pytest.param({"x": (4, 2)}, {"y": (4, 2)}, lambda x: x, ["[4, 2]", "[4, 2]"], id="fixed sizes"),
        pytest.param({"x": (None, 2)}, {"y": None}, lambda x: x, ["[batch, 2]", "[batch, y_1]"], id="no output shape"),
        pytest.param({"x": (None, 2)}, {"y": ()}, lambda x: x, ["[batch, 2]", "[batch, y_1]"], id="wrong output shape"),
        pytest.param({}, {"y": (None,)}, lambda: np.ones(3), ["[y_0]"], id="no inputs"),
    ],
)
def test_axes_are_named_by_what_the_model_does(
    described: Callable[..., Graph],
    inputs: dict[str, Axes],
    outputs: dict[str, Axes],
    compute: Callable[..., object],
    expected: list[str],
) -> None:
    graph = described(Computed(inputs, outputs, compute))
    assert list(shown(graph).values()) == [f"float32{axes}" for axes in expected]


def test_axes_of_one_name_get_one_size(described: Callable[..., Graph]) -> None:
    graph = described(Computed({"a": (None, "n"), "b": ("n", 4)}, {"y": (None, 4)}, lambda a, b: a @ b))
    assert shown(graph) == {"a": "float32[a_0, n]", "b": "float32[n, 4]", "y": "float32[y_0, 4]"}


def test_a_larger_size_is_tried_where_a_small_one_is_refused(described: Callable[..., Graph]) -> None:
    def pooled(x: np.ndarray) -> np.ndarray:
        if x.shape[1] < 50:
            raise InvalidInput("too small.")
        return x[:, :2]

    assert described(Computed({"x": (None, None)}, {"y": (None, 2)}, pooled)).batched


def test_a_model_that_accepts_nothing_is_described_by_its_declarations(described: Callable[..., Graph]) -> None:
    def refuse(x: np.ndarray) -> np.ndarray:
        raise InvalidInput("no.")

    assert shown(described(Computed({"x": ("batch", 2)}, {"y": (None, 2)}, refuse))) == {
        "x": "float32[x_0, 2]",
        "y": "float32[y_0, 2]",
    }
    unknown = described(Computed({"x": ("batch", 2)}, {"y": None}, refuse))
    assert unknown.outputs["y"].shape == UNKNOWN_RANK


def test_a_model_that_cannot_be_served_is_refused(
    described: Callable[..., Graph], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(Failed, match="'x' is of dtype complex64"):
        described(FakeSession(FakeModel({"x": "complex64[2]"}, {"y": "float32[2]"})))
    monkeypatch.setattr(external_model, "open_model_directory", lambda *_, **__: (tmp_path / "saved_model.pb", {}))
    with pytest.raises(Failed, match="no signatures"):
        describe_model_directory(tmp_path / "net/1", "net")
