"""A SavedModel of TensorFlow 1 with signatures over serialized records answers as TensorFlow Serving lets it answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from bookserve.api import tfserving_pb2 as pb
from serve.protocols.tfserving.signatures import CLASSIFY, REGRESS, read_signatures
from tests.servers import Server, start

pytestmark = pytest.mark.slow  # starts a server with TensorFlow

SERVICE = "/tensorflow.serving.PredictionService/"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models")
    script = Path(__file__).with_name("half_plus_two.py")
    subprocess.run([sys.executable, script, directory / "half/123"], check=True, capture_output=True)
    return directory


@pytest.fixture(scope="module")
def served(models: Path) -> Iterator[Server]:
    with start(models) as running:
        yield running


@pytest.fixture
def http(served: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.http, trust_env=False, timeout=30) as client:
        yield client


def ask(http: httpx.Client, verb: str, signature: str, examples: list[Any], **more: Any) -> tuple[int, str]:
    body = json.dumps({"signature_name": signature, "examples": examples, **more})
    reply = http.post(f"/v1/models/half:{verb}", content=body)
    return reply.status_code, reply.text if reply.status_code == 200 else reply.json()["error"]


@pytest.mark.parametrize(
    ("verb", "signature", "examples", "expected"),
    [
        ("regress", "regress_x_to_y", [{"x": 80.0}], "[42.0]"),
        ("regress", "regress_x_to_y", [{"x": [80.0]}, {"x": 2.0, "other": "z"}], "[42.0,3.0]"),
        ("regress", "regress_x_to_y2", [{"x": 4.0, "x2": 1.0}], "[5.0]"),
        (
            "regress",
            "regress_x_to_y",
            [{"x": float("nan")}, {"x": float("inf")}, {"x": -1e39}],
            "[NaN,Infinity,-Infinity]",
        ),
        ("regress", "native", [{"x": 80.0}], "[42.0]"),
        ("classify", "classify_x_to_y", [{"x": 20.0}, {"x": 10.0}], '[[["",12.0]],[["",7.0]]]'),
        ("classify", "classify_x_to_y", [{"x": float("-inf")}], '[[["",-Infinity]]]'),
        ("classify", "classify_names", [{"x": 20.0}], '[[["is 12.0",0.0]]]'),
    ],
)
def test_records(http: httpx.Client, verb: str, signature: str, examples: list[Any], expected: str) -> None:
    assert ask(http, verb, signature, examples) == (200, f'{{"results":{expected}}}')


def test_the_context_stands_in_for_what_an_example_lacks(http: httpx.Client) -> None:
    found = ask(http, "regress", "regress_x_to_y", [{}, {"x": 2.0}], context={"x": 80.0})
    assert found == (200, '{"results":[42.0,3.0]}')


@pytest.mark.parametrize(
    ("verb", "signature", "error"),
    [
        (
            "classify",
            "",
            f"Expected classification signature method_name to be {CLASSIFY}. Was: tensorflow/serving/predict",
        ),
        ("classify", "serving_default", "No classification inputs found in SignatureDef: "),
        ("regress", "serving_default", "No regression inputs found in SignatureDef: "),
        ("regress", "serving_default", f"Expected regression signature method_name to be {REGRESS}. Was: "),
        ("classify", "regress_x_to_y", 'outputs to contain at least one of "classes" or "scores"'),
        ("regress", "classify_x_to_y", "No regression outputs found in SignatureDef: "),
        ("regress", "regress_x2_to_y3", "Expects arg[0] to be float but string is provided"),
        ("classify", "classify_x2_to_y3", "Expects arg[0] to be float but string is provided"),
        (
            "regress",
            "regress_pairs",
            "to be either [batch_size] or [batch_size, 1] but got [1,2]",
        ),
        ("regress", "none", "No signature was found with the name: none"),
    ],
)
def test_signatures_that_do_not_suit_the_method(http: httpx.Client, verb: str, signature: str, error: str) -> None:
    status, text = ask(http, verb, signature, [{"x": 1.0}])
    assert status == 400
    assert error in text


@pytest.mark.parametrize("examples", [[{}], [{"x": 4}], [{"x": [1.0, 2.0]}], [{"x": "text"}]])
def test_records_that_do_not_fit(http: httpx.Client, examples: list[Any]) -> None:
    assert ask(http, "regress", "regress_x_to_y", examples)[0] == 400


def test_tensors_of_the_same_model(http: httpx.Client) -> None:
    answer = http.post("/v1/models/half:predict", json={"instances": [[1.0], [5.0]]})
    assert answer.json() == {"predictions": [[2.5], [4.5]]}
    body = {"signature_name": "regress_x2_to_y3", "inputs": {"inputs": [[2.0]]}}
    assert http.post("/v1/models/half:predict", json=body).json() == {"outputs": [[4.0]]}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"instances": [1.0, 2.0, 5.0]}, {"predictions": [2.5, 3.0, 4.5]}),  # the first example of its documentation
        ({"instances": [5.0]}, {"predictions": [4.5]}),
        ({"instances": [[[1.0], [2.0]]]}, {"predictions": [[[2.5], [3.0]]]}),
        ({"instances": [{"x": 1.0}, {"x": 2.0}]}, {"predictions": [2.5, 3.0]}),
        ({"inputs": 6.0}, {"outputs": 5.0}),
        ({"inputs": {"x": [1.0, 2.0]}}, {"outputs": [2.5, 3.0]}),
    ],
)
def test_tensors_of_other_shapes_than_declared(http: httpx.Client, body: Any, expected: Any) -> None:
    assert http.post("/v1/models/half:predict", json=body).json() == expected


def test_tensorflow_says_which_shapes_it_does_not_take(http: httpx.Client) -> None:
    answer = http.post("/v1/models/half:predict", json={"signature_name": "native", "inputs": {"inputs": [["a"]]}})
    assert answer.status_code == 400
    assert "does not take these values" in answer.json()["error"]


def test_the_metadata_are_those_of_the_file(http: httpx.Client, models: Path) -> None:
    answer = http.get("/v1/models/half/metadata").json()
    assert answer["model_spec"] == {"name": "half", "signature_name": "", "version": "123"}
    found = answer["metadata"]["signature_def"]["signature_def"]
    assert found.keys() == read_signatures(models / "half/123/saved_model.pb").keys()
    shape = {"dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}], "unknown_rank": False}
    assert found["regress_x2_to_y3"] == {
        "inputs": {"inputs": {"name": "x2:0", "dtype": "DT_FLOAT", "tensor_shape": shape}},
        "outputs": {"outputs": {"name": "add_2:0", "dtype": "DT_FLOAT", "tensor_shape": shape}},
        "method_name": "tensorflow/serving/regress",
        "defaults": {},
    }


@pytest.fixture
def channel(served: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(served.grpc_target, [("grpc.enable_http_proxy", 0)]) as opened:
        yield opened


def example(x: float) -> pb.Example:
    return pb.Example(features=pb.Features(feature={"x": pb.Feature(float_list=pb.FloatList(value=[x]))}))


def spec(signature: str) -> pb.ModelSpec:
    return pb.ModelSpec(name="half", signature_name=signature)


def call(channel: grpc.Channel, method: str, request: Any, reply: type) -> Any:
    return reply.FromString(channel.unary_unary(SERVICE + method)(request.SerializeToString(), timeout=30))


def test_records_over_grpc(channel: grpc.Channel) -> None:
    two = pb.Input(example_list=pb.ExampleList(examples=[example(80), example(2)]))
    request = pb.RegressionRequest(model_spec=spec("regress_x_to_y"), input=two)
    answer = call(channel, "Regress", request, pb.RegressionResponse)
    assert [row.value for row in answer.result.regressions] == [42, 3]
    assert (answer.model_spec.signature_name, answer.model_spec.version.value) == ("regress_x_to_y", 123)
    shared = pb.ExampleListWithContext(examples=[pb.Example(), example(2)], context=example(80))
    classified = pb.ClassificationRequest(
        model_spec=spec("classify_x_to_y"), input=pb.Input(example_list_with_context=shared)
    )
    rows = call(channel, "Classify", classified, pb.ClassificationResponse).result.classifications
    assert [[(item.label, item.score) for item in row.classes] for row in rows] == [[("", 42)], [("", 3)]]
    tasks = [
        pb.InferenceTask(model_spec=spec("classify_x_to_y"), method_name=CLASSIFY),
        pb.InferenceTask(model_spec=spec("regress_x_to_y2"), method_name=REGRESS),
    ]
    several = call(
        channel, "MultiInference", pb.MultiInferenceRequest(tasks=tasks, input=two), pb.MultiInferenceResponse
    )
    first, second = several.results
    assert [row.classes[0].score for row in first.classification_result.classifications] == [42, 3]
    assert [row.value for row in second.regression_result.regressions] == [43, 4]
    assert second.model_spec.signature_name == "regress_x_to_y2"


def test_a_predict_signature_does_not_classify(channel: grpc.Channel) -> None:
    request = pb.ClassificationRequest(
        model_spec=spec(""), input=pb.Input(example_list=pb.ExampleList(examples=[example(1)]))
    )
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, "Classify", request, pb.ClassificationResponse)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith("Expected classification signature method_name to be")
