"""MLServer's own types and codecs, which write ``null`` for what is not set; over REST and its gRPC stubs."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

import grpc
import numpy as np
import pandas as pd
from mlserver.codecs import NumpyCodec, PandasCodec, StringCodec
from mlserver.grpc import converters
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataServerResponse,
    Parameters,
    RepositoryIndexRequest,
    RepositoryIndexResponse,
    RequestInput,
    RequestOutput,
)

from tests.serve.protocols.clients.calls import Calls

X = np.array([[0, 1, 2], [3, 4, 5]], np.float32)


def _read(request: urllib.request.Request) -> str:
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return str(reply.read().decode())
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{request.full_url}: {error.code} {error.read().decode()}\n{request.data!r}") from error


def main(http: str, target: str) -> None:
    def post(path: str, body: str) -> str:
        return _read(urllib.request.Request(http + path, body.encode(), {"content-type": "application/json"}))

    def infer(model: str, request: InferenceRequest) -> InferenceResponse:
        return InferenceResponse.model_validate_json(post(f"/v2/models/{model}/infer", request.model_dump_json()))

    tensor = NumpyCodec.encode_input("x", X)
    for request in (
        InferenceRequest(inputs=[tensor]),
        InferenceRequest(id="7", inputs=[tensor], outputs=[RequestOutput(name="y")]),
        InferenceRequest(inputs=[tensor], parameters=Parameters(content_type="np")),
        InferenceRequest(inputs=[RequestInput(name="x", datatype="FP32", shape=[2, 3], data=X.tolist())]),
    ):
        answer = infer("affine", request)
        Calls.same(NumpyCodec.decode_output(answer.outputs[0]).tolist(), (2 * X + 1).tolist())
        Calls.same((answer.model_name, answer.id), ("affine", request.id))
    table = pd.DataFrame({"a": [[1.0, 2.0], [3.0, 4.0]], "b": np.array([5, 6])})
    Calls.same(PandasCodec.can_encode(table), True)
    inputs = [
        RequestInput(name="a", datatype="FP32", shape=[2, 2], data=[1, 2, 3, 4]),
        RequestInput(name="b", datatype="INT64", shape=[2], data=[5, 6]),
    ]
    named = {output.name: output for output in infer("pair", InferenceRequest(inputs=inputs)).outputs}
    Calls.same(list(named["next"].data), [6, 7])
    Calls.same(StringCodec.encode_input("t", ["a"]).datatype, "BYTES")

    def get(path: str) -> str:
        return _read(urllib.request.Request(http + path))

    Calls.same(MetadataServerResponse.model_validate_json(get("/v2")).name, "bookserve")
    metadata = MetadataModelResponse.model_validate_json(get("/v2/models/affine"))
    Calls.same((metadata.name, metadata.inputs[0].datatype), ("affine", "FP32"))
    index = post("/v2/repository/index", RepositoryIndexRequest().model_dump_json())
    Calls.same("affine" in {item.name for item in RepositoryIndexResponse.model_validate_json(index)}, True)

    stub = GRPCInferenceServiceStub(grpc.insecure_channel(target))
    for raw in (True, False):
        message = converters.ModelInferRequestConverter.from_types(
            InferenceRequest(id="8", inputs=[NumpyCodec.encode_input("x", X)]),
            model_name="affine",
            model_version=None,
            use_raw=raw,
        )
        reply = converters.ModelInferResponseConverter.to_types(stub.ModelInfer(message, timeout=60))
        Calls.same(NumpyCodec.decode_output(reply.outputs[0]).tolist(), (2 * X + 1).tolist())
    Calls.report()


if __name__ == "__main__":
    main(*sys.argv[1:])
