"""Describe a model as Triton does: as the answer to ``ModelConfig``, and as ``config.pbtxt`` beside its versions.

With ``config.pbtxt`` NVIDIA's Triton can serve the same directory. Triton serves one graph of a model, the default
one, from its ONNX file, so a model whose default graph has none gets no such file. It describes the newest version,
which Triton loads by default. ``triton_config.py`` reads the ``config.pbtxt`` that somebody else wrote.

Source: Triton's ``model_config.proto`` and its documentation of model configurations.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bookserve import bundle
from bookserve.api import triton_config_pb2 as pb
from bookserve.bundle import Bundle
from bookserve.errors import BookserveError
from bookserve.graph import Graph, TensorSpec
from bookserve.steps import TopLabels
from bookserve.verb import Predict

CONFIG = "config.pbtxt"
#: In the first line of a file that bookserve wrote: it says nothing that bookserve does not know.
WRITTEN_BY = "written by bookserve"
#: Maximum rows of a batch, and of one request, in Triton; the same as in bookserve's batcher.
MAX_BATCH_SIZE = 256
#: File of labels in a version directory, one per line, for Triton's classification.
LABELS = Path("assets") / "labels.txt"

_DTYPES = {"float16": "FP16", "float32": "FP32", "float64": "FP64"}
#: Fields of ``config.pbtxt``; Triton fills in the others.
_IN_FILE = (
    *("name", "backend", "platform", "default_model_filename", "max_batch_size", "dynamic_batching"),
    *("input", "output"),
)


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
    from google.protobuf import text_format
    from google.protobuf.json_format import ParseDict

    graph = opened.manifest.graphs.get(opened.manifest.default)
    if graph is None or graph.onnx is None:
        return ""
    config = model_config(opened)
    message = ParseDict({field: config[field] for field in _IN_FILE if field in config}, pb.ModelConfig())
    head = f"# {opened.name}, version {opened.version}: {WRITTEN_BY} with each version, read by Triton."
    return f"{head}\n{text_format.MessageToString(message, as_utf8=True)}"


def model_config(opened: Bundle, max_batch_size: int = MAX_BATCH_SIZE) -> dict[str, Any]:
    """Triton's ``ModelConfig`` of a bundle's default graph, in the JSON form that Triton answers with.

    ``max_batch_size`` holds if the graph has a batch axis.
    """
    _, graph = opened.graph()
    specs = [*graph.inputs.values(), *graph.outputs.values()]
    # Triton's dims leave out the batch axis, so every tensor needs another axis.
    batched = graph.batched and all(len(spec.shape) > 1 for spec in specs)
    config = {
        "name": opened.name,
        "platform": platform(graph),
        "backend": "onnxruntime" if graph.onnx else "" if graph.members else "tensorflow",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": max_batch_size if batched else 0,
        "input": _tensors(graph.inputs, batched, {}, {"format": "FORMAT_NONE", "allow_ragged_batch": False}),
        "output": _tensors(graph.outputs, batched, label_files(opened), {"label_filename": ""}),
        "instance_group": [{"name": f"{opened.name}_0", "kind": "KIND_CPU", "count": 1, "gpus": []}],
        "default_model_filename": graph.onnx or ("" if graph.members else "saved_model.pb"),
        "cc_model_filenames": {},
        "metric_tags": {},
        "parameters": {},
        "model_transaction_policy": {"decoupled": False},
    }
    if batched:
        config["dynamic_batching"] = {}
    return config | _ensemble(graph)


def platform(graph: Graph) -> str:
    """Triton's name for what runs the graph."""
    return "ensemble" if graph.members else "onnxruntime_onnx" if graph.onnx else "tensorflow_savedmodel"


def triton_type(dtype: str) -> str:
    """Triton's name of a graph's element type in configurations: ``TYPE_FP32``."""
    return f"TYPE_{_DTYPES.get(dtype, dtype.upper())}"


def label_files(opened: Bundle) -> dict[str, str]:
    """Output → its file of labels inside the model's directory, if the version has one."""
    verb = opened.manifest.verb
    if LABELS.as_posix() not in opened.manifest.files or not isinstance(verb, Predict):
        return {}
    with_labels = [name for name, steps in verb.outputs.items() if any(isinstance(step, TopLabels) for step in steps)]
    return {name: f"{opened.version}/{LABELS.as_posix()}" for name in with_labels[:1]}


def _tensors(
    specs: Mapping[str, TensorSpec], batched: bool, labels: Mapping[str, str], defaults: Mapping[str, Any]
) -> list[dict[str, Any]]:
    tensors = []
    for name, spec in specs.items():
        dims = spec.sizes()[1:] if batched else spec.sizes()
        tensor = {"name": name, "data_type": triton_type(spec.dtype), "dims": dims or [1], **defaults}
        tensor["is_shape_tensor"] = False
        if not dims:
            tensor["reshape"] = {"shape": []}  # a single number
        if name in labels:
            tensor["label_filename"] = labels[name]
        tensors.append(tensor)
    return tensors


def _ensemble(graph: Graph) -> dict[str, Any]:
    """The steps of a composite. One that runs graphs of its own bundle, which Triton does not know, has no platform."""
    if not graph.members:
        return {}
    if not all(member.model for member in graph.members):
        return {"platform": ""}
    steps = [
        {
            "model_name": member.model,
            "model_version": member.version or -1,
            "input_map": member.inputs,
            "output_map": member.outputs,
        }
        for member in graph.members
    ]
    return {"ensemble_scheduling": {"step": steps}}
