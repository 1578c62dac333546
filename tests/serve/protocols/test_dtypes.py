"""Every element type through every face of the protocols' doors, by models that give back what they take."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from onnx import helper

from bookserve.api import oip_pb2 as v2_pb2
from bookserve.api import tfserving_pb2 as tfs_pb2
from bookserve.graph import DTYPES, Arrays, Graph, TensorSpec
from bookserve.verb import Predict
from serve.protocols.oip.tensors import DATATYPES, from_raw, to_raw
from serve.protocols.tfserving import tensors as tfs
from serve.security.limits import Limits
from tests.bundles import write_bundle
from tests.servers import Server, start

pytestmark = pytest.mark.slow  # starts servers

OUTPUT = "y_bytes"


def example(dtype: str) -> np.ndarray:
    if dtype == "string":
        return np.array([[b"plain", "\u00e4".encode()], [b"", b"a\0b"]], object)
    if dtype == "bool":
        return np.array([[True, False], [False, True]])
    if dtype.startswith("float"):
        return np.array([[0.1, -2.5], [1e4, np.inf]]).astype(dtype)
    limits = np.iinfo(dtype)
    return np.array([[limits.min, limits.max], [0, 1]], dtype)


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of one model with a graph for each element type."""
    models: Path = tmp_path_factory.mktemp("echo")
    graphs = {}
    feeds: dict[str, Arrays] = {}
    for dtype in DTYPES:
        spec = TensorSpec(dtype, ("batch", "n"))
        nodes = [helper.make_node("Identity", ["x"], [OUTPUT])]
        graphs[dtype] = (Graph(inputs={"x": spec}, outputs={OUTPUT: spec}, onnx=f"{dtype}.onnx"), nodes, {})
        feeds[dtype] = {"x": np.array([[b"s"]], object) if dtype == "string" else np.ones((1, 1), dtype)}
    write_bundle(models, "echo", Predict(inputs={"x": ()}, outputs={OUTPUT: ()}, graph="bool"), graphs, feeds)
    with start(models) as running:
        yield running


def as_json(array: np.ndarray) -> str:
    def leaf(value: object) -> object:
        return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value

    return json.dumps([[leaf(value) for value in row] for row in array.tolist()])


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype != "float16"])
@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_tensorflow_servings_rest(echo: Server, dtype: str, form: str) -> None:
    array = example(dtype)
    body = f'{{"signature_name": "{dtype}", "{form}": {as_json(array)}}}'
    reply = httpx.post(f"{echo.http}/v1/models/echo:predict", content=body, trust_env=False)
    got = json.loads(reply.content)["predictions" if form == "instances" else "outputs"]
    if dtype == "string":
        assert json.dumps(got) == as_json(array)
    else:
        assert np.array_equal(np.array(got, dtype), array)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensorflow_servings_grpc(echo: Server, dtype: str) -> None:
    array = example(dtype)
    spec = tfs_pb2.ModelSpec(name="echo", signature_name=dtype)
    request = tfs_pb2.PredictRequest(model_spec=spec, inputs={"x": tfs.to_tensor(array)})
    with grpc.insecure_channel(echo.grpc_target) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        reply = tfs_pb2.PredictResponse.FromString(call(request.SerializeToString(), timeout=30))
    back = tfs.to_array("y", reply.outputs[OUTPUT], Limits())
    assert back.dtype == array.dtype
    assert back.tolist() == array.tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("as_bytes", [True, False])
def test_open_inference_rest(echo: Server, dtype: str, as_bytes: bool) -> None:
    array = example(dtype)
    if dtype == "string" and not as_bytes:
        array = array[:1]  # JSON carries text alone
    raw = to_raw(array)
    tensor = {"name": "x", "datatype": DATATYPES[dtype], "shape": array.shape}
    if as_bytes:
        tensor |= {"parameters": {"binary_data_size": len(raw)}}
    else:
        tensor |= {"data": [value.decode() if dtype == "string" else value for value in array.ravel().tolist()]}
    asked = {"inputs": [tensor], "parameters": {"signature_name": dtype, "binary_data_output": as_bytes}}
    text = json.dumps(asked).encode()
    reply = httpx.post(
        f"{echo.http}/v2/models/echo/infer",
        content=text + raw if as_bytes else text,
        headers={"inference-header-content-length": str(len(text))} if as_bytes else {},
        trust_env=False,
    )
    end = int(reply.headers.get("inference-header-content-length", len(reply.content)))
    got = json.loads(reply.content[:end])["outputs"][0]
    assert (got["datatype"], got["shape"]) == (DATATYPES[dtype], list(array.shape))
    if as_bytes:
        assert from_raw("y", reply.content[end:], dtype, array.shape).tolist() == array.tolist()
    elif dtype == "string":
        assert [text.encode() for text in got["data"]] == array.ravel().tolist()
    else:
        assert np.array(got["data"], dtype).tolist() == array.ravel().tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("raw", [True, False])
def test_open_inference_grpc(echo: Server, dtype: str, raw: bool) -> None:
    array = example(dtype)
    tensor = v2_pb2.ModelInferRequest.InferInputTensor(name="x", datatype=DATATYPES[dtype], shape=array.shape)
    if not raw and dtype != "float16":
        field = {"bool": "bool", "float32": "fp32", "float64": "fp64", "string": "bytes"}.get(dtype)
        field = field or {"i": "int", "u": "uint"}[dtype[0]] + ("64" if dtype.endswith("64") else "")
        getattr(tensor.contents, f"{field}_contents").extend(array.ravel().tolist())
    request = v2_pb2.ModelInferRequest(
        model_name="echo",
        parameters={"signature_name": v2_pb2.InferParameter(string_param=dtype)},
        inputs=[tensor],
        raw_input_contents=[to_raw(array)] if raw else [],
    )
    with grpc.insecure_channel(echo.grpc_target) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        if not raw and dtype == "float16":
            with pytest.raises(grpc.RpcError, match="raw_input_contents"):
                call(request.SerializeToString(), timeout=30)
            return
        reply = v2_pb2.ModelInferResponse.FromString(call(request.SerializeToString(), timeout=30))
    if raw:
        assert from_raw("y", reply.raw_output_contents[0], dtype, array.shape).tolist() == array.tolist()
    else:
        assert list(getattr(reply.outputs[0].contents, f"{field}_contents")) == array.ravel().tolist()


def test_bytes_that_are_no_text_are_refused_by_onnx_runtime(echo: Server) -> None:
    raw = b"\1\0\0\0\xff"
    tensor = {"name": "x", "datatype": "BYTES", "shape": [1, 1], "parameters": {"binary_data_size": len(raw)}}
    text = json.dumps({"inputs": [tensor], "parameters": {"signature_name": "string"}}).encode()
    headers = {"inference-header-content-length": str(len(text))}
    url = f"{echo.http}/v2/models/echo/infer"
    reply = httpx.post(url, content=text + raw, headers=headers, trust_env=False)
    assert reply.status_code == 400
    assert reply.json()["error"] == "input 'x' holds bytes that are not UTF-8 text."


def test_float16_by_column_is_not_implemented(echo: Server) -> None:
    body = json.dumps({"signature_name": "float16", "inputs": [[1.0]]})
    reply = httpx.post(f"{echo.http}/v1/models/echo:predict", content=body, trust_env=False)
    assert (reply.status_code, "half" in reply.json()["error"]) == (501, True)
