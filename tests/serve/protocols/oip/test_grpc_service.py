"""The Open Inference Protocol over gRPC: typed contents, and what Triton's client never sends."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from bookserve.api import oip_pb2 as pb

SERVICE = "/inference.GRPCInferenceService/"
Contents = pb.InferTensorContents


def call(channel: grpc.Channel, method: str, data: bytes) -> bytes:
    return bytes(channel.unary_unary(SERVICE + method)(data, timeout=30))


def infer(channel: grpc.Channel, **fields: Any) -> pb.ModelInferResponse:
    request = pb.ModelInferRequest(**({"model_name": "affine"} | fields))
    return pb.ModelInferResponse.FromString(call(channel, "ModelInfer", request.SerializeToString()))


def x(**fields: Any) -> pb.ModelInferRequest.InferInputTensor:
    return pb.ModelInferRequest.InferInputTensor(**({"name": "x", "datatype": "FP32", "shape": [1, 3]} | fields))


def test_typed_contents_are_answered_in_kind(channel: grpc.Channel) -> None:
    reply = infer(channel, id="i", inputs=[x(contents=Contents(fp32_contents=[0, 1, 2]))])
    assert list(reply.outputs[0].contents.fp32_contents) == [1, 3, 5]
    assert (reply.outputs[0].datatype, list(reply.outputs[0].shape)) == ("FP32", [1, 3])
    assert not reply.raw_output_contents
    assert (reply.model_name, reply.model_version, reply.id) == ("affine", "1", "i")
    inputs = [
        x(name="a", shape=[1, 2], contents=Contents(fp32_contents=[1, 2])),
        x(name="b", shape=[1], datatype="INT64", contents=Contents(int64_contents=[2**40])),
    ]
    reply = infer(channel, model_name="pair", inputs=inputs, outputs=[{"name": "next"}])
    assert list(reply.outputs[0].contents.int64_contents) == [2**40 + 1]


def test_raw_contents_are_answered_in_kind(channel: grpc.Channel) -> None:
    reply = infer(channel, inputs=[x()], raw_input_contents=[b"\0" * 12])
    assert reply.raw_output_contents[0] == b"\0\0\x80\x3f" * 3
    assert not reply.outputs[0].HasField("contents")


def test_a_model_that_is_not_there_is_not_ready(channel: grpc.Channel) -> None:
    for name, ready in (("affine", True), ("nothing", False)):
        data = call(channel, "ModelReady", pb.ModelReadyRequest(name=name).SerializeToString())
        assert pb.ModelReadyResponse.FromString(data).ready is ready


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"inputs": []}, "the inputs given are none"),
        ({"inputs": [x()]}, "input 'x' holds 0 elements in fp32_contents; its shape [1, 3] takes 3."),
        ({"inputs": [x(contents=Contents(fp64_contents=[1, 2, 3]))]}, "input 'x' holds 0 elements in fp32_contents"),
        ({"inputs": [x(contents=Contents(fp32_contents=[1, 2]))]}, "input 'x' holds 2 elements"),
        ({"inputs": [x(shape=[-1, 3])]}, "input 'x' has no usable shape."),
        ({"inputs": [x(shape=[1] * 99)]}, "input 'x' has no usable shape."),
        ({"inputs": [x(datatype="FP16")]}, "input 'x' has datatype 'FP16'; expected FP32."),
        ({"inputs": [x(), x()], "raw_input_contents": [b"\0" * 12]}, "there are 2 inputs and 1 raw_input_contents."),
        ({"inputs": [x(), x()], "raw_input_contents": [b"\0" * 12] * 2}, "input 'x' is given twice."),
        ({"inputs": [], "raw_input_contents": [b"x"]}, "there are 0 inputs and 1 raw_input_contents."),
        ({"inputs": [x()], "raw_input_contents": [b"\0" * 11]}, "input 'x' holds 11 bytes; its shape [1, 3] takes 12."),
        (
            {"inputs": [x(contents=Contents(fp32_contents=[1, 2, 3]))], "raw_input_contents": [b"\0" * 12]},
            "input 'x' has contents and raw_input_contents.",
        ),
        ({"inputs": [x(shape=[2**62, 2**62])], "raw_input_contents": [b"\0" * 12]}, "input 'x' holds 12 bytes"),
        (
            {"inputs": [x()], "raw_input_contents": [b"\0" * 12], "outputs": [{"name": "y"}, {"name": "y"}]},
            "output 'y' is requested twice.",
        ),
        (
            {"inputs": [x(parameters={"shared_memory_region": {"string_param": "r"}})]},
            "the parameter 'shared_memory_region'",
        ),
        ({"parameters": {"signature_name": {"int64_param": 1}}}, "the parameter signature_name is not a string."),
        ({"parameters": {"signature_name": {"string_param": "é" * 4000}}}, "model 'affine' has no graph 'éé"),
        ({"model_version": "one"}, "the version 'one' is not a number."),
    ],
)
def test_requests_that_do_not_fit(channel: grpc.Channel, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        infer(channel, **fields)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith(message)
