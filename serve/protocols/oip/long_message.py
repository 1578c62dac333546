"""Serializes long gRPC answers part by part, so that the event loop does other work between the parts.

protobuf's own serializer copies a whole message at once, and holds up every other request meanwhile. Fields of length
known beforehand are written here one after the other, as the wire format allows; a packed list may come in several
parts. Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping, Sequence

import numpy as np

from bookserve.api import oip_pb2 as pb
from bookserve.graph import Arrays
from serve.codecs.json_pieces import byte_pieces
from serve.protocols.oip.tensors import to_raw_view

#: Elements that are written between two turns.
_ELEMENTS = 20_000
Part = bytes | memoryview
_OUTPUT = pb.ModelInferResponse.InferOutputTensor


async def serialize(head: pb.ModelInferResponse, outputs: Arrays, fields: Mapping[str, str] | None) -> bytes:
    """``head`` with these outputs, serialized.

    ``head`` names the outputs, with their datatypes and shapes. ``fields`` are the fields of ``InferTensorContents`` by
    output, for typed contents; None for raw contents.
    """
    tensors = list(head.outputs)
    rest = pb.ModelInferResponse()
    rest.CopyFrom(head)
    del rest.outputs[:]
    parts: list[Part] = [rest.SerializeToString()]
    for tensor in tensors:
        own: list[Part] = [tensor.SerializeToString()]
        if fields is not None:
            contents = await _typed_contents(outputs[tensor.name], fields[tensor.name])
            own += _nested(_OUTPUT.CONTENTS_FIELD_NUMBER, contents)
        parts += _nested(pb.ModelInferResponse.OUTPUTS_FIELD_NUMBER, own)
    if fields is None:
        for tensor in tensors:
            raw = await asyncio.to_thread(to_raw_view, outputs[tensor.name])
            parts += _nested(pb.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER, [raw])
    return await _join(parts)


async def serialize_streamed(serialized: bytes, last: pb.ModelInferResponse) -> bytes:
    """A ``ModelStreamInferResponse`` with a serialized answer, to which the fields of ``last`` are added."""
    parts = [serialized, last.SerializeToString()]
    return await _join(_nested(pb.ModelStreamInferResponse.INFER_RESPONSE_FIELD_NUMBER, parts))


async def _typed_contents(array: np.ndarray, field: str) -> list[Part]:
    flat = array.reshape(-1)
    parts: list[Part] = []
    for start in range(0, len(flat), _ELEMENTS):
        some = pb.InferTensorContents(**{field: flat[start : start + _ELEMENTS].tolist()})
        parts.append(some.SerializeToString())
        await asyncio.sleep(0)
    return parts


def _nested(number: int, parts: Sequence[Part]) -> list[Part]:
    """A length-delimited field of that number with these contents."""
    return [_varint(number << 3 | 2) + _varint(sum(len(part) for part in parts)), *parts]


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


async def _join(parts: Sequence[Part]) -> bytes:
    # A buffer that grows would be copied, and so would its value, unless it is the bytes object that is given here.
    joined = io.BytesIO(bytes(sum(map(len, parts))))
    for part in parts:
        for piece in byte_pieces(memoryview(part)):
            joined.write(piece)
            await asyncio.sleep(0)
    return joined.getvalue()
