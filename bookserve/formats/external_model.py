"""Describes a model that bookserve did not export: by what its file declares, and by what it does with made-up inputs.

The exporter describes any ONNX file or SavedModel so, and the server a version directory without ``bundle.json``. A
free first axis is called ``batch`` only if every row alone gets the answer that it gets among others.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from bookserve.bundle import Bundle, Manifest, parity
from bookserve.bundle.examples import Example
from bookserve.errors import Failed, InvalidInput
from bookserve.graph import DTYPES, UNKNOWN_RANK, Arrays, Graph, Precision, TensorSpec, numpy_dtype
from bookserve.images import encode_png
from bookserve.runtime import (
    DeclaringSession,
    GraphHints,
    HintingSession,
    Session,
    TensorDeclaration,
    open_model_directory,
    open_model_file,
)
from bookserve.runtime.base import DEFAULT_GRAPH, Declarations
from bookserve.steps import Numbers, Shared, Step
from bookserve.verb import Predict

_ROWS = 3
#: Sizes for free axes, tried in turn: pictures must outlast a network's strides.
_SIZES = (8, 64, 256)
#: Shapes for inputs of which not even the number of axes is known, tried in turn.
_UNRANKED_SHAPES: tuple[tuple[int, ...], ...] = ((_ROWS,), (_ROWS, 1), (_ROWS, 4), (_ROWS, 8, 8, 3), ())
#: Upper bounds for whole numbers, tried in turn: they may be ids of a small vocabulary.
_BOUNDS = (100, 2)
_SEED = 20_180_101


def describe_model_directory(
    path: Path, name: str, file: Path | None = None, *, device: str = "cpu", threads: int = 1
) -> tuple[Bundle, dict[str, Session]]:
    """The version directory ``path``, which has no ``bundle.json``, as a bundle of the model ``name``; and its open
    sessions by graph. ``file`` is the model file if it has another name than usual.

    The verb is ``predict`` on plain numbers. The default graph is ``serving_default``, or else the first.

    Raises:
        NotFound: it holds no model file.
        Failed: the model cannot be loaded, or one of its graphs cannot be served.
    """
    if file is None:
        file, sessions = open_model_directory(path, device=device, threads=threads)
    else:
        sessions = open_model_file(file, device=device, threads=threads)
    onnx = file.name if file.suffix == ".onnx" else None
    graphs: dict[str, Graph] = {}
    refused: Failed | None = None
    for graph in sorted(sessions, key=lambda graph: graph != DEFAULT_GRAPH):
        try:
            graphs[graph] = _describe_session(graph, sessions[graph], onnx)
        except Failed as error:  # the others can be served without it
            refused = error
            del sessions[graph]
    if refused and not graphs:
        raise refused
    if not graphs:
        raise Failed(f"the model in {path} has no signatures.", "Save it with signatures.")
    default, described = next(iter(graphs.items()))
    verb = Predict(
        inputs={key: (default_step(spec),) for key, spec in described.inputs.items()},
        outputs=dict.fromkeys(described.outputs, ()),
        graph=default,
    )
    return Bundle(path, Manifest(name=name, verb=verb, graphs=graphs), name), sessions


def default_step(spec: TensorSpec) -> Step:
    """The Step that makes an input from plain rows, where nobody says what the numbers mean."""
    if spec.shape == ():
        return Shared(spec.dtype)
    return Numbers(spec.dtype, tuple(spec.sizes()[1:]) if spec.ranked else None)


def check_declarations(inputs: Declarations, outputs: Declarations) -> None:
    """Refuse a graph with tensors that a ``Graph`` cannot describe.

    Raises:
        Failed: a tensor has another element type than ``DTYPES``.
    """
    for key, tensor in [*inputs.items(), *outputs.items()]:
        if tensor.dtype not in DTYPES:
            raise Failed(f"'{key}' is of dtype {tensor.dtype}.", f"Use one of {', '.join(DTYPES)}.")


def run_made_up_inputs(inputs: Declarations, run: parity.RunGraph, hints: GraphHints | None = None) -> Example:
    """Random inputs that the graph accepts, and the outputs that it gives for them. They are the same each time.

    Inputs that are strings get what ``hints`` knows, or what strings often are: words, numbers, or a picture. Whole
    numbers are ids over the whole of the largest table that the graph accepts them for, with some rows padded by zeros;
    other numbers are of both signs and several magnitudes, unless the graph accepts only those from 0 to 1.

    Raises:
        Failed: it accepts none, with the message of the first run; or it has a state that a run would change.
    """
    hints = hints or GraphHints()
    if hints.has_state:
        raise Failed("it has a state that all callers share, so its answers depend on earlier requests.")
    example = _accepted_example(inputs, run, hints.texts)
    for key, array in example.inputs.items():
        for wider in _wider_values(array, hints.table_sizes):
            feeds = {**example.inputs, key: wider}
            try:
                outputs = run(feeds)
            except (Failed, InvalidInput):
                continue
            if _finite(example.outputs) <= _finite(outputs):
                example = Example(feeds, outputs)
                break
    return example


def _accepted_example(inputs: Declarations, run: parity.RunGraph, texts: Sequence[bytes]) -> Example:
    tensors = list(inputs.values())
    shapes = _UNRANKED_SHAPES if any(tensor.shape is None for tensor in tensors) else ((),)
    strings = [list(texts)] if texts else _strings() if any(tensor.dtype == "string" for tensor in tensors) else [[]]
    free = any(not isinstance(axis, int) for tensor in tensors for axis in (tensor.shape or ()))
    refused: Failed | InvalidInput | None = None
    for shape, words, size, bound in itertools.product(shapes, strings, _SIZES if free else _SIZES[:1], _BOUNDS):
        rng = np.random.default_rng(_SEED)
        known: dict[str, int] = {}
        feeds = {
            key: _random_array(
                rng, tensor if tensor.shape is not None else tensor._replace(shape=shape), size, bound, known, words
            )
            for key, tensor in inputs.items()
        }
        try:
            return Example(feeds, run(feeds))
        except (Failed, InvalidInput) as error:
            refused = refused or error
    raise Failed(refused.message if refused else "it was never run.")


def _wider_values(array: np.ndarray, table_sizes: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield arrays to try instead of a made-up one, those that say most about the graph first."""
    rng = np.random.default_rng(_SEED)
    if array.dtype.kind == "f" and array.ndim:
        scales = np.array([1.0, 1.0, 3.0])[np.arange(len(array)) % 3].reshape(-1, *[1] * (array.ndim - 1))
        normal = (rng.standard_normal(array.shape) * scales).astype(array.dtype)
        normal[::3] = array[::3]
        yield normal
    if array.dtype.kind in "iu" and array.size:
        for size in table_sizes:
            if size - 1 > np.iinfo(array.dtype).max:
                continue
            ids = rng.integers(0, size, array.shape).astype(array.dtype)
            ids.flat[-1] = size - 1
            yield _with_padding(ids)
            yield ids
        yield _with_padding(array)


def _with_padding(ids: np.ndarray) -> np.ndarray:
    """Sequences of ids with zeros at the end of the second row, and at the start of the third."""
    padded = ids.copy()
    if ids.ndim == 2 and ids.shape[1] > 1:
        half = ids.shape[1] // 2
        padded[1:2, half:] = 0
        padded[2:3, :half] = 0
    return padded


def _finite(outputs: Arrays) -> int:
    """How many numbers are finite; a graph of logarithms gives none for negative inputs."""
    return sum(int(np.isfinite(array).sum()) for array in outputs.values() if array.dtype.kind == "f")


def graph_of_example(
    inputs: Declarations,
    outputs: Declarations,
    example: Example,
    run: parity.RunGraph,
    onnx: str | None = None,
    half: bool = False,
) -> Graph:
    """The graph with these declarations that gave ``example``; ``half``: see ``Graph``.

    Its first axes are called ``batch`` only if ``run`` gives each row alone the outputs that it has in the example.
    """
    unranked = {key for key, tensor in outputs.items() if tensor.shape is None}
    if all(tensor.shape is not None for tensor in inputs.values()):
        unranked = set()  # the outputs have as many axes as in the example
    shapes = {key: array.shape for key, array in example.outputs.items() if key not in unranked}
    precision: Precision = "half" if half else msgspec.UNSET
    graph = Graph(
        inputs=_specs(inputs, {}, "batch"), outputs=_specs(outputs, shapes, "batch"), onnx=onnx, precision=precision
    )
    try:
        if inputs and graph.batched and not parity.replay(graph, example, run).problem:
            return graph
    except (Failed, InvalidInput):
        pass  # it takes no other number of rows
    return msgspec.structs.replace(graph, inputs=_specs(inputs, {}), outputs=_specs(outputs, shapes))


def graph_of_declarations(inputs: Declarations, outputs: Declarations, onnx: str | None = None) -> Graph:
    """The graph of a model that accepts no made-up inputs: it has no batch axis."""
    return Graph(inputs=_specs(inputs, {}), outputs=_specs(outputs, {}), onnx=onnx)


def _describe_session(name: str, session: Session, onnx: str | None) -> Graph:
    if not isinstance(session, DeclaringSession):
        raise Failed(f"graph '{name}' does not declare its inputs and outputs.", "Write a bundle: bookserve export")
    inputs, outputs = session.declared()
    check_declarations(inputs, outputs)
    hints = session.hints() if isinstance(session, HintingSession) else GraphHints()
    try:
        example = run_made_up_inputs(inputs, session.run, hints)
    except Failed:
        return graph_of_declarations(inputs, outputs, onnx)
    return graph_of_example(inputs, outputs, example, session.run, onnx, hints.half)


def _random_array(
    rng: np.random.Generator,
    tensor: TensorDeclaration,
    size: int,
    bound: int,
    sizes: dict[str, int],
    words: Sequence[bytes],
) -> np.ndarray:
    """Random values; axes of one name get one size, which ``sizes`` remembers from tensor to tensor.

    ``words`` are the strings to choose from.
    """

    def length(position: int, axis: int | str | None) -> int:
        if isinstance(axis, int):
            return axis
        usual = size if position else _ROWS
        return sizes.setdefault(axis, usual) if axis else usual

    shape = [length(position, axis) for position, axis in enumerate(tensor.shape or ())]
    dtype = numpy_dtype(tensor.dtype)
    if dtype.kind == "O":
        return _object_array(words[int(place) % len(words)] for place in range(int(np.prod(shape)))).reshape(shape)
    if dtype.kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, 2 if dtype.kind == "b" else bound, shape).astype(dtype)


def _strings() -> list[list[bytes]]:
    """What strings often are, tried in turn: words, numbers, a picture, a picture for a web address."""
    pixels = np.random.default_rng(_SEED).integers(0, 256, (32, 32, 3), np.uint8)
    picture = encode_png(pixels)
    return [[b"two", b"one", b"three"], [b"1", b"2.5", b"0"], [picture], [base64.urlsafe_b64encode(picture)]]


def _object_array(items: Iterable[bytes]) -> np.ndarray:
    found = list(items)
    array = np.empty(len(found), object)
    array[:] = found
    return array


def _specs(tensors: Declarations, given: Mapping[str, tuple[int, ...]], batch: str = "") -> dict[str, TensorSpec]:
    """Axes of known size or name keep it; the others are called ``<tensor>_<axis>``, a first one ``batch`` if given.

    ``given`` are the shapes that outputs had when the model ran, which corrects those that it declares wrongly.
    """
    specs = {}
    for key, tensor in tensors.items():
        declared = tensor.shape
        if key in given and (declared is None or not _fits(declared, given[key])):
            declared = (None,) * len(given[key])
        if declared is None:
            specs[key] = TensorSpec(tensor.dtype, UNKNOWN_RANK)
            continue
        axes = [f"{key}_{axis}" if size in (None, "batch") else size for axis, size in enumerate(declared)]
        if batch and axes and isinstance(axes[0], str):
            axes[0] = batch
        specs[key] = TensorSpec(tensor.dtype, tuple(axes))
    return specs


def _fits(declared: tuple[int | str | None, ...], shape: tuple[int, ...]) -> bool:
    return len(declared) == len(shape) and all(
        not isinstance(axis, int) or axis == size for axis, size in zip(declared, shape, strict=True)
    )
