"""Read the ``config.pbtxt`` of a Triton model repository where it lies: beside the versions of a model.

Read are ``max_batch_size``, ``dynamic_batching`` (its delay and its queue), ``instance_group`` (its kind), the names,
types and dims of ``input`` and ``output``, ``label_filename``, ``default_model_filename`` and ``version_policy``. What
only makes a model faster on Triton (``optimization``, ``parameters``, preferred batch sizes) is skipped. What would
change an answer and is not done here is refused by name. The files that bookserve itself writes are not read.

Source: Triton's documentation of model configurations.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bookserve.api import triton_config_pb2 as pb
from bookserve.bundle import Bundle
from bookserve.errors import Failed
from bookserve.formats.triton import CONFIG, WRITTEN_BY, triton_type
from bookserve.graph import Graph, TensorSpec
from bookserve.steps import TopLabels
from bookserve.verb import Predict

#: Bytes of the longest file that is read.
_MAX_BYTES = 1 << 20
_UNKNOWN = re.compile(r'has no field named "(\w+)"')
_BACKENDS = ("", "onnxruntime", "tensorflow")
_PLATFORMS = ("", "onnxruntime_onnx", "tensorflow_savedmodel")
_OTHER = "Remove it, or serve this model with Triton."


class TritonConfig:
    """The configuration of one model, of which everything can be done."""

    def __init__(self, path: Path, message: pb.ModelConfig) -> None:
        """``path`` is that of the file.

        Raises:
            Failed: it asks for something that is not done here; the message names it.
        """
        self.path = path
        self._message = message
        if problem := _unsupported(message):
            raise Failed(f"{path}: {problem} is not supported.", _OTHER)
        for group in message.instance_group:
            if group.count > 1:
                logging.getLogger("bookserve").warning(
                    "%s: instance_group has count %d; one instance runs in each process (--workers)", path, group.count
                )

    @property
    def row_limit(self) -> int:
        """Rows of one request at most; 0 for any number."""
        return self._message.max_batch_size

    @property
    def max_delay(self) -> float:
        """Seconds that a request may wait for others to share its batch."""
        return self._message.dynamic_batching.max_queue_delay_microseconds / 1e6

    @property
    def max_waiting(self) -> int | None:
        """Requests that may wait; None if it does not say."""
        return self._message.dynamic_batching.default_queue_policy.max_queue_size or None

    @property
    def versions(self) -> tuple[int | None, tuple[int, ...]] | None:
        """How many of the newest versions are served (None: all), and which (empty: any); None if it says nothing."""
        policy = self._message.version_policy
        match policy.WhichOneof("policy_choice"):
            case "all":
                return None, ()
            case "specific":
                return None, tuple(policy.specific.versions)
            case "latest":
                return policy.latest.num_versions or 1, ()
        return None

    def model_file(self, version: Path) -> Path | None:
        """The model file of a version directory; None if the configuration does not name it.

        Raises:
            Failed: the name leads out of the directory.
        """
        name = self._message.default_model_filename
        if not name:
            name = "model.savedmodel" if (version / "model.savedmodel").is_dir() else ""
        if not name:
            return None
        path = self._inside(version, name, "default_model_filename")
        return path / "saved_model.pb" if path.is_dir() else path

    def apply(self, bundle: Bundle) -> Bundle:
        """The bundle with the labels of this configuration, and without a batch axis if ``max_batch_size`` is 0.

        Raises:
            Failed: the configuration does not describe this model, or a file of labels cannot be read.
        """
        name, graph = bundle.graph()
        self._check_tensors("input", self._message.input, graph.inputs)
        self._check_tensors("output", self._message.output, graph.outputs)
        manifest = bundle.manifest
        if not self.row_limit and "max_batch_size" in _given(self._message):
            manifest = msgspec.structs.replace(manifest, graphs={**manifest.graphs, name: _without_batch(graph)})
        verb = manifest.verb
        if isinstance(verb, Predict) and bundle.graph(verb.graph)[0] == name:
            labelled = {
                output.name: (TopLabels(self._labels(output.label_filename, graph.outputs[output.name])),)
                for output in self._message.output
                if output.label_filename and not verb.outputs.get(output.name)
            }
            manifest = msgspec.structs.replace(
                manifest, verb=msgspec.structs.replace(verb, outputs={**verb.outputs, **labelled})
            )
        return Bundle(bundle.path, manifest, bundle.name)

    def _check_tensors(self, side: str, described: Sequence[Any], specs: Mapping[str, TensorSpec]) -> None:
        for tensor in described:
            spec = specs.get(tensor.name)
            if spec is None:
                raise Failed(
                    f"{self.path}: the model has no {side} '{tensor.name}'.", f"It has: {', '.join(specs) or 'none'}."
                )
            stated = pb.DataType.Name(tensor.data_type)
            if tensor.data_type and stated != triton_type(spec.dtype):
                raise Failed(f"{self.path}: {side} '{tensor.name}' is {stated}; the model has {spec}.", "Correct it.")
            sizes = [-1, *tensor.dims] if self.row_limit else list(tensor.dims)
            fits = len(sizes) == len(spec.shape) and all(
                -1 in pair or pair[0] == pair[1] for pair in zip(sizes, spec.sizes(), strict=True)
            )
            if tensor.dims and not tensor.HasField("reshape") and not fits:
                raise Failed(
                    f"{self.path}: {side} '{tensor.name}' has dims {list(tensor.dims)}; the model has {spec}.",
                    "With a max_batch_size above 0, dims leave out the batch axis.",
                )

    def _labels(self, name: str, spec: TensorSpec) -> tuple[str, ...]:
        """The labels in a file, as many as the output has classes."""
        path = self._inside(self.path.parent, name, "label_filename")
        if len(spec.shape) != 2:
            raise Failed(f"{self.path}: label_filename needs an output [rows, classes], not {spec}.", "Remove it.")
        try:
            labels = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise Failed(f"{path} cannot be read: {error}.", f"It is the label_filename of {self.path}.") from error
        classes = spec.shape[1]
        if isinstance(classes, int):
            labels = [*labels, *[""] * classes][:classes]
        return tuple(labels)

    def _inside(self, directory: Path, name: str, field: str) -> Path:
        path = directory / name
        if not path.resolve().is_relative_to(directory.resolve()):
            raise Failed(f"{self.path}: {field} '{name}' leads out of {directory}.", "Name a file inside it.")
        return path


def read_config(directory: Path) -> TritonConfig | None:
    """The ``config.pbtxt`` of the model whose versions lie in ``directory``; None if there is none, or our own.

    Raises:
        Failed: it cannot be read, or asks for something that is not done here; the message names it.
    """
    path = directory / CONFIG
    try:
        content = path.read_bytes()[: _MAX_BYTES + 1]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Failed(f"{path} cannot be read: {error}.", "Make it readable, or remove it.") from error
    if WRITTEN_BY.encode() in content.partition(b"\n")[0]:
        return None
    if len(content) > _MAX_BYTES:
        raise Failed(f"{path} is larger than {_MAX_BYTES >> 20} MiB.", "It should describe one model.")
    from google.protobuf import text_format

    try:
        return TritonConfig(path, text_format.Parse(content.decode(), pb.ModelConfig()))
    except (text_format.ParseError, UnicodeDecodeError) as error:
        if unknown := _UNKNOWN.search(str(error)):
            line = getattr(error, "GetLine", lambda: 0)() or "?"
            raise Failed(f"{path}, line {line}: '{unknown[1]}' is not supported.", _OTHER) from error
        raise Failed(f"{path} is not a Triton model configuration: {error}.", "Correct it, or remove it.") from error


def _given(message: pb.ModelConfig) -> set[str]:
    """The fields that a configuration means to say: Triton takes a missing ``max_batch_size`` as 0."""
    present = {field.name for field, _ in message.ListFields()}
    return present | {"max_batch_size"} if message.input or message.output else present


def _unsupported(message: pb.ModelConfig) -> str:
    """What is not done here, by its name in the file; '' if everything is."""
    batching = message.dynamic_batching
    tensors: list[Any] = [*message.input, *message.output]
    queue = batching.default_queue_policy
    asked = {
        f"backend '{message.backend}'": message.backend not in _BACKENDS,
        f"platform '{message.platform}'": message.platform not in _PLATFORMS,
        "ensemble_scheduling": message.HasField("ensemble_scheduling"),
        "instance_group.kind KIND_GPU": any(
            group.kind == pb.ModelInstanceGroup.KIND_GPU for group in message.instance_group
        ),
        "model_transaction_policy.decoupled": message.model_transaction_policy.decoupled,
        "response_cache.enable": message.response_cache.enable,
        "dynamic_batching.priority_levels": batching.priority_levels,
        "dynamic_batching.default_queue_policy.default_timeout_microseconds": queue.default_timeout_microseconds,
        "dynamic_batching.default_queue_policy.allow_timeout_override": queue.allow_timeout_override,
        "max_batch_size below 0": message.max_batch_size < 0,
        "input.allow_ragged_batch": any(tensor.allow_ragged_batch for tensor in message.input),
        "input.optional": any(tensor.optional for tensor in message.input),
        "is_shape_tensor": any(tensor.is_shape_tensor for tensor in tensors),
        "reshape": any(_reshapes(tensor) for tensor in tensors),
    }
    return next((name for name, is_asked in asked.items() if is_asked), "")


def _reshapes(tensor: Any) -> bool:
    """Whether a tensor has another shape for clients than for the model; a single number is written as dims [1]."""
    return tensor.HasField("reshape") and (list(tensor.dims), list(tensor.reshape.shape)) != ([1], [])


def _without_batch(graph: Graph) -> Graph:
    """The graph whose requests are not joined: its axis ``batch`` has another name."""

    def renamed(specs: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
        return {
            name: TensorSpec(spec.dtype, tuple("rows" if axis == "batch" else axis for axis in spec.shape))
            for name, spec in specs.items()
        }

    return msgspec.structs.replace(graph, inputs=renamed(graph.inputs), outputs=renamed(graph.outputs))
