"""Foreign: a version without ``bundle.json`` – a bare ONNX file or SavedModel – described by what it declares and does.

A file ``model.onnx`` (Triton's layout) goes before a ``saved_model.pb`` (TensorFlow Serving's), which TensorFlow runs.
An unknown first axis is called ``batch`` only if every row alone gives the answer it gives among others: random rows
are run to find that out.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bookserve.bundle import Bundle, Manifest
from bookserve.errors import BookserveError, Failed
from bookserve.graph import DTYPES, Arrays, Graph, TensorSpec, numpy_dtype
from bookserve.runtime import DeclaringSession, Session, open_model_directory
from bookserve.steps import Numbers
from bookserve.verb import Predict

ONNX = "model.onnx"
_ROWS = 3
#: Sizes for unknown axes and bounds for whole numbers (which may be ids of a small table), tried in turn.
_SIZES, _BOUNDS = (8, 64, 256), (100, 2)

Tensors = Mapping[str, tuple[str, list[Any]]]


def describe_external_model(path: Path, name: str) -> tuple[Bundle, dict[str, Session]]:
    """The version at ``path`` as a bundle of the model ``name``, and what runs its graphs.

    Raises:
        NotFound: there is neither an ONNX file nor a SavedModel.
        Failed: it cannot be loaded, or none of its graphs can be served.
    """
    file, sessions = open_model_directory(path)
    graphs: dict[str, Graph] = {}
    for signature in sorted(sessions, key=lambda key: key != "serving_default"):
        session = sessions[signature]
        if not isinstance(session, DeclaringSession):
            raise Failed(f"{file} does not declare its inputs and outputs.", "Write a bundle.json beside it.")
        inputs, outputs = ({name: _listed(*tensor) for name, tensor in side.items()} for side in session.declared())
        graphs[signature] = _graph(session, inputs, outputs, file.name if file.name == ONNX else None)
    if not graphs:
        raise Failed(f"the model in {path} has no signatures.", "Save it with signatures.")
    default, graph = next(iter(graphs.items()))
    verb = Predict(
        inputs={key: (Numbers(spec.dtype, tuple(spec.sizes()[1:])),) for key, spec in graph.inputs.items()},
        outputs=dict.fromkeys(graph.outputs, ()),
        graph=default,
    )
    return Bundle(path, Manifest(name=name, verb=verb, graphs=graphs), name), sessions


def _listed(dtype: str, shape: tuple[int | str | None, ...] | None) -> tuple[str, list[Any]]:
    if shape is None:
        raise Failed("a signature has tensors that cannot be served: not even their number of axes is known.")
    return dtype, list(shape)


def _graph(backend: Session, inputs: Tensors, outputs: Tensors, onnx: str | None = None) -> Graph:
    for name, (dtype, _) in [*inputs.items(), *outputs.items()]:
        if dtype not in DTYPES:
            raise Failed(f"'{name}' is a {dtype}, which cannot be served.", f"Use one of {', '.join(DTYPES)}.")
    feeds, given = _try_out(backend, inputs)
    shown = {name: (kind, _shape(shape, given.get(name))) for name, (kind, shape) in outputs.items()}
    sides = inputs, shown
    batched = all(shape and not isinstance(shape[0], int) for side in sides for _, shape in side.values())
    if batched and given and _rows_are_their_own(backend, feeds, given):
        return Graph(inputs=_specs(inputs, "batch"), outputs=_specs(shown, "batch"), onnx=onnx)
    return Graph(inputs=_specs(inputs), outputs=_specs(shown), onnx=onnx)


def _shape(declared: list[Any], given: np.ndarray | None) -> list[Any]:
    """An output's shape: some files do not even declare how many axes it has."""
    return declared if given is None or len(declared) == given.ndim else [None] * given.ndim


def _specs(tensors: Tensors, first: str = "") -> dict[str, TensorSpec]:
    """Unknown axes get a name of their own; one that the file called ``batch`` but is none may not keep it."""

    def named(name: str, place: int, axis: Any) -> int | str:
        if place == 0 and first:
            return first
        if isinstance(axis, int):
            return axis
        return str(axis) if axis and axis != "batch" else f"{name}_{place}"

    return {
        name: TensorSpec(dtype, tuple(named(name, place, axis) for place, axis in enumerate(shape)))
        for name, (dtype, shape) in tensors.items()
    }


def _try_out(backend: Session, inputs: Tensors) -> tuple[Arrays, Arrays]:
    """Random inputs that it accepts, and what it gives for them; both empty where it accepts none."""
    for size, bound in itertools.product(_SIZES, _BOUNDS):
        rng = np.random.default_rng(0)
        feeds = {name: _random(rng, dtype, shape, size, bound) for name, (dtype, shape) in inputs.items()}
        try:
            return feeds, backend.run(feeds)
        except BookserveError:
            continue
    return {}, {}


def _random(rng: np.random.Generator, dtype: str, shape: list[Any], size: int, bound: int) -> np.ndarray:
    sizes = [axis if isinstance(axis, int) else _ROWS if place == 0 else size for place, axis in enumerate(shape)]
    kind = numpy_dtype(dtype)
    if kind.kind == "O":
        return rng.choice(np.array([b"one", b"two", b"three"], object), sizes)
    if kind.kind == "f":
        return rng.random(sizes).astype(kind)
    return rng.integers(0, 2 if kind.kind == "b" else bound, sizes).astype(kind)


def _rows_are_their_own(backend: Session, feeds: Arrays, given: Arrays) -> bool:
    if any(len(array) != _ROWS for array in given.values()):
        return False
    try:
        for row in range(_ROWS):
            alone = backend.run({name: array[row : row + 1] for name, array in feeds.items()})
            if not all(_alike(alone[name], array[row : row + 1]) for name, array in given.items()):
                return False
    except BookserveError:
        return False  # it takes no other number of rows
    return True


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    if one.shape != other.shape:
        return False
    return bool(np.allclose(one, other, 1e-3, 1e-5, equal_nan=True) if one.dtype.kind == "f" else (one == other).all())
