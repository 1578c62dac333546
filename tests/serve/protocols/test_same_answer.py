"""One table of requests, protocols and expected answers: what is asked once is answered alike, however it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import httpx
import numpy as np
import pytest
from onnx import helper

from bookserve.graph import DTYPES, Arrays, Graph, TensorSpec
from bookserve.verb import Predict
from tests.bundles import write_bundle
from tests.serve.in_process import application_client
from tests.serve.protocols.predictions import GRPC, HTTP, WAYS, Ask, RefusedError, Request
from tests.servers import Server, start


class Refusal(NamedTuple):
    #: HTTP status, or the name of the gRPC code where it is not that status's usual one.
    status: int | str
    #: Part of the message.
    message: str

    def code(self, way: str) -> int | str:
        """HTTP status or name of the gRPC code."""
        return self.status if way in HTTP or isinstance(self.status, str) else CODES[self.status]


#: Outputs or a refusal; None where the protocol has no such request.
Expected = Arrays | Refusal | None
CODES = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND"}
NAN, INF = np.nan, np.inf


def floats(*rows: Any) -> np.ndarray:
    return np.array(rows, np.float32)


X = {"x": floats([0, 1, 2])}
MANY = np.arange(90_000, dtype=np.float32).reshape(-1, 3)

#: By name: the request, and what is expected by the start of a way's name; the longest start counts.
CASES: dict[str, tuple[Request, dict[str, Expected]]] = {
    "rows": (
        Request("affine", {"x": floats([0, 1, 2], [0.5, 0, -4])}),
        {"": {"y": floats([1, 3, 5], [2, 1, -7])}},
    ),
    "30,000 rows": (Request("affine", {"x": MANY}), {"": {"y": MANY * 2 + 1}}),
    "two inputs and 64 bits": (
        Request("pair", {"a": floats([1, 2], [3, 4]), "b": np.array([5, 2**40])}),
        {"": {"sum": floats(3, 7), "next": np.array([6, 2**40 + 1])}},
    ),
    "not a number and infinity": (
        Request("affine", {"x": floats([NAN, INF, -INF])}),
        {"": {"y": floats([NAN, INF, -INF])}, "native REST": {"y": floats([NAN, NAN, NAN])}},  # null
    ),
    "an answer that overflows": (
        Request("affine", {"x": floats([3e38, 0, 0])}),
        {"": {"y": floats([INF, 1, 1])}, "native REST": {"y": floats([NAN, 1, 1])}},  # null
    ),
    "an older version": (
        Request("digits", {"image": np.ones((1, 4, 4, 1), np.float32)}, version=1),
        {"": {"probabilities": floats([0.000335350, 0.999664664])}, "native": None},  # it takes pictures
    ),
    "another graph": (
        Request("writer", {"characters": np.array([[0, 1]], np.int32), "count": floats([3])}, signature="step"),
        {
            "": {"probabilities": floats([0.05, 0.05, 0.8, 0.05, 0.05]), "next_count": floats([5])},
            "native": None,
        },
    ),
    "an unknown model": (
        Request("nothing", X),
        {
            "native": Refusal(404, "no model 'nothing'"),
            "TFS": Refusal(404, "Servable not found for request: Latest(nothing)"),
            "OIP": Refusal(404, "Request for unknown model: 'nothing' is not found"),
        },
    ),
    "an unknown version": (
        Request("affine", X, version=9),
        {
            "native": Refusal(404, "no version 9"),
            "TFS": Refusal(404, "Servable not found for request: Specific(affine, 9)"),
            "OIP": Refusal(404, "Request for unknown model: 'affine' version 9 is not found"),
        },
    ),
    "an unknown graph": (
        Request("affine", X, signature="nothing"),
        {
            "native": None,
            "TFS REST": Refusal(400, 'Serving signature name: "nothing" not found in signature def'),
            "TFS gRPC": Refusal("FAILED_PRECONDITION", 'Serving signature key "nothing" not found.'),
            "OIP": Refusal(400, "model 'affine' has no graph 'nothing'"),
        },
    ),
    "rows that are too short": (
        Request("affine", {"x": floats([0, 1])}),
        {
            "native": Refusal(400, "shape [2]; expected float32[3]"),
            "TFS": Refusal(400, "input 'x' has shape [1, 2]; expected float32[batch, 3]."),
            "OIP": Refusal(400, "unexpected shape for input 'x' for model 'affine'. Expected [-1,3], got [1,2]"),
        },
    ),
    "an axis too many": (
        Request("affine", {"x": floats([[0, 1, 2]])}),
        {
            "native": {"y": floats([1, 3, 5])},  # a row of three numbers, however they are nested
            "TFS": Refusal(400, "input 'x' has shape [1, 1, 3]; expected float32[batch, 3]."),
            "OIP": Refusal(400, "unexpected shape for input 'x' for model 'affine'. Expected [-1,3], got [1,1,3]"),
        },
    ),
    "no rows": (
        Request("affine", {"x": np.zeros((0, 3), np.float32)}),
        {
            "native": Refusal(400, "length >= 1"),
            "TFS REST rows": Refusal(400, "JSON Value: [] No values in 'instances' array"),
            "TFS REST columns": Refusal(400, "input 'x' has shape [0]; expected float32[batch, 3]."),
            "TFS gRPC": Refusal(400, "the request holds no rows."),
            "OIP": Refusal(400, "the request holds no rows."),
        },
    ),
    "a missing input": (
        Request("pair", {"a": floats([0, 1])}),
        {
            "native": Refusal(400, "'a', 'b'"),
            "TFS REST rows": Refusal(400, "expecting list of objects as multiple input tensors required"),
            "TFS REST columns": Refusal(400, "Missing named input: b in 'inputs' object."),
            "TFS gRPC": Refusal(400, "Sent extra: {}. Missing but required: {b}."),
            "OIP": Refusal(400, "the inputs given are 'a'; the graph takes 'a', 'b'."),
        },
    ),
    "an input too many": (
        Request("affine", X | {"z": floats([0, 1, 2])}),
        {
            "native": Refusal(400, "expected float32[3]"),
            "TFS REST rows": Refusal(400, "does not have named input: z. The inputs are: x."),
            "TFS REST columns": {"y": floats([1, 3, 5])},  # as in TensorFlow Serving
            "TFS gRPC": Refusal(400, "Sent extra: {z}. Missing but required: {}."),
            "OIP": Refusal(400, "unexpected inference input 'z' for model 'affine'."),
        },
    ),
    "another element type": (
        Request("affine", {"x": np.array([[0.0, 1, 2]])}),
        {
            "native": {"y": floats([1, 3, 5])},  # numbers are converted
            "TFS REST": {"y": floats([1, 3, 5])},  # JSON has one type of number
            "TFS gRPC": Refusal(400, "input 'x' is float64; expected float32[batch, 3]."),
            "OIP": Refusal(400, "input 'x' has datatype 'FP64'; expected FP32."),
        },
    ),
    "values that the graph refuses": (
        Request("writer", {"characters": np.array([[9, 9, 9]], np.int32)}),
        {"": Refusal(400, "the model refused the input"), "native": None},
    ),
}

#: Each way at each place: the application in this process, and servers with grpcio's gRPC and with the builtin one.
PLACES = [
    *((way, "application") for way in HTTP),
    *((way, "server") for way in WAYS),
    *((way, "builtin") for way in GRPC),
]


def place_mark(place: str) -> Any:
    return () if place == "application" else pytest.mark.slow


def opened(stack: ExitStack, way: str, server: Server) -> Ask:
    if way in HTTP:
        return Ask(way, stack.enter_context(httpx.Client(base_url=server.http, trust_env=False, timeout=60)))
    options = [("grpc.enable_http_proxy", 0)]
    return Ask(way, stack.enter_context(grpc.insecure_channel(server.grpc_target, options)))


def expected_of(case: str, way: str) -> Expected:
    answers = CASES[case][1]
    return answers[max((start for start in answers if way.startswith(start)), key=len)]


def check_outputs(way: str, outputs: Arrays, expected: Arrays) -> None:
    """JSON of our own API and of TensorFlow Serving has no types, and the latter no name where the output is one."""
    untyped = way == "native REST" or way.startswith("TFS REST")
    if way.startswith("TFS REST") and len(expected) == 1:
        outputs = dict.fromkeys(expected, outputs[""])
    assert outputs.keys() == expected.keys()
    for name, array in expected.items():
        found = outputs[name]
        assert found.shape == array.shape
        assert untyped or found.dtype == array.dtype
        if array.dtype == object:
            assert found.tolist() == array.tolist()
        elif array.dtype.kind == "f":
            np.testing.assert_allclose(found.astype(array.dtype), array, rtol=1e-6)
        else:
            assert np.array_equal(found, array)


@pytest.mark.parametrize(
    ("case", "way", "place"),
    [
        pytest.param(case, way, place, id=f"{case}, {way} of {place}", marks=place_mark(place))
        for case in CASES
        for way, place in PLACES
        if expected_of(case, way) is not None
    ],
)
def test_each_request_has_its_answer(request: pytest.FixtureRequest, case: str, way: str, place: str) -> None:
    expected = expected_of(case, way)
    assert expected is not None
    with ExitStack() as stack:
        if place == "application":
            ask = Ask(way, request.getfixturevalue("application_http"))
        else:
            ask = opened(stack, way, request.getfixturevalue(place))
        if isinstance(expected, Refusal):
            with pytest.raises(RefusedError) as caught:
                ask(CASES[case][0])
            assert caught.value.code == expected.code(way)
            assert expected.message in caught.value.message
        else:
            check_outputs(way, ask(CASES[case][0]), expected)


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a graph for each element type, which gives back what it takes."""
    models: Path = tmp_path_factory.mktemp("echo")
    graphs, feeds = {}, {}
    for dtype in DTYPES:
        spec = TensorSpec(dtype, ("batch", "n"))
        nodes = [helper.make_node("Identity", ["x"], ["y_bytes"])]
        graphs[dtype] = (Graph(inputs={"x": spec}, outputs={"y_bytes": spec}, onnx=f"{dtype}.onnx"), nodes, {})
        feeds[dtype] = {"x": np.array([[b"s"]], object) if dtype == "string" else np.ones((1, 1), dtype)}
    write_bundle(models, "echo", Predict(inputs={"x": ()}, outputs={"y_bytes": ()}, graph="bool"), graphs, feeds)
    return models


@pytest.fixture(scope="module")
def echo_application(echo: Path) -> Iterator[httpx.Client]:
    with application_client(echo) as client:
        yield client


@pytest.fixture(scope="module")
def echo_server(echo: Path) -> Iterator[Server]:
    with start(echo) as running:
        yield running


def example(dtype: str) -> np.ndarray:
    if dtype == "string":
        return np.array([[b"plain", "\u00e4".encode()], [b"", b"a\0b"]], object)
    if dtype == "bool":
        return np.array([[True, False], [False, True]])
    if dtype.startswith("float"):
        return np.array([[0.1, -2.5], [1e4, np.inf]]).astype(dtype)
    limits = np.iinfo(dtype)
    return np.array([[limits.min, limits.max], [0, 1]], dtype)


#: Our own API has rows, and no graphs to choose from.
TYPED_PLACES = [
    *((way, "application") for way in HTTP if not way.startswith("native")),
    *((way, "server") for way in WAYS if not way.startswith("native")),
]
#: Ways that have no 16-bit floats, and what they say.
NO_FLOAT16 = {
    "TFS REST rows": Refusal(400, "half"),
    "TFS REST columns": Refusal(501, "half"),
    "OIP gRPC": Refusal(400, "raw_input_contents"),
}


@pytest.mark.parametrize(
    ("way", "place"),
    [pytest.param(way, place, id=f"{way} of {place}", marks=place_mark(place)) for way, place in TYPED_PLACES],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_element_type_comes_back(request: pytest.FixtureRequest, dtype: str, way: str, place: str) -> None:
    array = example(dtype)
    asked = Request("echo", {"x": array}, signature=dtype)
    with ExitStack() as stack:
        if place == "application":
            ask = Ask(way, request.getfixturevalue("echo_application"))
        else:
            ask = opened(stack, way, request.getfixturevalue("echo_server"))
        if dtype == "float16" and way in NO_FLOAT16:
            with pytest.raises(RefusedError, match=NO_FLOAT16[way].message) as caught:
                ask(asked)
            assert caught.value.code == NO_FLOAT16[way].code(way)
        else:
            check_outputs(way, ask(asked), {"y_bytes": array})


def test_bytes_that_are_no_text_are_refused_by_onnx_runtime(echo_application: httpx.Client) -> None:
    with pytest.raises(RefusedError) as caught:
        Ask("OIP REST bytes", echo_application)(
            Request("echo", {"x": np.array([[b"\xff"]], object)}, signature="string")
        )
    assert (caught.value.code, caught.value.message) == (400, "input 'x' holds bytes that are not UTF-8 text.")
