"""What clients of Triton, KServe and MLServer leave out, write as null or send in a shorter form."""

from __future__ import annotations

import json
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from bookserve.api import oip_pb2 as pb
from bookserve.api import triton_config_pb2 as config_pb

SERVICE = "/inference.GRPCInferenceService/"
X: dict[str, Any] = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [0, 1, 2]}
#: As MLServer's own types write a request: every optional field is there, as null.
NULLS = {"content_type": None, "headers": None}


def infer(http: httpx.Client, body: dict[str, Any], model: str = "affine") -> httpx.Response:
    return http.post(f"/v2/models/{model}/infer", json=body)


@pytest.mark.parametrize(
    "body",
    [
        {"id": None, "parameters": None, "outputs": None, "inputs": [X]},
        {"id": None, "parameters": NULLS, "inputs": [X | {"parameters": None}], "outputs": [{"name": "y"}]},
        {"inputs": [X | {"parameters": NULLS}], "outputs": [{"name": "y", "parameters": None}]},
        {"inputs": [X | {"parameters": {"binary_data_size": None, "shared_memory_region": None}}]},
        {"inputs": [X], "outputs": [{"name": "y", "parameters": {"binary_data": None, "classification": None}}]},
        {"inputs": [X], "parameters": {"binary_data_output": None, "signature_name": None}},
    ],
)
def test_null_means_absent(http: httpx.Client, body: dict[str, Any]) -> None:
    reply = infer(http, body)
    assert reply.status_code == 200, reply.text
    assert reply.json()["outputs"][0]["data"] == [1, 3, 5]
    assert "id" not in reply.json()


@pytest.mark.parametrize("field", ["name", "shape", "datatype", "data"])
def test_null_is_no_value_of_a_field_that_is_needed(http: httpx.Client, field: str) -> None:
    assert infer(http, {"inputs": [X | {field: None}]}).status_code == 400
    assert infer(http, {"inputs": [X | {"data": [0, None, 2]}]}).status_code == 400


def test_a_scalar_for_a_list_of_one(http: httpx.Client) -> None:
    inputs = [
        {"name": "a", "shape": [1, 1], "datatype": "FP32", "data": 5},
        {"name": "b", "shape": 1, "datatype": "INT64", "data": 7},
    ]
    outputs = {item["name"]: item for item in infer(http, {"inputs": inputs}, "pair").json()["outputs"]}
    assert (outputs["sum"]["data"], outputs["next"]["data"], outputs["next"]["shape"]) == ([5], [8], [1])


def bfloat16(values: list[float]) -> bytes:
    """The upper halves of these numbers as float32."""
    return (np.array(values, np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()


def test_bfloat16_over_http(http: httpx.Client) -> None:
    tensor = {"name": "x", "shape": [1, 3], "datatype": "BF16", "parameters": {"binary_data_size": 6}}
    text = json.dumps({"inputs": [tensor]}).encode()
    length = {"inference-header-content-length": str(len(text))}
    body = text + bfloat16([0.5, -2, 1e38])
    reply = http.post("/v2/models/affine/infer", content=body, headers=length).json()["outputs"][0]
    assert reply["datatype"] == "FP32"
    assert reply["data"][:2] == [2, -3]
    assert "has no JSON form" in infer(http, {"inputs": [X | {"datatype": "BF16"}]}).json()["error"]
    wrong = infer(
        http, {"inputs": [{"name": "tokens", "shape": [1, 6], "datatype": "BF16", "data": [1] * 6}]}, "reviews"
    )
    assert "expected INT32" in wrong.json()["error"]


def test_bfloat16_and_empty_parameters_over_grpc(channel: grpc.Channel) -> None:
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="BF16", shape=[1, 3])
    tensor.parameters["shared_memory_region"].SetInParent()
    request = pb.ModelInferRequest(model_name="affine", inputs=[tensor], raw_input_contents=[bfloat16([1, 2, 3])])
    request.parameters["signature_name"].SetInParent()
    reply = channel.unary_unary(f"{SERVICE}ModelInfer")(request.SerializeToString(), timeout=30)
    (raw,) = pb.ModelInferResponse.FromString(reply).raw_output_contents
    assert np.frombuffer(raw, np.float32).tolist() == [3, 5, 7]


TOP_LEVEL = {"max_tokens": 4, "temperature": 0, "stop_words": "", "bad_words": "", "random_seed": 3, "stream": False}


@pytest.mark.parametrize(
    "body",
    [
        {"text_input": "abc", **TOP_LEVEL},
        {"text_input": ["abc"], "parameters": {"max_tokens": 4, "temperature": [0.0]}},
        {"text_input": "abc", "max_tokens": 9, "parameters": {"max_tokens": 4, "temperature": 0}, "id": None},
        {"text_input": "abc", "max_tokens": 4, "temperature": 0, "parameters": None, "repetition_penalty": 1.0},
        {"text_input": "abc", "max_tokens": 4, "temperature": 0, "top_k": -1, "beam_width": 1, "min_length": 0},
    ],
)
def test_generate_takes_parameters_beside_the_text(http: httpx.Client, body: dict[str, Any]) -> None:
    reply = http.post("/v2/models/writer/generate", json=body)
    assert reply.json().get("text_output") == "deab", reply.text


@pytest.mark.parametrize(
    "option", [{"repetition_penalty": 1.3}, {"bad_words": ["a"]}, {"beam_width": 4}, {"min_p": 0.1}, {"num_beams": 9}]
)
@pytest.mark.parametrize("nested", [True, False])
def test_generate_refuses_what_it_does_not_do(http: httpx.Client, option: dict[str, Any], nested: bool) -> None:
    body = {"text_input": "abc", **({"parameters": option} if nested else option)}
    reply = http.post("/v2/models/writer/generate", json=body)
    assert reply.status_code == 422
    assert next(iter(option)) in reply.json()["error"]


def test_a_stream_says_which_response_is_the_last(channel: grpc.Channel) -> None:
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 3])
    tensor.contents.fp32_contents.extend([0, 1, 2])
    requests = [pb.ModelInferRequest(model_name=name, inputs=[tensor]) for name in ("affine", "nothing", "affine")]
    for request in requests:
        request.parameters["triton_enable_empty_final_response"].bool_param = True
    call = channel.stream_stream(f"{SERVICE}ModelStreamInfer")
    replies = [
        pb.ModelStreamInferResponse.FromString(reply)
        for reply in call(iter([request.SerializeToString() for request in requests]), timeout=30)
    ]
    assert [bool(reply.error_message) for reply in replies] == [False, True, False]
    assert all(reply.infer_response.parameters["triton_final_response"].bool_param for reply in replies)


def test_perf_analyzer_finds_what_it_reads(http: httpx.Client) -> None:
    """The fields that perf_analyzer takes from a model's metadata and configuration, and the types it insists on."""
    config = http.get("/v2/models/digits/config").json()
    metadata = http.get("/v2/models/digits/versions/2").json()
    assert type(config["max_batch_size"]) is int
    assert config["max_batch_size"] > 0
    assert config["model_transaction_policy"] == {"decoupled": False}
    assert "sequence_batching" not in config
    assert "dynamic_batching" in config
    (tensor,) = config["input"]
    assert (tensor["name"], tensor["data_type"], tensor["dims"]) == ("image", "TYPE_FP32", [4, 4, 1])
    assert metadata["inputs"][0]["shape"] == [-1, *tensor["dims"]]
    assert "model_configuration" in http.get("/v2").json()["extensions"]
    assert http.get("/v2/models/digits/versions/2/config").json() == config
    assert http.get("/v2/models/nothing/config").status_code == 404
    (state,) = http.get("/v2/models/digits/versions/2/stats").json()["model_stats"]
    assert {"success", "queue", "compute_infer"} <= state["inference_stats"].keys()


def test_genai_perf_streams_texts(http: httpx.Client) -> None:
    """A request as genai-perf writes it for Triton's generate endpoint."""
    body = {"text_input": "abc", "max_tokens": 5, "min_tokens": 5, "stream": True, "temperature": 0, "ignore_eos": True}
    reply = http.post("/v2/models/writer/generate_stream", json=body)
    events = [json.loads(line[6:]) for line in reply.text.split("\n\n") if line]
    assert "".join(event["text_output"] for event in events) == "deabc"


def test_the_configuration_over_grpc_is_that_of_http(channel: grpc.Channel, beside: httpx.Client) -> None:
    request = config_pb.ModelConfigRequest(name="pair").SerializeToString()
    reply = config_pb.ModelConfigResponse.FromString(channel.unary_unary(f"{SERVICE}ModelConfig")(request, timeout=30))
    told = beside.get("/v2/models/pair/config").json()
    assert reply.config.max_batch_size == told["max_batch_size"] == 0
    assert (
        [list(item.dims) for item in reply.config.input] == [item["dims"] for item in told["input"]] == [[-1, -1], [-1]]
    )


@pytest.mark.parametrize("kind", ["system", "cuda"])
def test_shared_memory_is_off(http: httpx.Client, kind: str) -> None:
    root = f"/v2/{kind}sharedmemory"
    assert http.get(f"{root}/status").json() == []
    assert http.get(f"{root}/region/r/status").status_code == 404
    refused = http.post(f"{root}/region/r/register", json={"key": "/k", "offset": 0, "byte_size": 8})
    assert (refused.status_code, "switched off" in refused.json()["error"]) == (400, True)
    assert http.post(f"{root}/unregister").status_code == http.post(f"{root}/region/r/unregister").status_code == 200


@pytest.mark.parametrize(
    ("path", "off", "on"),
    [
        ("/v2/trace/setting", {"trace_level": ["OFF"]}, {"trace_level": ["TIMESTAMPS"]}),
        ("/v2/models/affine/trace/setting", {"trace_file": None}, {"trace_file": "/tmp/x"}),
        ("/v2/trace", {"trace_rate": "1000"}, {"trace_rate": "1"}),
        ("/v2/logging", {"log_info": True, "log_file": None}, {"log_verbose_level": 1}),
    ],
)
def test_trace_and_log_settings_stay_as_they_are(
    http: httpx.Client, path: str, off: dict[str, Any], on: dict[str, Any]
) -> None:
    settings = http.get(path).json()
    assert http.post(path, json=off).json() == settings
    assert http.post(path, json=on).status_code == 503
    assert http.post(path, json={"nothing": 1}).status_code == 400
