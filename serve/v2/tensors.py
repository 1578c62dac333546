"""Tensors: the Open Inference Protocol's datatypes, and raw bytes as arrays and back (little-endian, row-major)."""

from __future__ import annotations

import math
import struct
from collections.abc import Buffer, Mapping, Sequence

import numpy as np

from bookserve.errors import InvalidInput
from bookserve.graph import Graph, TensorSpec, numpy_dtype
from serve.nested import MAX_AXES
