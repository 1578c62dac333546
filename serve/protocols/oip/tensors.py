"""Arrays of a request of the Open Inference Protocol; ``bookserve.formats.oip_tensors`` has the conversion."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bookserve.errors import InvalidInput
from bookserve.formats import oip_tensors
from bookserve.formats.oip_tensors import BF16 as BF16
from bookserve.formats.oip_tensors import DATATYPES as DATATYPES
from bookserve.formats.oip_tensors import datatype_of as datatype_of
from bookserve.formats.oip_tensors import to_raw as to_raw
from bookserve.formats.oip_tensors import to_raw_view as to_raw_view
from serve.codecs.json_arrays import is_shape


def element_count(name: str, shape: Sequence[int]) -> int:
    """The number of elements of an input of that shape.

    Raises:
        InvalidInput: a negative size, too many axes, or too many elements.
    """
    if not is_shape(shape):
        raise InvalidInput(f"input '{name}' has no usable shape.", "Send the size of every axis.")
    return math.prod(shape)


def from_raw(name: str, data: bytes | memoryview, dtype: str, shape: Sequence[int]) -> np.ndarray:
    """The array of the input ``name``, of a graph's ``dtype`` (or float32 from ``BF16``) and this shape.

    Raises:
        InvalidInput: the shape cannot be used, or ``data`` has not as many bytes, or strings, as it needs.
    """
    element_count(name, shape)
    return oip_tensors.from_raw(f"input '{name}'", data, dtype, shape)
