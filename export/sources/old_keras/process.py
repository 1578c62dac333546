"""The process that rebuilds models of an older Keras: it loads one, writes it as a SavedModel, and runs it.

``python -m export.sources.old_keras.process`` reads one JSON object from each line of standard input and answers it
with one line on standard output. ``{"do": "open", "keras": …, "bytes": …}`` begins a model: the process imports that
package once, and then makes a copy of itself (fork) for every model; ``{"do": "import", "keras": …}``, which has no
answer, lets it import the package earlier. The copy limits its own memory, by the size of the file, and answers
``{"do": "load" | "save" | "run" | "convert" | "names", …}`` with ``{…}`` or ``{"error": …}``. It ends with
``{"do": "close"}``; if it ends for another reason, ``{"ended": exit code}`` is answered. Two models share nothing, but
the seconds that the import of TensorFlow takes are spent only once.

Only this process imports tf_keras. It gets files that were checked before, and ends with its standard input.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, BinaryIO

import h5py
import numpy as np

from export.sources.bfloat16 import without_bfloat16
from export.sources.reason import innermost_reason

#: Memory that a model may take besides sixteen times the size of its file, in bytes.
_MEMORY = 12 << 30
_KERNELS = ("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "ConvLSTM2D")


class _Rebuilt:
    """One model, loaded by the Keras that its description is for."""

    def __init__(self) -> None:
        self._keras: Any = None
        self._model: Any = None
        self._inputs: list[str] = []
        self._outputs: list[str] = []

    def load(self, keras: str, archive: str, description: str, weights: str, backend: str) -> Any:
        """Build the model, of ``description`` and ``weights`` or of the file ``archive``; answer what it is like."""
        self._keras = import_module(keras)
        if archive:
            # Keras 3 takes the word "dot" of an Attention layer in HDF5 for its own function of that name.
            words = {"dot": "dot"} if keras == "keras" else {}
            self._model = self._keras.models.load_model(archive, words, compile=False, safe_mode=True)
        else:
            with open(description, encoding="utf-8") as file:  # noqa: PTH123
                self._model = self._keras.models.model_from_json(file.read(), custom_objects=_activations())
            self._load_weights(weights)
        if backend == "theano":
            self._flip_kernels()
        if not getattr(self._model, "inputs", None):
            raise ValueError("the file does not describe the inputs of the model")
        if keras == "tf_keras":
            for layer in self._layers():
                if hasattr(layer, "_could_use_gpu_kernel"):
                    layer._could_use_gpu_kernel = False  # a CPU has no such kernel, and ONNX no form of the choice
            _compute_channels_last(self._layers())
            self._name_tensors()
            self._try_one_row()
        return {"parameters": int(self._model.count_params())}

    def _load_weights(self, weights: str) -> None:
        """Load weights in the order of the file, or by the names of layers where another version had another order."""
        built = [layer.name for layer in self._model.layers if layer.weights]
        saved = _saved_layers(weights)
        by_name = saved != built and sorted(saved) == sorted(built)
        self._model.load_weights(weights, **({"by_name": True} if by_name else {}))

    def save(self, directory: str) -> Any:
        """Write a SavedModel with the signature ``serving_default``."""
        import tensorflow as tf

        archive = self._keras.export.ExportArchive()
        archive.track(self._model)
        signature = [
            tf.TensorSpec(tensor.shape, tensor.dtype, name)
            for name, tensor in zip(self._inputs, self._model.inputs, strict=True)
        ]
        archive.add_endpoint("serving_default", self._call, signature)
        archive.write_out(directory)
        return {}

    def run(self, inputs: str, outputs: str) -> Any:
        """Run the model on the arrays of a file, and write its answers to another."""
        with np.load(inputs, allow_pickle=False) as arrays:
            tensors = [self._tensor(arrays[str(number)]) for number in range(len(self._inputs))]
        answers = self._call(*tensors)
        found: dict[str, Any] = {str(n): np.asarray(answers[name]) for n, name in enumerate(self._outputs)}
        np.savez(outputs, **found)
        return {"inputs": self._inputs, "outputs": self._outputs}

    def convert(self, archive: str) -> Any:
        """Write the model of Keras 3 as a .keras file."""
        self._model.save(archive)
        return {}

    def names(self) -> Any:
        """The names of the tensors, in the order in which ``run`` numbers them."""
        return {"inputs": self._inputs, "outputs": self._outputs}

    def _tensor(self, array: np.ndarray) -> Any:
        import tensorflow as tf

        return tf.constant(array)

    def _layers(self) -> list[Any]:
        return list(self._model._flatten_layers())

    def _call(self, *tensors: Any) -> dict[str, Any]:
        import tensorflow as tf

        structure = self._model.inputs[0] if len(self._model.inputs) == 1 else self._model.input
        given = tf.nest.pack_sequence_as(structure, list(tensors))
        answers = map(without_bfloat16, tf.nest.flatten(self._model(given, training=False)))
        return dict(zip(self._outputs, answers, strict=True))

    def _name_tensors(self) -> None:
        """Name inputs and outputs as Keras does; the only input of a model, if Keras made up its name, is ``input``."""
        names = list(self._model.input_names)
        made_up = len(names) == 1 and (names[0].startswith("input_") or names[0].endswith("_input"))
        self._inputs = ["input"] if made_up else _different(names)
        self._outputs = _different(list(self._model.output_names))
        if set(self._inputs) & set(self._outputs):  # ONNX needs different names for inputs and outputs
            self._outputs = [f"{name}_output" if name in self._inputs else name for name in self._outputs]

    def _try_one_row(self) -> None:
        """Run one row, within the memory limit of this process: the exporter runs it without one."""
        import tensorflow as tf

        try:
            shapes = [[8 if size is None else size for size in tensor.shape] for tensor in self._model.inputs]
            rows = [
                tf.zeros([1, *shape[1:]], tensor.dtype)
                for shape, tensor in zip(shapes, self._model.inputs, strict=True)
            ]
            self._call(*rows)
        except (MemoryError, tf.errors.ResourceExhaustedError):
            raise
        except Exception:  # noqa: S110 - it may need other sizes; the exporter will find those
            pass

    def _flip_kernels(self) -> None:
        """Theano computed convolutions, TensorFlow computes correlations: the kernels are each other's mirror image.

        Source: Keras 2's ``conv_utils.convert_kernel``, which tf_keras no longer calls.
        """
        for layer in self._layers():
            if type(layer).__name__ in _KERNELS:
                for weight in layer.weights:
                    if weight.shape.rank > 2:
                        axes = tuple(range(weight.shape.rank - 2))
                        weight.assign(np.flip(weight.numpy(), axes))


def _saved_layers(weights: str) -> list[str]:
    """The names of the layers that have weights in a file, in its order; long lists are in several attributes."""
    with h5py.File(weights, "r") as file:
        group = file.get("model_weights", file)
        keys = sorted((key for key in group.attrs if key.startswith("layer_names")), key=lambda key: (len(key), key))
        names = [name.decode() if isinstance(name, bytes) else str(name) for key in keys for name in group.attrs[key]]
        return [name for name in names if name in group and len(group[name])]


def _activations() -> dict[str, Any]:
    """Activations that TensorFlow has and Keras 2 does not know by name; models named functions of ``tf.nn``."""
    import tensorflow as tf

    return {
        "relu6": tf.nn.relu6,
        "leaky_relu": tf.nn.leaky_relu,
        "log_softmax": tf.nn.log_softmax,
        "softmax_v2": tf.nn.softmax,
        "silu": tf.nn.silu,
    }


def _compute_channels_last(layers: list[Any]) -> None:
    """Transpose around convolutions and poolings of channels-first models, which TensorFlow only computes on GPUs."""
    for layer in layers:
        if getattr(layer, "data_format", None) == "channels_first" and type(layer).__name__ in _CHANNELS_LAST:
            layer.call = _transposed(layer, layer.call)
            layer.data_format = "channels_last"
            if hasattr(layer, "_tf_data_format"):  # "NCHW" becomes "NHWC"
                layer._tf_data_format = f"N{layer._tf_data_format[2:]}C"


_CHANNELS_LAST = frozenset(
    f"{kind}{rank}D"
    for kind in ("Conv", "SeparableConv", "DepthwiseConv", "MaxPooling", "AveragePooling", "LocallyConnected")
    for rank in (1, 2, 3)
) | {"Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"}


def _transposed(layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
    import tensorflow as tf

    def channels_last(inputs: Any, *others: Any, **settings: Any) -> Any:
        rank = inputs.shape.rank
        there = [0, *range(2, rank), 1]
        back = [0, rank - 1, *range(1, rank - 1)]
        return tf.transpose(call(tf.transpose(inputs, there), *others, **settings), back)

    return channels_last


def _different(names: list[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        plain = name.replace("/", "_")
        found.append(plain if plain not in found else f"{plain}_{len(found)}")
    return found


def _requests(stream: BinaryIO) -> Iterator[dict[str, Any]]:
    """Read requests without reading ahead: the next lines may be for another copy of this process."""
    while line := stream.readline():
        yield json.loads(line)


def _limit_memory(limit: int) -> None:
    if sys.platform != "win32":  # which has no such limits
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _answer_for_one_model(requests: Iterator[dict[str, Any]], answer: Callable[[Any], None]) -> None:
    model = _Rebuilt()
    for request in requests:
        do = request.pop("do")
        if do == "close":
            break
        try:
            found = getattr(model, do)(**request)
        except Exception as error:  # Keras raises errors of many types
            found = {"error": innermost_reason(error)}
        answer(found)


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print does not go among the answers
    requests = _requests(os.fdopen(os.dup(0), "rb", buffering=0))

    def answer(found: Any) -> None:
        answers.write(json.dumps(found) + "\n")
        answers.flush()

    for request in requests:
        if request["do"] == "import":  # a model will be opened soon, and that says what is wrong
            with contextlib.suppress(Exception):
                import_module(request["keras"])
            continue
        if request["do"] != "open":  # it was for a copy that had ended, and the end is its answer
            continue
        try:
            import_module(request["keras"])
        except Exception as error:  # it may be absent, or not fit what else is installed
            answer({"error": innermost_reason(error)})
            continue
        # Elsewhere a copy of a process with TensorFlow may not run: there each process has one model, and ends with it.
        child = os.fork() if sys.platform == "linux" else 0
        if not child:
            _limit_memory(_MEMORY + 16 * request["bytes"])
            answer({})
            _answer_for_one_model(requests, answer)
            os._exit(0)  # threads of TensorFlow could keep an ordinary exit waiting
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        answer({"ended": code})


if __name__ == "__main__":
    main()
