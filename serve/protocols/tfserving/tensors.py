"""Converts TensorFlow's TensorProto of a request to an array, within the server's limits."""

from __future__ import annotations

import math

import numpy as np

from bookserve.api import tfserving_pb2 as pb
from bookserve.errors import InvalidInput
from bookserve.formats import tfserving_tensors
from bookserve.formats.tfserving_tensors import DTYPES
from bookserve.formats.tfserving_tensors import NUMBERS as NUMBERS
from bookserve.formats.tfserving_tensors import TYPE_NAMES as TYPE_NAMES
from bookserve.formats.tfserving_tensors import encode_varint as encode_varint
from bookserve.formats.tfserving_tensors import to_tensor as to_tensor
from serve.codecs.json_arrays import is_shape
from serve.security.limits import Limits


def to_array(name: str, tensor: pb.TensorProto, limits: Limits) -> np.ndarray:
    """The array of the input ``name``. If the typed list is too short, its last element stands for the missing ones.

    Raises:
        InvalidInput: an unsupported type, an invalid or too large shape, or the wrong number of elements; the message
            names the input.
    """
    if tensor.dtype in DTYPES:  # else the next function says so
        shape = [dim.size for dim in tensor.tensor_shape.dim]
        if tensor.tensor_shape.unknown_rank or not is_shape(shape):
            raise InvalidInput(f"input '{name}' has no usable shape.", "Send the size of every axis.")
        if (count := math.prod(shape)) > limits.elements:
            raise InvalidInput(f"input '{name}' has {count} elements; at most {limits.elements} are accepted.")
    return tfserving_tensors.to_array(f"input '{name}'", tensor)
