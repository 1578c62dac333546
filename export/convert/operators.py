# ruff: noqa: TID253
"""Convert operators of TensorFlow that tf2onnx does not convert, or not exactly.

Each is written by the rule of TensorFlow's CPU kernel. Gradients have a folder of their own (``export/gradients``).
Sources: tensorflow/core/ops of TensorFlow 2.21, and ONNX's operator documentation (ai.onnx 18, ai.onnx.ml 2).
Import this module only inside functions: it imports ONNX.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from onnx import TensorProto
from tf2onnx import utils

from export.gradients.node_writer import NodeWriter
from export.gradients.operators import tf2onnx_handler

#: The dtypes that ONNX's LabelEncoder takes, by the dtype of a table.
_TABLE_TYPES: dict[int, str] = {TensorProto.STRING: "strings", TensorProto.INT64: "int64s", TensorProto.FLOAT: "floats"}


class Table(NamedTuple):
    """The content of a lookup table: keys and values, each an array [entries]; strings are ``bytes``."""

    keys: np.ndarray
    values: np.ndarray


def operator_handlers(tables: Mapping[str, Table]) -> dict[str, tuple[Callable[..., None], list[str]]]:
    """The handlers by operator, as ``tf2onnx.convert.from_function(custom_op_handlers=…)`` takes them.

    ``tables`` by the name that the graph shares them under.
    """
    handlers = {
        "Erfc": _erfc,
        "Log1p": _log1p,
        "Expm1": _expm1,
        "Bucketize": _bucketize,
        "Bitcast": _sign_bits,
        "DenseBincount": _count_ids,
        "Xlogy": _xlogy,
        "Xlog1py": _xlog1py,
        "Xdivy": _xdivy,
        "RFFT": _fourier,
        "Real": lambda write, node: [_part(write, node, 0)],
        "Imag": lambda write, node: [_part(write, node, 1)],
        "ComplexAbs": _absolute,
        "LookupTableFind": lambda write, node: _look_up(write, node, tables),
        "LookupTableFindV2": lambda write, node: _look_up(write, node, tables),
        "LookupTableSizeV2": lambda write, node: [write.constant(np.array(len(_table(node, tables).keys)))],
    }
    return {name: (tf2onnx_handler(handler), []) for name, handler in handlers.items()}


def _number(write: NodeWriter, node: Any, value: float) -> str:
    """A constant of the dtype of the node's first input."""
    return write.constant(np.array(value, utils.map_onnx_to_numpy_type(write.dtype(node.input[0]))))


def _erfc(write: NodeWriter, node: Any) -> list[str]:
    return [write("Sub", _number(write, node, 1), write("Erf", node.input[0]))]


def _log1p(write: NodeWriter, node: Any) -> list[str]:
    """log(1 + x) as x · log(u) / (u - 1) with u = 1 + x rounded, which keeps small x exact (Kahan)."""
    return [_exact_log1p(write, node, node.input[0])]


def _exact_log1p(write: NodeWriter, node: Any, x: str) -> str:
    one = _number(write, node, 1)
    rounded = write("Add", x, one)
    less = write("Sub", rounded, one)
    zero = write("Equal", less, _number(write, node, 0))
    divisor = write("Where", zero, one, less)
    logarithm = write("Log", rounded)
    scaled = write("Where", write("IsInf", x), logarithm, write("Mul", logarithm, write("Div", x, divisor)))
    return write("Where", zero, x, scaled)


def _expm1(write: NodeWriter, node: Any) -> list[str]:
    """exp(x) - 1 as (u - 1) · x / log(u) with u = exp(x) rounded where x is small (Kahan)."""
    (x,) = node.input
    one, half = _number(write, node, 1), _number(write, node, 0.5)
    power = write("Exp", x)
    less = write("Sub", power, one)
    small = write("And", write("Less", write("Abs", x), half), write("Not", write("Equal", power, one)))
    logarithm = write("Where", small, write("Log", power), one)
    exact = write("Where", small, write("Mul", less, write("Div", x, logarithm)), less)
    return [write("Where", write("Equal", power, one), x, exact)]


def _xlogy(write: NodeWriter, node: Any) -> list[str]:
    x, y = node.input
    return [_zero_where_zero(write, node, x, write("Mul", x, write("Log", y)))]


def _xlog1py(write: NodeWriter, node: Any) -> list[str]:
    x, y = node.input
    return [_zero_where_zero(write, node, x, write("Mul", x, _exact_log1p(write, node, y)))]


def _xdivy(write: NodeWriter, node: Any) -> list[str]:
    x, y = node.input
    return [_zero_where_zero(write, node, x, write("Div", x, y))]


def _zero_where_zero(write: NodeWriter, node: Any, x: str, otherwise: str) -> str:
    zero = _number(write, node, 0)
    return write("Where", write("Equal", x, zero), zero, otherwise)


def _bucketize(write: NodeWriter, node: Any) -> list[str]:
    """How many boundaries are not above each number, int32."""
    boundaries = np.array(node.get_attr_value("boundaries"), np.float32)
    if not len(boundaries):
        nothing = write("Mul", write("Cast", node.input[0], to=TensorProto.INT32), write.constant(np.int32(0)))
        return [nothing]
    wide = write("Cast", node.input[0], to=TensorProto.DOUBLE)  # as the kernel compares whole numbers with boundaries
    column = write("Unsqueeze", wide, write.constant(np.array([-1], np.int64)))
    reached = write("GreaterOrEqual", column, write.constant(boundaries.astype(np.float64)))
    axes = write.constant(np.array([-1], np.int64))
    return [write("ReduceSum", write("Cast", reached, to=TensorProto.INT32), axes, keepdims=0)]


def _count_ids(write: NodeWriter, node: Any) -> list[str]:
    """How often each id below ``size`` is in a row, or the sum of the weights of its places; or whether it is there.

    ``[places]`` → [size], ``[rows, places]`` → [rows, size]. Ids that are too large are left out.
    """
    ids, size, weights = node.input
    start, step = write.constant(np.array(0, np.int64)), write.constant(np.array(1, np.int64))
    each = write("Range", start, write("Squeeze", write.as_int64(size)), step)
    last = write.constant(np.array([-1], np.int64))
    hits = write("Cast", write("Equal", write("Unsqueeze", write.as_int64(ids), last), each), to=TensorProto.FLOAT)
    before_last = write.constant(np.array([-2], np.int64))
    kind = node.output_dtypes[0]
    if node.get_attr_value("binary_output", False):
        return [write("Cast", write("ReduceMax", hits, before_last, keepdims=0), to=kind)]
    if 0 not in write.known_shape(weights):
        column = write("Unsqueeze", write("Cast", weights, to=TensorProto.FLOAT), last)
        hits = write("Mul", hits, column)
    return [write("Cast", write("ReduceSum", hits, before_last, keepdims=0), to=kind)]


def _sign_bits(write: NodeWriter, node: Any) -> list[str]:
    """Bits of a number of which only the sign is read, by a mask or a comparison: any integer of that sign does.

    The sign of -0 is that of 1 / -0. tf2onnx's own error is raised for other uses, which ONNX cannot express.
    """
    utils.make_sure(
        all(_reads_sign(write, reader) for reader in write.readers(node.output[0]))
        and write.dtype(node.input[0]) in (TensorProto.FLOAT, TensorProto.DOUBLE),
        "Bitcast has no ONNX form",
    )
    (x,) = node.input
    zero, one = _number(write, node, 0), _number(write, node, 1)
    is_zero = write("Equal", x, zero)
    negative = write("Less", write("Where", is_zero, write("Div", one, x), x), zero)
    kind = utils.map_onnx_to_numpy_type(node.output_dtypes[0])
    return [write("Where", negative, write.constant(np.array(-1, kind)), write.constant(np.array(0, kind)))]


def _fourier(write: NodeWriter, node: Any) -> list[str]:
    """The half spectrum of real numbers, float [..., frequencies, 2]: ONNX has no complex numbers, only pairs."""
    numbers, length = node.input
    utils.make_sure(write.is_constant(length), "the length of a Fourier transform is computed")
    readers = write.readers(node.output[0])
    utils.make_sure(all(reader.type in ("Real", "Imag", "ComplexAbs") for reader in readers), "complex numbers")
    size = int(write.constant_value(length).ravel()[0])
    last = write.constant(np.array([-1], np.int64))
    missing = write("Sub", write.constant(np.array([size], np.int64)), _last_axis(write, numbers))
    rank = len(write.known_shape(numbers))
    pads = write("Concat", write.constant(np.zeros(2 * rank - 1, np.int64)), missing, axis=0)  # negative: cut off
    column = write("Unsqueeze", write("Pad", numbers, pads), last)
    return [write("DFT", column, write.constant(np.array(size, np.int64)), axis=rank - 1, onesided=1)]


def _last_axis(write: NodeWriter, tensor: str) -> str:
    """The size of the last axis, int64 [1]."""
    last, end = write.constant(np.array([-1], np.int64)), write.constant(np.array([np.iinfo(np.int64).max]))
    return write("Slice", write.shape_tensor(tensor), last, end)


def _part(write: NodeWriter, node: Any, place: int) -> str:
    """The real or the imaginary part of pairs of numbers [..., 2]."""
    return write("Gather", node.input[0], write.constant(np.array(place, np.int64)), axis=-1)


def _absolute(write: NodeWriter, node: Any) -> list[str]:
    axes = write.constant(np.array([-1], np.int64))
    return [write("ReduceL2", node.input[0], axes, keepdims=0)]


def _reads_sign(write: NodeWriter, reader: Any) -> bool:
    if reader.type != "BitwiseAnd":
        return reader.type in ("Less", "LessEqual", "GreaterEqual", "Greater")
    masks = (write.constant_value(tensor) for tensor in reader.input if write.is_constant(tensor))
    return any((mask == np.iinfo(mask.dtype).min).all() for mask in masks)


def _table(node: Any, tables: Mapping[str, Table]) -> Table:
    source = node.inputs[0]
    while source.type == "Identity":
        source = source.inputs[0]
    shared = source.get_attr_value("shared_name", b"")
    name = shared.decode() if isinstance(shared, bytes) else str(shared)
    utils.make_sure(name in tables, "the content of the table '%s' is not known", name or source.name)
    return tables[name]


def _look_up(write: NodeWriter, node: Any, tables: Mapping[str, Table]) -> list[str]:
    """The value of each key; keys that the table does not hold get the default."""
    _, keys, default = node.input
    table = _table(node, tables)
    utils.make_sure(write.is_constant(default), "the default of a table is computed")
    wanted, given = node.output_dtypes[0], write.dtype(keys)
    if given not in _TABLE_TYPES:
        keys, given = write("Cast", keys, to=TensorProto.INT64), TensorProto.INT64
    inner = (
        wanted if wanted in _TABLE_TYPES else TensorProto.FLOAT if wanted == TensorProto.DOUBLE else TensorProto.INT64
    )
    otherwise = write.constant_value(default).ravel()[0]
    key_list, value_list, default_attribute = f"keys_{_TABLE_TYPES[given]}", f"values_{_TABLE_TYPES[inner]}", "default_"
    default_attribute += {"strings": "string", "int64s": "int64", "floats": "float"}[_TABLE_TYPES[inner]]
    (found,) = write.multi_output(
        "LabelEncoder",
        [keys],
        1,
        domain="ai.onnx.ml",
        **{
            key_list: _plain(table.keys),
            value_list: _plain(table.values),
            default_attribute: _plain(np.array([otherwise]))[0],
        },
    )
    return [found if inner == wanted else write("Cast", found, to=wanted)]


def _plain(array: np.ndarray) -> list[Any]:
    """The values as ONNX attributes take them: strings as bytes."""
    return [item.encode() if isinstance(item, str) else item for item in array.tolist()]
