# ruff: noqa: TID253
"""Write compact bundles: the ONNX files alone, with weights stored in half precision (``make pretrained``).

python -m export.compact MODELS PRETRAINED MODEL...

A compact bundle has no SavedModel, no variants and no Keras file, so it is served by ONNX Runtime only. Its weights are
stored in 16 bits and computed with in 32: ONNX Runtime converts them once, when the model is loaded. A graph whose
answers move too far keeps its 32 bits.

Import this module only inside functions: it imports ONNX.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import numpy_helper

from bookserve.bundle import Bundle, Manifest, new_version, open_bundle, publish_bundle, seal
from bookserve.bundle.bundle import HISTORY
from bookserve.bundle.examples import Example, Examples
from bookserve.errors import BookserveError, Failed
from bookserve.generation.explain import FILTERS
from bookserve.runtime import open_session
from export.card.model_card import write_card
from export.variants import accuracy

#: Smaller arrays of weights stay as they are: a conversion costs a node.
LEAST = 256
#: Example rows that a compact bundle keeps, and the largest example of a graph in bytes. The feature maps of every
#: layer are larger than the network.
ROWS = 4
LARGEST_EXAMPLE = 1 << 20


def compact_bundle(bundle: Bundle, models: Path) -> tuple[Bundle, list[str]]:
    """Write the compact form of ``bundle`` as the next version of its model in ``models``.

    Returns it, and a note for each graph that keeps its 32 bits.

    Raises:
        Failed: a graph of the bundle has no ONNX file.
    """
    examples, notes = bundle.examples(), list[str]()
    with new_version(models, bundle.name) as directory:
        for path in sorted(bundle.path.glob("*.onnx")):
            (directory / path.name).write_bytes(_halved(onnx.load(path)).SerializeToString(deterministic=True))
        answers = {}
        for name, graph in bundle.manifest.graphs.items():
            if graph.onnx is None:
                raise Failed(f"graph '{name}' of {bundle.name} has no ONNX file.", "Only ONNX bundles can be compact.")
            if name not in examples.graphs:
                continue
            example = examples.graphs[name]
            found = open_session(directory / graph.onnx).run(example.inputs)
            moved = accuracy.compare_variant(bundle.manifest.verb, example.outputs, found)
            if problem := accuracy.accuracy_problem("float16", moved):
                notes.append(f"graph '{name}' keeps its 32 bits: {problem}.")
                shutil.copy(bundle.path / graph.onnx, directory / graph.onnx)
                found = example.outputs
            answers[name] = Example(example.inputs, found)
        manifest = _compact_manifest(bundle.manifest)
        kept = _first_rows(manifest, Examples(answers, examples.rows))
        kept.save(directory / "examples.npz")
        if HISTORY in bundle.manifest.files:
            (directory / HISTORY).parent.mkdir(exist_ok=True)
            shutil.copyfile(bundle.path / HISTORY, directory / HISTORY)
        if (bundle.path / "assets" / FILTERS).is_dir():
            shutil.copytree(bundle.path / "assets" / FILTERS, directory / "assets" / FILTERS)
        card = write_card(manifest, kept, _operators(manifest, directory), directory)
        (directory / "README.md").write_text(card, "utf-8")
        seal(directory, manifest)
        return publish_bundle(directory), notes


def _halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its float32 weights stored as float16, and a Cast for each back to float32."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < LEAST:
            continue
        array = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if not np.isfinite(half).all():
            continue
        name, stored = tensor.name, f"{tensor.name}/half"
        tensor.CopyFrom(numpy_helper.from_array(half, stored))
        casts.append(onnx.helper.make_node("Cast", [stored], [name], f"{name}/float", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _compact_manifest(manifest: Manifest) -> Manifest:
    """Without variants and files; ``seal`` lists the files."""
    return msgspec.structs.replace(manifest, variants={}, files={})


def _first_rows(manifest: Manifest, examples: Examples) -> Examples:
    """The first ``ROWS`` rows of every example whose graph takes batches, or the first alone if they are too large."""
    graphs = {}
    for name, example in examples.graphs.items():
        for rows in (ROWS, 1) if manifest.graphs[name].batched else (None,):
            kept = Example(*({key: array[:rows] for key, array in side.items()} for side in example))
            if sum(array.nbytes for side in kept for array in side.values()) <= LARGEST_EXAMPLE:
                graphs[name] = kept
                break
    return Examples(graphs, examples.rows[:ROWS])


def _operators(manifest: Manifest, directory: Path) -> dict[str, dict[str, int]]:
    """How often each operator occurs in the ONNX file of each graph."""
    files = {name: onnx.load(directory / str(graph.onnx)) for name, graph in manifest.graphs.items()}
    return {name: dict(Counter(node.op_type for node in file.graph.node)) for name, file in files.items()}


def main(arguments: list[str]) -> None:
    """Write the compact form of each model, in place of the one that is there."""
    models, target, *names = arguments
    for name in names:
        shutil.rmtree(Path(target) / name, ignore_errors=True)
        written, notes = compact_bundle(open_bundle(Path(models), name), Path(target))
        print(f"{name}: {written.size / 1e6:.2f} MB", *notes, sep="\n  ")  # noqa: T201


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except BookserveError as error:
        sys.exit(f"error: {error}")
