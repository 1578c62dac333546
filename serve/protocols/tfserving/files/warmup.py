"""Reads warm-up requests: the TFRecord file of PredictionLog messages that a version may have for TensorFlow Serving.

Source: TFRecord's framing (length, masked CRC-32C of the length, data, masked CRC-32C of the data), and TensorFlow
Serving's ``saved_model_warmup``: at most 1,000 records; a version is not loaded if one cannot be read or run.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from google.protobuf.message import DecodeError

from bookserve.api import tfserving_pb2 as tfs
from bookserve.bundle import Bundle, Manifest
from bookserve.errors import BookserveError, Failed
from bookserve.formats import tf_example
from bookserve.graph import Arrays, Graph
from serve.protocols.tfserving import tf_examples
from serve.protocols.tfserving.files import files_pb2 as pb
from serve.protocols.tfserving.tensors import to_array
from serve.security.limits import Limits

#: Path of the file within a version's directory.
WARMUP_PATH = Path("assets.extra/tf_serving_warmup_requests")
MAX_RECORDS = 1000
#: Largest record in bytes; the server accepts no larger requests.
MAX_RECORD_BYTES = 2**26


def read_warmup_requests(bundle: Bundle) -> Iterator[tuple[str, Arrays]]:
    """The requests to run before a version becomes available: the name of a graph and its inputs.

    Raises:
        Failed: a record is damaged, names no graph of the model or is of an unsupported kind, or there are too multi.
    """
    path, graphs = bundle.path / WARMUP_PATH, bundle.manifest.graphs
    if not path.is_file():
        return
    is_verified = WARMUP_PATH.as_posix() in bundle.manifest.files  # its SHA-256 was checked when the bundle was opened
    try:
        for number, record in enumerate(_read_records(path, is_verified)):
            if number == MAX_RECORDS:
                raise Failed(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")
            log = pb.PredictionLog.FromString(record)
            kind = log.WhichOneof("log_type")
            if kind is None:
                raise Failed(f"Failed to parse warmup record: {path}, record {number} holds no request.")
            if kind in ("predict_log", "predict_streamed_log"):
                request = getattr(log, kind).request
                name = _graph_name(graphs, request.model_spec.signature_name)
                yield name, {key: to_array(key, tensor, Limits()) for key, tensor in request.inputs.items()}
            elif kind in ("classify_log", "regress_log"):
                request = getattr(log, kind).request
                yield _example_request(bundle.manifest, request.model_spec.signature_name, request.input)
            elif kind == "multi_inference_log":
                multi = log.multi_inference_log.request
                for task in multi.tasks:
                    yield _example_request(bundle.manifest, task.model_spec.signature_name, multi.input)
            else:
                raise Failed(f"Unsupported log_type for warmup: {kind}")
    except DecodeError as error:
        raise Failed(
            f"Failed to parse warmup record: {error} from {path}", "Write the warm-up requests again."
        ) from error
    except Failed:
        raise
    except BookserveError as error:
        raise Failed(f"a warm-up request in {path} cannot be run: {error.message}", error.hint) from error


def _graph_name(graphs: Mapping[str, Graph], signature: str) -> str:
    if signature in graphs:
        return signature
    if signature in ("", "serving_default"):
        return next(iter(graphs))
    raise Failed(f"a warm-up request names the signature '{signature}', which the model does not have.")


def _example_request(manifest: Manifest, signature: str, examples: tfs.Input) -> tuple[str, Arrays]:
    """Convert examples to a graph's inputs. A graph with one string input gets the serialized records instead."""
    name = _graph_name(manifest.graphs, tf_example.example_graph_of(signature, manifest.verb, manifest.graphs))
    graph = manifest.graphs[name]
    if [spec.dtype for spec in graph.inputs.values()] == ["string"]:
        return name, tf_examples.record_feeds(examples, graph)
    return name, tf_examples.example_inputs(examples, graph)


def _read_records(path: Path, is_verified: bool) -> Iterator[bytes]:
    """The records of a TFRecord file. The checksums of the data are skipped if the file was verified before.

    Raises:
        Failed: the file ends within a record, or a checksum is wrong.
    """
    broken = Failed(f"Failed to read warmup records from {path}: it is damaged.", "Write the warm-up requests again.")
    with path.open("rb") as file:
        while head := file.read(12):
            if len(head) < 12:
                raise broken
            size, checksum = struct.unpack("<QI", head)
            if checksum != masked_crc(head[:8]) or size > MAX_RECORD_BYTES:
                raise broken
            data, tail = file.read(size), file.read(4)
            if len(data) < size or len(tail) < 4:
                raise broken
            if not is_verified and struct.unpack("<I", tail)[0] != masked_crc(data):
                raise broken
            yield data


def masked_crc(data: bytes) -> int:
    """The CRC-32C of ``data``, masked as in TFRecord files."""
    table = _crc_table()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _crc_table() -> list[int]:
    """The CRC-32C (Castagnoli, reflected) of every byte value."""
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table
