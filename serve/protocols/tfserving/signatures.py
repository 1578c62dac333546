"""Finds the SignatureDefs of a model: those in its ``saved_model.pb``, and one for each further graph.

A SavedModel may be gigabytes long, nearly all of it its graph. Only the signatures are decoded: the fields beside them
are skipped in the file, by their lengths.

Source: protobuf's encoding, and the field numbers of TensorFlow's ``saved_model.proto`` and ``meta_graph.proto``.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from weakref import WeakKeyDictionary

from google.protobuf.message import DecodeError

from bookserve.api import tfserving_pb2 as pb
from bookserve.errors import Failed
from bookserve.graph import TensorSpec
from serve.models.live_model import LiveModel
from serve.protocols.tfserving.tensors import NUMBERS, encode_varint

#: The signature of requests that name none.
DEFAULT_SIGNATURE = "serving_default"
#: Type URL of the message that ``GetModelMetadata`` returns in an ``Any``.
TYPE_URL = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
#: Method names of the three tasks, as in SignatureDefs and in ``MultiInferenceRequest``.
PREDICT, CLASSIFY, REGRESS = (f"tensorflow/serving/{task}" for task in ("predict", "classify", "regress"))

#: The tag of the part of a SavedModel that is for serving.
_SERVING_TAG = b"serve"
#: Field numbers: SavedModel.meta_graphs; MetaGraphDef.meta_info_def and .signature_def; MetaInfoDef.tags.
_META_GRAPHS, _META_INFO, _SIGNATURES, _TAGS = 2, 1, 5, 4
_FIXED_SIZES = {1: 8, 5: 4}

#: What ``saved_model_signatures`` found, since the file may be gone later.
_FOUND: WeakKeyDictionary[LiveModel, Mapping[str, pb.SignatureDef]] = WeakKeyDictionary()


def saved_model_signatures(live: LiveModel) -> Mapping[str, pb.SignatureDef]:
    """The SignatureDefs of the version's ``saved_model.pb`` by name; none if there is no such file."""
    found = _FOUND.get(live)
    if found is None:
        try:
            found = read_signatures(live.bundle.path / "saved_model.pb")
        except (OSError, ValueError, Failed):  # the model runs without them; mmap refuses an empty file
            found = {}
        _FOUND[live] = found
    return found


def signature_defs(live: LiveModel) -> pb.SignatureDefMap:
    """The SignatureDefs of the SavedModel, and one for each graph that it lacks; the default graph has two names."""
    graphs = dict(live.bundle.manifest.graphs)
    graphs.setdefault(DEFAULT_SIGNATURE, live.bundle.graph()[1])
    described = {
        name: pb.SignatureDef(
            inputs={key: _tensor_info(f"{name}_{key}", spec) for key, spec in graph.inputs.items()},
            outputs={key: _tensor_info(f"{name}_{key}", spec) for key, spec in graph.outputs.items()},
            method_name=PREDICT,
        )
        for name, graph in graphs.items()
    }
    return pb.SignatureDefMap(signature_def={**described, **saved_model_signatures(live)})


def is_foreign(live: LiveModel) -> bool:
    """Whether the version is a SavedModel that no bundle describes: its SignatureDefs alone say what it does."""
    return not live.bundle.manifest.files and bool(saved_model_signatures(live))


def read_signatures(path: Path) -> dict[str, pb.SignatureDef]:
    """The SignatureDefs in a ``saved_model.pb``: of the part that is tagged ``serve``, or of the first.

    Raises:
        OSError, ValueError: the file cannot be read, or is empty.
        Failed: it is not a SavedModel message.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        try:
            fields = _fields(mapped, 0, len(mapped))
            parts = [_read_part(mapped, start, end) for number, start, end in fields if number == _META_GRAPHS]
        except (IndexError, DecodeError) as error:
            raise Failed(f"{path} is not a SavedModel.", "Save the model again.") from error
    served = [signatures for tags, signatures in parts if _SERVING_TAG in tags]
    return (served or [signatures for _, signatures in parts] or [{}])[0]


def _read_part(data: mmap.mmap, start: int, end: int) -> tuple[list[bytes], dict[str, pb.SignatureDef]]:
    """The tags and SignatureDefs of one MetaGraphDef."""
    tags: list[bytes] = []
    found = pb.SignatureDefMap()
    for number, begin, stop in _fields(data, start, end):
        if number == _META_INFO:
            tags += [data[a:b] for field, a, b in _fields(data, begin, stop) if field == _TAGS]
        elif number == _SIGNATURES:  # an entry of the map, which SignatureDefMap has as its field 1
            entry = data[begin:stop]
            found.MergeFromString(b"\x0a" + encode_varint(len(entry)) + entry)
    return tags, dict(found.signature_def)


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each length-delimited field of the message at ``data[start:end]``.

    Raises:
        IndexError: the message ends within a field.
        DecodeError: it is not a message.
    """
    at = start
    while at < end:
        key, at = _read_varint(data, at)
        kind = key & 7
        if kind == 2:
            length, at = _read_varint(data, at)
            yield key >> 3, at, at + length
            at += length
        elif kind == 0:
            _, at = _read_varint(data, at)
        elif kind in _FIXED_SIZES:
            at += _FIXED_SIZES[kind]
        else:
            raise DecodeError(f"unknown wire type {kind}")
    if at > end:
        raise IndexError(at)


def _read_varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """The number that begins at ``at``, and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        at, number, shift = at + 1, number | (byte & 127) << shift, shift + 7
        if byte < 128:
            return number, at
        if shift > 63:
            raise DecodeError("a number is too long")


def _tensor_info(name: str, spec: TensorSpec) -> pb.TensorInfo:
    if not spec.ranked:
        shape = pb.TensorShapeProto(unknown_rank=True)
    else:
        shape = pb.TensorShapeProto(dim=[pb.TensorShapeProto.Dim(size=size) for size in spec.sizes()])
    return pb.TensorInfo(name=f"{name}:0", dtype=NUMBERS[spec.dtype], tensor_shape=shape)
