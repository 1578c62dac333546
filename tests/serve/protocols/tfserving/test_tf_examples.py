"""Classify, Regress and MultiInference: records over a model's ordinary graph, with the labels of its verb."""

from __future__ import annotations

import json
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.wrappers_pb2 import Int64Value

from bookserve.api import tfserving_pb2 as pb

SERVICE = "/tensorflow.serving.PredictionService/"
DARK, BRIGHT = [0.0] * 16, [1.0] * 16
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def ask(http: httpx.Client, path: str, body: Any) -> httpx.Response:
    return http.post(f"/v1/models/{path}", content=json.dumps(body).encode())


def test_classes_in_the_order_of_the_graph(http: httpx.Client) -> None:
    reply = ask(http, "digits:classify", {"examples": [{"image": DARK}, {"image": BRIGHT}]})
    assert reply.headers["content-type"] == "application/json"
    dark, bright = reply.json()["results"]
    assert [label for label, _ in dark] == [label for label, _ in bright] == ["dark", "bright"]
    assert dark[0][1] > 0.99 > 0.01 > bright[0][1]
    old = ask(http, "digits/versions/1:classify", {"examples": [{"image": DARK}]})
    assert old.json()["results"] == [dark]


def test_a_probability_of_one_of_two_classes_is_the_scores_of_both(http: httpx.Client) -> None:
    """And the shortest digits of a float32: 0.3333333432674408 would be those of a double."""
    reply = ask(http, "reviews:classify", {"examples": [{"tokens": [4, 4, 1, 1, 1, 1]}], "signature_name": ""})
    assert reply.content == b'{"results":[[["negative",0.6666666],["positive",0.33333334]]]}'


def test_scores_without_labels(http: httpx.Client) -> None:
    reply = ask(http, "affine:classify", {"examples": [{"x": [0.0, 1.0, 2.0]}]})
    assert reply.json() == {"results": [[["", 1.0], ["", 3.0], ["", 5.0]]]}
    endless = http.post("/v1/models/affine:classify", content=b'{"examples": [{"x": [NaN, Infinity, -1e39]}]}')
    assert endless.content == b'{"results":[[["",NaN],["",Infinity],["",-Infinity]]]}'


def test_numbers(http: httpx.Client) -> None:
    records = [{"tokens": [4, 4, 1, 1, 1, 1]}, {"tokens": [4] * 6}]
    assert ask(http, "reviews:regress", {"examples": records}).content == b'{"results":[0.33333334,1.0]}'


def test_an_example_goes_before_the_context(http: httpx.Client) -> None:
    body = {"context": {"tokens": [4] * 6, "other": "x"}, "examples": [{}, {"tokens": [1] * 6}]}
    assert ask(http, "reviews:regress", body).json() == {"results": [1.0, 0.0]}


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("affine:classify", {}, "When method is classify, key 'examples' is expected and was not found"),
        ("affine:regress", {}, "When method is classify, key 'examples' is expected and was not found"),
        ("affine:classify", {"examples": {}}, "Expecting 'examples' value to be an list/array"),
        ("affine:classify", {"examples": []}, "'examples' value is an empty array"),
        ("affine:classify", {"examples": [1]}, "Example must be JSON object but got JSON Number"),
        ("affine:classify", {"examples": [{"x": [1, 2, 3]}], "context": []}, "Example must be JSON object"),
        ("affine:classify", {"examples": [{"x": [1, 2.5, 3]}]}, "Unexpected element type in feature: x expecting type"),
        ("affine:classify", {"examples": [{"x": ["a", 2.5]}]}, "feature: x expecting type: bytes"),
        ("affine:classify", {"examples": [{"x": None}]}, "Feature: x has element with unexpected JSON type: Null"),
        (
            "affine:classify",
            {"examples": [{"x": [[1.0]]}]},
            "Feature: x has element with unexpected JSON type: Array",
        ),
        ("affine:classify", {"examples": [{"x": {"a": 1}}]}, "Feature: x has element with unexpected JSON type"),
        (
            "affine:classify",
            {"examples": [{"x": [2**63]}]},
            "Feature: x has uint64_t element. Only int64_t is supported.",
        ),
        ("affine:classify", {"examples": [{"x": [10**309, 1.5]}]}, "Number too big to be stored in double"),
        ("affine:classify", {"examples": [{"x": [2**64, 1]}]}, "feature: x expecting type: float"),
        ("affine:classify", {"examples": [{"x": {"b64": "*"}}]}, "Unable to base64 decode."),
        ("affine:classify", {"examples": [{}]}, "Feature: x (data type: float32) is required but could not be found."),
        ("affine:classify", {"examples": [{"x": []}]}, "is required but could not be found."),
        (
            "affine:classify",
            {"examples": [{"x": "a"}]},
            "Data types don't match. Data type: string but expected: float32",
        ),
        ("affine:classify", {"examples": [{"x": [1.0, 2.0]}]}, "Number of values != expected. Values size: 2"),
        ("reviews:regress", {"examples": [{"tokens": [1.0] * 6}]}, "Data types don't match. Data type: float"),
        ("reviews:regress", {"examples": [{"tokens": [2**31] * 6}]}, "out of the range of int32"),
        ("affine:regress", {"examples": [{"x": [1, 2, 3]}]}, "Expected output Tensor shape to be either [batch_size]"),
        ("pair:regress", {"examples": [{"a": [1], "b": 1}]}, "Expected one output Tensor, found 2."),
        ("pair:classify", {"examples": [{"a": [1], "b": 1}]}, "Expected one output of scores, found 2."),
        ("plane:classify", {"examples": [{"latent": [1, 1]}]}, "Expected Tensor shape: [batch_size num_classes]"),
        ("writer:regress", {"examples": [{"characters": [0, 1, 2]}]}, "Expected output Tensor shape"),
        (
            "affine:classify",
            {"examples": [{"x": [1, 2, 3]}], "signature_name": "no"},
            "No signature was found with the name: no",
        ),
        ("affine:classify", {"examples": [{"x": [1, 2, 3]}], "signature_name": 1}, "must be a string value"),
    ],
)
def test_records_that_do_not_fit(http: httpx.Client, path: str, body: Any, error: str) -> None:
    reply = ask(http, path, body)
    assert reply.status_code == 400
    assert error in reply.json()["error"]


def call(channel: grpc.Channel, method: str, request: Any, reply: type) -> Any:
    return reply.FromString(channel.unary_unary(SERVICE + method)(request.SerializeToString(), timeout=30))


def refused(channel: grpc.Channel, method: str, request: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(SERVICE + method)(request.SerializeToString(), timeout=30)
    return caught.value.code().name, caught.value.details()


def record(**features: pb.Feature) -> pb.Example:
    return pb.Example(features=pb.Features(feature=features))


def floats(*values: float) -> pb.Feature:
    return pb.Feature(float_list=pb.FloatList(value=values))


def ints(*values: int) -> pb.Feature:
    return pb.Feature(int64_list=pb.Int64List(value=values))


def given(*examples: pb.Example) -> pb.Input:
    return pb.Input(example_list=pb.ExampleList(examples=examples))


def spec(name: str = "reviews", **more: Any) -> pb.ModelSpec:
    return pb.ModelSpec(name=name, **more)


TOKENS = record(tokens=ints(4, 4, 1, 1, 1, 1))


def test_classes_and_numbers_over_grpc(channel: grpc.Channel) -> None:
    request = pb.ClassificationRequest(model_spec=spec(), input=given(TOKENS))
    reply = call(channel, "Classify", request, pb.ClassificationResponse)
    assert reply.model_spec == spec(version=Int64Value(value=1), signature_name="serving_default")
    (row,) = reply.result.classifications
    assert [(item.label, pytest.approx(item.score)) for item in row.classes] == [
        ("negative", 2 / 3),
        ("positive", 1 / 3),
    ]
    context = pb.ExampleListWithContext(examples=[pb.Example(), TOKENS], context=record(tokens=ints(*[4] * 6)))
    request = pb.RegressionRequest(model_spec=spec(), input=pb.Input(example_list_with_context=context))
    reply = call(channel, "Regress", request, pb.RegressionResponse)
    assert [row.value for row in reply.result.regressions] == [1, pytest.approx(1 / 3)]


def test_several_tasks_in_one_request(channel: grpc.Channel) -> None:
    tasks = [
        pb.InferenceTask(model_spec=spec(), method_name=CLASSIFY),
        pb.InferenceTask(model_spec=spec(signature_name="serving_default"), method_name=REGRESS),
    ]
    request = pb.MultiInferenceRequest(tasks=tasks, input=given(TOKENS))
    first, second = call(channel, "MultiInference", request, pb.MultiInferenceResponse).results
    assert [item.label for item in first.classification_result.classifications[0].classes] == ["negative", "positive"]
    assert second.regression_result.regressions[0].value == pytest.approx(1 / 3)
    assert first.model_spec.version.value == second.model_spec.version.value == 1


def task(method: str = CLASSIFY, **fields: Any) -> pb.InferenceTask:
    return pb.InferenceTask(model_spec=spec(**fields), method_name=method)


@pytest.mark.parametrize(
    ("tasks", "code", "error"),
    [
        ([], "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ([task(name="")], "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ([task(), task(name="")], "INVALID_ARGUMENT", "Found ModelSpec with an empty model name."),
        ([task(), task(name="affine")], "INVALID_ARGUMENT", "All ModelSpecs in a MultiInferenceRequest must access"),
        ([task(), task()], "INVALID_ARGUMENT", "Duplicate evaluation of signature: serving_default"),
        ([task(signature_name="x")], "INVALID_ARGUMENT", "Requested signature not found in model graph: x"),
        (
            [task("tensorflow/serving/predict")],
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving",
        ),
        ([task(name="nothing")], "NOT_FOUND", "Servable not found for request: Latest(nothing)"),
    ],
)
def test_tasks_that_do_not_fit(channel: grpc.Channel, tasks: list[pb.InferenceTask], code: str, error: str) -> None:
    request = pb.MultiInferenceRequest(tasks=tasks, input=given(TOKENS))
    seen, details = refused(channel, "MultiInference", request)
    assert (seen, details[: len(error)]) == (code, error)


@pytest.mark.parametrize(
    ("fields", "code", "error"),
    [
        ({}, "INVALID_ARGUMENT", "Missing ModelSpec"),
        ({"model_spec": spec()}, "INVALID_ARGUMENT", "Input is empty."),
        ({"model_spec": spec(), "input": given()}, "INVALID_ARGUMENT", "Input is empty."),
        ({"model_spec": spec(), "input": given(pb.Example())}, "INVALID_ARGUMENT", "Name: example 0, Feature: tokens"),
        ({"model_spec": spec(), "input": given(record(tokens=pb.Feature()))}, "INVALID_ARGUMENT", "Name: example 0"),
        ({"model_spec": spec(), "input": given(record(tokens=floats(1)))}, "INVALID_ARGUMENT", "Name: example 0"),
        ({"model_spec": spec(signature_name="x")}, "INVALID_ARGUMENT", "No signature was found with the name: x"),
        ({"model_spec": spec(version_label="x")}, "INVALID_ARGUMENT", "Unrecognized servable version label: x"),
        ({"model_spec": spec(name="nothing")}, "NOT_FOUND", "Servable not found for request: Latest(nothing)"),
    ],
)
def test_requests_that_do_not_fit(channel: grpc.Channel, fields: Any, code: str, error: str) -> None:
    for method, kind in (("Classify", pb.ClassificationRequest), ("Regress", pb.RegressionRequest)):
        seen, details = refused(channel, method, kind(**fields))
        assert (seen, details[: len(error)]) == (code, error)


def test_records_of_unequal_length_for_an_open_axis(channel: grpc.Channel) -> None:
    """``pair`` gives no classes, but its inputs are read first where one output is labelled; the parser is asked."""
    from bookserve.errors import InvalidInput
    from bookserve.graph import Graph, TensorSpec
    from serve.protocols.tfserving.tf_examples import example_inputs

    graph = Graph(
        inputs={"a": TensorSpec("float64", ("batch", "n", 2)), "t": TensorSpec("string", ("batch",))},
        outputs={"y": TensorSpec("float32", ("batch", 1))},
    )
    text = pb.Feature(bytes_list=pb.BytesList(value=[b"\xff"]))
    read = example_inputs(given(record(a=floats(1, 2, 3, 4), t=text), record(a=ints(5, 6, 7, 8), t=text)), graph)
    assert read["a"].tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    assert read["t"].tolist() == [b"\xff"] * 2
    with pytest.raises(InvalidInput, match="Feature: a differs in length"):
        example_inputs(given(record(a=floats(1, 2), t=text), record(a=floats(1, 2, 3, 4), t=text)), graph)
    with pytest.raises(InvalidInput, match="Number of values"):
        example_inputs(given(record(a=floats(1, 2, 3), t=text)), graph)
