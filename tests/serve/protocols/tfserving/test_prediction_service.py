"""TensorFlow Serving's gRPC API: what the official client never sends."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.wrappers_pb2 import Int64Value

from bookserve.api import tfserving_pb2 as pb

SERVICE = "/tensorflow.serving.PredictionService/"


def call(channel: grpc.Channel, method: str, data: bytes) -> bytes:
    return bytes(channel.unary_unary(SERVICE + method)(data, timeout=30))


def refused(channel: grpc.Channel, method: str, data: bytes) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, method, data)
    return caught.value.code(), caught.value.details()


def tensor(*values: float, sizes: tuple[int, ...] = (1, 3)) -> pb.TensorProto:
    shape = pb.TensorShapeProto(dim=[pb.TensorShapeProto.Dim(size=size) for size in sizes])
    return pb.TensorProto(dtype=pb.DT_FLOAT, tensor_shape=shape, float_val=values)


def test_fields_that_we_do_not_know_are_ignored(channel: grpc.Channel) -> None:
    request = pb.PredictRequest(model_spec=pb.ModelSpec(name="affine"), inputs={"x": tensor(0, 1, 2)})
    unknown = bytes([6 << 3 | 2, 3]) + b"abc"
    reply = pb.PredictResponse.FromString(call(channel, "Predict", request.SerializeToString() + unknown))
    assert list(reply.outputs["y"].float_val) == [1, 3, 5]
    assert reply.model_spec == pb.ModelSpec(
        name="affine", version=Int64Value(value=1), signature_name="serving_default"
    )


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (pb.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (pb.PredictRequest(model_spec=pb.ModelSpec()), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (
            pb.PredictRequest(model_spec=pb.ModelSpec(name="affine", version=Int64Value(value=-1))),
            "NOT_FOUND",
            "Servable not found for request: Specific(affine, -1)",
        ),
        (pb.PredictRequest(model_spec=pb.ModelSpec(name="../affine")), "NOT_FOUND", "Servable not found"),
        (
            pb.PredictRequest(model_spec=pb.ModelSpec(name="affine"), inputs={"x": tensor(1, sizes=(-1, 3))}),
            "INVALID_ARGUMENT",
            "tensor parsing error: input 'x' has no usable shape.",
        ),
        (
            pb.PredictRequest(model_spec=pb.ModelSpec(name="affine"), inputs={"x": tensor(1, 2, 3, 4)}),
            "INVALID_ARGUMENT",
            "tensor parsing error: input 'x' holds 4 elements; its shape [1, 3] takes 3.",
        ),
        (
            pb.PredictRequest(model_spec=pb.ModelSpec(name="affine", signature_name="ä" * 5000)),
            "FAILED_PRECONDITION",
            'Serving signature key "ää',
        ),
    ],
)
def test_requests_that_do_not_fit(channel: grpc.Channel, request_: pb.PredictRequest, code: str, message: str) -> None:
    got, details = refused(channel, "Predict", request_.SerializeToString())
    assert got.name == code
    assert details.startswith(message)
    assert len(details) < 600 or details.endswith("...TRUNCATED")


@pytest.mark.parametrize(
    ("fields", "message"),
    [([], "must specify at least one metadata_field"), (["signature_def", "else"], "Metadata field else is not")],
)
def test_metadata_fields(channel: grpc.Channel, fields: list[str], message: str) -> None:
    request = pb.GetModelMetadataRequest(model_spec=pb.ModelSpec(name="affine"), metadata_field=fields)
    code, details = refused(channel, "GetModelMetadata", request.SerializeToString())
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert message in details


def test_a_batch_without_rows(channel: grpc.Channel) -> None:
    request = pb.PredictRequest(model_spec=pb.ModelSpec(name="affine"), inputs={"x": tensor(sizes=(0, 3))})
    y = pb.PredictResponse.FromString(call(channel, "Predict", request.SerializeToString())).outputs["y"]
    assert ([dim.size for dim in y.tensor_shape.dim], y.dtype, list(y.float_val)) == ([0, 3], pb.DT_FLOAT, [])
    request.inputs["x"].CopyFrom(tensor(sizes=(0, 4)))
    code, details = refused(channel, "Predict", request.SerializeToString())
    assert (code, details[:9]) == (grpc.StatusCode.INVALID_ARGUMENT, "input 'x'")


@pytest.mark.parametrize("method", ["SessionService/SessionRun", "PredictionService/PredictStreamed"])
def test_what_the_model_server_does_not_offer_either(channel: grpc.Channel, method: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"/tensorflow.serving.{method}")(b"", timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_large_request(channel: grpc.Channel) -> None:
    rows = 200_000
    values = tensor(*range(3 * rows), sizes=(rows, 3))
    request = pb.PredictRequest(model_spec=pb.ModelSpec(name="affine"), inputs={"x": values})
    options = [("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(channel._channel.target().decode(), options) as wide:
        reply = pb.PredictResponse.FromString(call(wide, "Predict", request.SerializeToString()))
    assert reply.outputs["y"].float_val[-1] == 2 * (3 * rows - 1) + 1
