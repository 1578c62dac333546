# ruff: noqa: TID253
"""Write smaller or faster variants of a graph's ONNX file.

All of them are made by ONNX Runtime: by its graph optimiser, its float16 converter, or its quantiser (calibrated on the
bundle's examples). A variant is kept only if it is small enough and accurate enough; a note gives the reason otherwise.

Import this module only inside functions: it imports ONNX and ONNX Runtime.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

from bookserve.bundle import Manifest
from bookserve.bundle.examples import Example, Examples
from bookserve.bundle.variant import Variant
from bookserve.errors import BookserveError, Failed
from bookserve.generation.explain import ACTIVATIONS, HEAD
from bookserve.graph import Arrays, Graph
from bookserve.runtime import open_session
from bookserve.runtime.onnx import write_optimised
from bookserve.verb import Verb
from export.variants import accuracy, timing
from export.without_logging import without_logging

#: A larger file, relative to the float32 one, is refused. It does not apply to the optimiser, which is for speed.
MAX_SIZE_RATIO = 0.95
#: Operators that dynamic quantisation changes. Not convolutions: ONNX Runtime's kernel for those is many times slower
#: than the float32 one.
_DYNAMIC_OPERATORS = ["MatMul", "Gather", "LSTM"]

_LOAD_PROGRAM = (
    "import pathlib, sys; from bookserve.runtime import open_session; open_session(pathlib.Path(sys.argv[1]))"
)

VariantMaker = Callable[[Path, Path, Arrays], None]


def write_variants(
    directory: Path, manifest: Manifest, examples: Examples, names: Iterable[str]
) -> tuple[dict[str, dict[str, Variant]], list[str]]:
    """Write the variants ``names`` of every graph into ``directory``.

    Returns those that were kept, by name and graph, and a note for each that was not. When a variant is served, graphs
    without it run in float32.
    """
    found: dict[str, dict[str, Variant]] = {}
    notes: list[str] = []
    for graph_name, graph in manifest.graphs.items():
        if graph_name in (ACTIVATIONS, HEAD):
            continue  # they explain single pictures, which need not be fast
        if graph.onnx is None or graph_name not in examples.graphs:
            notes.append(f"no variants of graph '{graph_name}': it runs on TensorFlow only.")
            continue
        for name in dict.fromkeys(names):
            try:
                made = _write_variant(directory, name, graph, manifest.verb, examples.graphs[graph_name])
                found.setdefault(name, {})[graph_name] = made
            except Failed as error:
                notes.append(f"no {name} of graph '{graph_name}': {error.message.rstrip('.')}.")
    return found, notes


def _write_variant(directory: Path, name: str, graph: Graph, verb: Verb, example: Example) -> Variant:
    """Write, compare and measure one variant of one graph.

    Raises:
        Failed: it cannot be made, is not small enough or not accurate enough; the file is removed.
    """
    source = directory / str(graph.onnx)
    path = directory / "variants" / name / source.name
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with without_logging():
            _MAKERS[name](source, path, example.inputs)
        size, before = path.stat().st_size, source.stat().st_size
        if name != "optimised" and size > MAX_SIZE_RATIO * before:
            raise Failed(f"the file would have {size / before:.0%} of the original size (at most {MAX_SIZE_RATIO:.0%})")
        _load_in_subprocess(path)
        expected, backend = open_session(source), open_session(path)
        found = accuracy.compare_variant(verb, expected.run(example.inputs), backend.run(example.inputs))
        if reason := accuracy.accuracy_problem(name, found):
            raise Failed(reason)
        times = dict(_measure_times(graph, example.inputs, source, path))
    except Exception as error:  # the converters raise errors of many types
        path.unlink(missing_ok=True)
        for empty in (path.parent, path.parent.parent):
            if not any(empty.iterdir()):
                empty.rmdir()
        if isinstance(error, BookserveError):
            raise Failed(error.message) from error
        raise Failed(f"ONNX Runtime cannot make it: {type(error).__name__}: {str(error).splitlines()[0]}") from error
    file = path.relative_to(directory).as_posix()
    return msgspec.structs.replace(found, file=file, bytes=size, milliseconds=times)


def _load_in_subprocess(path: Path) -> None:
    """Load a file in a process of its own, since ONNX Runtime's optimiser aborts its process on some quantised graphs.

    Raises:
        Failed: the process was aborted, or the file cannot be loaded.
    """
    done = subprocess.run([sys.executable, "-c", _LOAD_PROGRAM, str(path)], capture_output=True, text=True, check=False)
    if done.returncode < 0:
        raise Failed("ONNX Runtime crashes when it loads the file")
    if done.returncode:
        raise Failed(f"ONNX Runtime cannot load the file: {done.stderr.strip().rpartition(chr(10))[2]}")


def _measure_times(graph: Graph, inputs: Arrays, *paths: Path) -> Iterator[tuple[str, tuple[float, float]]]:
    """Measure two files in turns: their milliseconds to load, and to run batches of 1 and 32 rows."""
    first, second = map(str, paths)

    def measure(functions: dict[str, Callable[[], object]]) -> tuple[float, float]:
        taken = timing.interleaved_milliseconds(functions)
        return taken[first], taken[second]

    yield "load", measure({str(path): partial(open_session, path) for path in paths})
    backends = {str(path): open_session(path) for path in paths}
    for count in (1, 32) if graph.batched else (1,):
        feeds = timing.repeat_rows(inputs, count) if graph.batched else inputs
        yield str(count), measure({path: partial(backend.run, feeds) for path, backend in backends.items()})


def _optimise(source: Path, target: Path, inputs: Arrays) -> None:
    write_optimised(source, target)


def _to_float16(source: Path, target: Path, inputs: Arrays) -> None:
    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def _quantise_dynamic(source: Path, target: Path, inputs: Arrays) -> None:
    with _preprocessed(source, target) as prepared:
        quantize_dynamic(prepared, target, op_types_to_quantize=_DYNAMIC_OPERATORS, weight_type=QuantType.QInt8)


def _quantise_static(source: Path, target: Path, inputs: Arrays) -> None:
    with _preprocessed(source, target) as prepared:
        quantize_static(
            prepared,
            target,
            _CalibrationBatch(inputs),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,  # on processors without VNNI, sums of two 8-bit products may overflow their 16 bits
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


@contextmanager
def _preprocessed(source: Path, target: Path) -> Iterator[Path]:
    """Write a temporary file with constants folded and shapes inferred, which the quantiser needs."""
    prepared = target.with_suffix(".prepared.onnx")
    try:
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        yield prepared
    finally:
        prepared.unlink(missing_ok=True)


class _CalibrationBatch(CalibrationDataReader):  # type: ignore[misc]
    """Gives the quantiser the whole example as one batch."""

    def __init__(self, inputs: Arrays) -> None:
        self._left = [inputs]

    def get_next(self) -> Arrays | None:
        return self._left.pop() if self._left else None


_MAKERS: dict[str, VariantMaker] = {
    "optimised": _optimise,
    "float16": _to_float16,
    "int8-dynamic": _quantise_dynamic,
    "int8-static": _quantise_static,
}
