"""Write ``config.pbtxt`` beside the versions of a model, so that NVIDIA's Triton can serve the same directory.

Triton serves one graph of a model, the default one, from its ONNX file. There is no configuration if the default graph
has no ONNX file. It describes the newest version, which Triton loads by default.

Source: Triton's ``model_config.proto`` and its documentation of model configurations.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bookserve import bundle
from bookserve.bundle import Bundle
from bookserve.errors import BookserveError
from bookserve.graph import TensorSpec
from bookserve.steps import TopLabels
from bookserve.verb import Predict

CONFIG = "config.pbtxt"
#: Maximum rows of a batch, and of one request, in Triton; the same as in bookserve's batcher.
MAX_BATCH_SIZE = 256
#: File of labels in a version directory, one per line, for Triton's classification.
LABELS = Path("assets") / "labels.txt"

_DTYPES = {"float16": "FP16", "float32": "FP32", "float64": "FP64"}


def write_config(models: Path, name: str) -> None:
    """Write the configuration of a model's newest version atomically; safe if other exporters run at the same time."""
    written = None
    while (newest := max(bundle.versions(models, name), default=None)) != written:
        written = newest  # if another version has been published meanwhile, write the file again
        path = models / name / CONFIG
        try:
            text = config_pbtxt(bundle.open_bundle(models, name, newest))
        except BookserveError:
            text = ""  # a version that cannot be read gets no configuration
        if not text:
            path.unlink(missing_ok=True)
            continue
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=".config-", delete=False
        ) as file:
            file.write(text)
        Path(file.name).chmod(0o644)
        Path(file.name).replace(path)


def config_pbtxt(opened: Bundle) -> str:
    """The configuration of a bundle as protobuf text; '' if its default graph has no ONNX file."""
    graph = opened.manifest.graphs.get(opened.manifest.default)
    if graph is None or graph.onnx is None:
        return ""
    specs = [*graph.inputs.values(), *graph.outputs.values()]
    # Triton's dims leave out the batch axis, so every tensor needs another axis.
    batched = graph.batched and all(len(spec.shape) > 1 for spec in specs)
    labels = label_files(opened)
    lines = [
        f"# {opened.name}, version {opened.version}: written by bookserve with each version, read by Triton.",
        f"name: {json.dumps(opened.name)}",
        'backend: "onnxruntime"',
        'platform: "onnxruntime_onnx"',
        f"default_model_filename: {json.dumps(graph.onnx)}",
        f"max_batch_size: {MAX_BATCH_SIZE if batched else 0}",
        *(["dynamic_batching { }"] if batched else []),
        *_tensors("input", graph.inputs, batched, {}),
        *_tensors("output", graph.outputs, batched, labels),
    ]
    return "\n".join(lines) + "\n"


def label_files(opened: Bundle) -> dict[str, str]:
    """Output → its file of labels inside the model's directory, if the version has one."""
    verb = opened.manifest.verb
    if LABELS.as_posix() not in opened.manifest.files or not isinstance(verb, Predict):
        return {}
    with_labels = [name for name, steps in verb.outputs.items() if any(isinstance(step, TopLabels) for step in steps)]
    return {name: f"{opened.version}/{LABELS.as_posix()}" for name in with_labels[:1]}


def _tensors(side: str, specs: Mapping[str, TensorSpec], batched: bool, labels: Mapping[str, str]) -> list[str]:
    lines = []
    for name, spec in specs.items():
        dims = spec.sizes()[1:] if batched else spec.sizes()
        fields = [f"name: {json.dumps(name)}", f"data_type: TYPE_{_DTYPES.get(spec.dtype, spec.dtype.upper())}"]
        fields.append(f"dims: [ {', '.join(map(str, dims or [1]))} ]")
        if not dims:
            fields.append("reshape { shape: [ ] }")  # a single number
        if name in labels:
            fields.append(f"label_filename: {json.dumps(labels[name])}")
        lines.append(f"{side} {{\n  " + "\n  ".join(fields) + "\n}")
    return lines
