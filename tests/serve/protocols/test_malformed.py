"""Bodies that are compressed, and what is no message at all: the same for every protocol."""

from __future__ import annotations

import gzip
import json
import zlib

import grpc
import httpx
import pytest

ROWS = [[0, 1, 2]] * 50
ANSWERS = [[1, 3, 5]] * 50
TENSOR = {"name": "x", "shape": [50, 3], "datatype": "FP32", "data": ROWS}
#: Path, body, and the key of the answer's numbers.
BODIES = {
    "native": ("/api/models/affine/predict", {"rows": ROWS}),
    "TFS": ("/v1/models/affine:predict", {"instances": ROWS}),
    "OIP": ("/v2/models/affine/infer", {"inputs": [TENSOR]}),
}


def numbers(protocol: str, reply: httpx.Response) -> object:
    document = reply.json()
    if protocol == "native":
        return [answer["y"] for answer in document["answers"]]
    if protocol == "TFS":
        return document["predictions"]
    flat = document["outputs"][0]["data"]
    return [flat[at : at + 3] for at in range(0, len(flat), 3)]


def message(reply: httpx.Response) -> str:
    error = reply.json()["error"]
    return str(error["message"] if isinstance(error, dict) else error)


@pytest.mark.parametrize("encoding", ["", "identity", "gzip", "deflate"])
@pytest.mark.parametrize("protocol", BODIES)
def test_compressed_bodies_are_read_and_no_content_type_is_needed(
    http: httpx.Client, protocol: str, encoding: str
) -> None:
    path, document = BODIES[protocol]
    body = json.dumps(document).encode()
    packed = {"gzip": gzip.compress, "deflate": zlib.compress}.get(encoding, bytes)(body)
    reply = http.post(path, content=packed, headers={"content-encoding": encoding} if encoding else {})
    assert reply.status_code == 200, reply.text
    assert numbers(protocol, reply) == ANSWERS


@pytest.mark.parametrize(("encoding", "cut"), [("gzip", 9), ("gzip", 30), ("deflate", 0), ("deflate", 9), ("br", 0)])
@pytest.mark.parametrize("protocol", BODIES)
def test_damaged_or_unknown_compression_is_refused(http: httpx.Client, protocol: str, encoding: str, cut: int) -> None:
    path, document = BODIES[protocol]
    compress = zlib.compress if encoding == "deflate" and cut else gzip.compress
    packed = compress(json.dumps(document).encode())
    body = packed[: len(packed) - cut]
    reply = http.post(path, content=body, headers={"content-encoding": encoding})
    assert reply.status_code == 400
    assert encoding in message(reply)


NATIVE, TFS, OIP = "bookserve.v1.Bookserve", "tensorflow.serving.PredictionService", "inference.GRPCInferenceService"


METHODS = [
    f"{NATIVE}/Predict",
    f"{NATIVE}/Sample",
    f"{TFS}/Predict",
    f"{TFS}/GetModelMetadata",
    f"{TFS}/Classify",
    "tensorflow.serving.ModelService/GetModelStatus",
    f"{OIP}/ModelInfer",
    f"{OIP}/ModelMetadata",
    f"{OIP}/ModelReady",
]
SPOILED = [b"\xff", b"\xff\xff", b"\x0a\xff", b"\x0a\x03\x0a\x01\xff", b"\x12\x7f"]


@pytest.mark.parametrize(
    ("method", "data"),
    # ServerLive has no fields, so that a whole one is no mistake.
    [*((method, data) for method in METHODS for data in SPOILED), (f"{OIP}/ServerLive", b"\x0a\xff")],
)
def test_bytes_that_are_no_message(channel: grpc.Channel, method: str, data: bytes) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"/{method}")(data, timeout=30)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("method", [f"{NATIVE}/Nonsense", f"{TFS}/SessionRun", f"{OIP}/Nonsense", "nothing.Here/AtAll"])
def test_methods_that_are_not_there(channel: grpc.Channel, method: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"/{method}")(b"", timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
