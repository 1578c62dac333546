# ruff: noqa: TID253
"""Convert one signature of a SavedModel to an ONNX model with the names that the graph declares.

Source: tf2onnx's ``from_function``, which keeps the names of tensors and turns LSTM loops into one ``LSTM`` operator.
Import this module only inside functions: it imports TensorFlow.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx.convert
from tf2onnx.constants import ENV_TF2ONNX_CATCH_ERRORS

from bookserve import __version__
from bookserve.errors import Failed
from bookserve.graph import Graph, TensorSpec
from export.gradients.operators import gradient_handlers
from export.recurrent.fuse import fuse_recurrent_loops
from export.sources.saved_model import SavedModel

#: The newest operator set that tf2onnx writes.
OPSET = 18


def to_onnx(saved: SavedModel, name: str, graph: Graph) -> onnx.ModelProto:
    """Convert the signature ``name`` to ONNX. The result is checked by ONNX's checker, but was not run yet.

    Raises:
        Failed: the signature has tensors of strings or operators without an ONNX form, or the converter failed.
    """
    specs = {**graph.inputs, **graph.outputs}
    strings = [tensor for tensor, spec in specs.items() if spec.dtype == "string"]
    if strings:
        raise Failed(f"'{strings[0]}' is a tensor of strings")
    if shared := sorted(graph.inputs.keys() & graph.outputs.keys()):
        raise Failed(f"'{shared[0]}' is the name of both an input and an output, which ONNX does not allow")
    try:
        proto = _convert(saved, name)
    except Exception as error:  # the converter raises errors of many types
        raise Failed(f"tf2onnx could not convert it: {_last_line(error)}") from error
    _restore_declared_names(proto, name, graph)
    proto = fuse_recurrent_loops(proto)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # checker and shape inference have unrelated error classes
        raise Failed(f"tf2onnx wrote invalid ONNX: {_last_line(error)}") from error
    return proto


def _convert(saved: SavedModel, name: str) -> onnx.ModelProto:
    inputs, _ = saved.specs(name)
    signature = saved.signatures[name]

    def call(*tensors: Any) -> Any:
        return signature(**dict(zip(inputs, tensors, strict=True)))

    wanted = [tf.TensorSpec(spec.shape, spec.dtype, tensor) for tensor, spec in inputs.items()]
    function = tf.function(call, autograph=False)

    def convert() -> onnx.ModelProto:
        made = tf2onnx.convert.from_function(function, wanted, opset=OPSET, custom_op_handlers=gradient_handlers())
        proto: onnx.ModelProto = made[0]
        return proto

    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)  # tf2onnx logs tracebacks of errors that it then recovers from
    try:
        with _without_graph_copies():
            proto = convert()
    except Exception:  # perhaps one optimisation failed: with graph copies, tf2onnx skips it and does the others
        proto = convert()
    finally:
        logger.setLevel(level)
    # Constants that the saved function captured became inputs: turn them into initializers again.
    closed_over = {inner.name: outer for outer, inner in function.get_concrete_function(*wanted).graph.captures}
    for value in [value for value in proto.graph.input if value.name in closed_over]:
        proto.graph.input.remove(value)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(closed_over[value.name].numpy(), value.name))
    return proto


@contextmanager
def _without_graph_copies() -> Iterator[None]:
    """Stop tf2onnx from copying the whole graph before each optimisation, which takes a third of the time or more."""
    os.environ[ENV_TF2ONNX_CATCH_ERRORS] = "FALSE"
    try:
        yield
    finally:
        del os.environ[ENV_TF2ONNX_CATCH_ERRORS]


def _restore_declared_names(proto: onnx.ModelProto, name: str, graph: Graph) -> None:
    """Replace the converter's names of axes by those that the graph declares, and write a reproducible header.

    Raises:
        Failed: the converter changed an input, an output or a dtype.
    """
    for side, declared, values in (
        ("input", graph.inputs, proto.graph.input),
        ("output", graph.outputs, proto.graph.output),
    ):
        kinds = {value.name: value.type.tensor_type.elem_type for value in values}
        if kinds.keys() - declared.keys() or (side == "output" and kinds.keys() != declared.keys()):
            raise Failed(f"the {side}s became {sorted(kinds)}; expected {sorted(declared)}")
        wrong = [t for t, kind in kinds.items() if kind != _element_type(declared[t])]
        if wrong:
            raise Failed(f"{side} '{wrong[0]}' changed its dtype; expected {declared[wrong[0]]}")
        del values[:]
        values.extend(  # the converter drops an input that nothing reads, but clients still send it
            onnx.helper.make_tensor_value_info(tensor, _element_type(spec), list(spec.shape))
            for tensor, spec in declared.items()
        )
    proto.producer_name, proto.producer_version = "bookserve", __version__
    proto.graph.name, proto.graph.doc_string = name, ""


def _element_type(spec: TensorSpec) -> int:
    return onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip().rstrip(".")
