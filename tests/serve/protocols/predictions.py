"""Asks for the same prediction over every protocol and gives the answers in one form.

``WAYS`` has a function for each protocol, transport and form of the tensors. It writes the request and reads the answer
with JSON and protobuf alone, checks what the protocol promises about the answer, and returns the outputs as arrays.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import grpc
import httpx
import numpy as np

from bookserve.api import native_pb2, oip_pb2, tfserving_pb2
from bookserve.api.native_messages import answer_from_message, row_to_message
from bookserve.graph import Arrays
from serve.protocols.oip.tensors import DATATYPES, datatype_of, from_raw, to_raw
from serve.protocols.tfserving import tensors as tfserving
from serve.protocols.tfserving.tensors import NUMBERS
from serve.security.limits import Limits

#: The field of ``InferTensorContents`` for each type; 16-bit floats have none, and are refused in this one.
CONTENTS = {
    "bool": "bool_contents",
    **dict.fromkeys(("int8", "int16", "int32"), "int_contents"),
    "int64": "int64_contents",
    **dict.fromkeys(("uint8", "uint16", "uint32"), "uint_contents"),
    "uint64": "uint64_contents",
    **dict.fromkeys(("float16", "float32"), "fp32_contents"),
    "float64": "fp64_contents",
    "string": "bytes_contents",
}
LENGTH = "inference-header-content-length"


class Request(NamedTuple):
    model: str
    #: One array for each input; the first axis counts the rows.
    inputs: Arrays
    #: 0 for the newest.
    version: int = 0
    #: The graph; the default one where it is empty.
    signature: str = ""


class RefusedError(Exception):
    """The request was refused: HTTP status or gRPC code, and the message."""

    def __init__(self, code: int | str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


def _post(http: httpx.Client, path: str, body: Any, raw: bytes = b"", **headers: str) -> httpx.Response:
    text = json.dumps(body).encode()
    headers |= {LENGTH: str(len(text))} if raw else {}
    reply = http.post(path, content=text + raw, headers=headers)
    if reply.status_code != 200:
        error = reply.json()["error"]
        raise RefusedError(reply.status_code, error["message"] if isinstance(error, dict) else error)
    return reply


def _call(channel: grpc.Channel, method: str, message: Any) -> bytes:
    try:
        return bytes(channel.unary_unary(method)(message.SerializeToString(), timeout=60))
    except grpc.RpcError as error:
        raise RefusedError(error.code().name, error.details()) from None


def _plain(array: np.ndarray) -> Any:
    """Lists for JSON; bytes as TensorFlow Serving writes them."""
    if array.dtype == object:
        return json.loads(json.dumps(array.tolist(), default=lambda value: {"b64": base64.b64encode(value).decode()}))
    return array.tolist()


def _array(values: Any) -> np.ndarray:
    """The reverse of ``_plain``; null, which JSON has instead of infinity, becomes not a number."""
    if "b64" in json.dumps(values):
        return np.array([[base64.b64decode(value["b64"]) for value in row] for row in values], object)
    array = np.array(values)
    return array.astype(float) if array.dtype == object else array


def _rows(request: Request) -> list[Any]:
    names, columns = list(request.inputs), list(request.inputs.values())
    if len(names) == 1:
        return list(columns[0])
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def native_rest(http: httpx.Client, request: Request) -> Arrays:
    rows = [
        {name: value.tolist() for name, value in row.items()} if isinstance(row, dict) else row.tolist()
        for row in _rows(request)
    ]
    body = {"rows": rows} | ({"version": request.version} if request.version else {})
    text = _post(http, f"/api/models/{request.model}/predict", body).text
    assert not re.search("NaN|Infinity", text), "plain JSON does not have these"
    reply = json.loads(text)
    assert reply.keys() == {"model", "version", "answers"}
    assert reply["version"] == (request.version or reply["version"])
    return {name: _array([answer[name] for answer in reply["answers"]]) for name in reply["answers"][0]}


def native_grpc(channel: grpc.Channel, request: Request) -> Arrays:
    message = native_pb2.PredictRequest(model=request.model, rows=[row_to_message(row) for row in _rows(request)])
    if request.version:
        message.version = request.version
    reply = native_pb2.PredictReply.FromString(_call(channel, "/bookserve.v1.Bookserve/Predict", message))
    answers = [answer_from_message(answer) for answer in reply.answers]
    assert reply.version == (request.version or reply.version)
    return {name: np.stack([np.asarray(answer[name]) for answer in answers]) for name in answers[0]}


def _tfserving_rest(http: httpx.Client, request: Request, body: dict[str, Any], key: str) -> Any:
    version = f"/versions/{request.version}" if request.version else ""
    if request.signature:
        body["signature_name"] = request.signature
    reply = _post(http, f"/v1/models/{request.model}{version}:predict", body)
    assert reply.headers["content-type"] == "application/json"
    assert reply.json().keys() == {key}
    return reply.json()[key]


def tfserving_rest_rows(http: httpx.Client, request: Request) -> Arrays:
    inputs = {name: _plain(array) for name, array in request.inputs.items()}
    rows = [dict(zip(inputs, row, strict=True)) for row in zip(*inputs.values(), strict=True)]
    instances = [next(iter(row.values())) for row in rows] if len(inputs) == 1 else rows
    answers = _tfserving_rest(http, request, {"instances": instances}, "predictions")
    if not isinstance(answers[0], dict):
        return {"": _array(answers)}
    return {name: _array([answer[name] for answer in answers]) for name in answers[0]}


def tfserving_rest_columns(http: httpx.Client, request: Request) -> Arrays:
    columns = {name: _plain(array) for name, array in request.inputs.items()}
    answers = _tfserving_rest(http, request, {"inputs": columns}, "outputs")
    if not isinstance(answers, dict):
        return {"": _array(answers)}
    return {name: _array(column) for name, column in answers.items()}


def _tfserving_grpc(channel: grpc.Channel, request: Request, inputs: dict[str, Any]) -> Arrays:
    spec = tfserving_pb2.ModelSpec(name=request.model, signature_name=request.signature)
    if request.version:
        spec.version.value = request.version
    message = tfserving_pb2.PredictRequest(model_spec=spec, inputs=inputs)
    data = _call(channel, "/tensorflow.serving.PredictionService/Predict", message)
    reply = tfserving_pb2.PredictResponse.FromString(data)
    assert reply.model_spec.name == request.model
    assert reply.model_spec.version.value == (request.version or reply.model_spec.version.value)
    assert reply.model_spec.signature_name == (request.signature or "serving_default")
    return {name: tfserving.to_array(name, tensor, Limits()) for name, tensor in reply.outputs.items()}


def tfserving_grpc(channel: grpc.Channel, request: Request) -> Arrays:
    tensors = {name: tfserving.to_tensor(array) for name, array in request.inputs.items()}
    return _tfserving_grpc(channel, request, tensors)


def tfserving_grpc_content(channel: grpc.Channel, request: Request) -> Arrays:
    """The elements as bytes, as the official client sends them; strings have no such form but a list."""
    tensors = {}
    for name, array in request.inputs.items():
        tensors[name] = tensor = tfserving.to_tensor(array)
        if array.dtype != object:
            sizes = tensor.tensor_shape
            tensors[name] = tfserving_pb2.TensorProto(
                dtype=NUMBERS[array.dtype.name], tensor_shape=sizes, tensor_content=array.tobytes()
            )
    return _tfserving_grpc(channel, request, tensors)


def _oip_path(request: Request) -> str:
    return f"/v2/models/{request.model}{f'/versions/{request.version}' if request.version else ''}/infer"


def _oip_body(request: Request, tensors: list[dict[str, Any]], as_bytes: bool) -> dict[str, Any]:
    parameters = {"binary_data_output": as_bytes} | ({"signature_name": request.signature} if request.signature else {})
    return {"inputs": tensors, "parameters": parameters}


def _oip_spec(name: str, array: np.ndarray) -> dict[str, Any]:
    return {"name": name, "datatype": datatype_of(array), "shape": list(array.shape)}


def _dtype(of: str) -> str:
    return next(dtype for dtype, name in DATATYPES.items() if name == of)


def oip_rest(http: httpx.Client, request: Request) -> Arrays:
    """All in JSON, which carries strings that are text."""
    tensors = []
    for name, array in request.inputs.items():
        flat = [value.decode() if isinstance(value, bytes) else value for value in array.ravel().tolist()]
        tensors.append(_oip_spec(name, array) | {"data": flat})
    reply = _post(http, _oip_path(request), _oip_body(request, tensors, False)).json()
    assert (reply["model_name"], reply["model_version"].isdigit()) == (request.model, True)
    found = {}
    for output in reply["outputs"]:
        data = [value.encode() if isinstance(value, str) else value for value in output["data"]]
        dtype = object if output["datatype"] == "BYTES" else _dtype(output["datatype"])
        found[output["name"]] = np.array(data, dtype).reshape(output["shape"])
    return found


def oip_rest_bytes(http: httpx.Client, request: Request) -> Arrays:
    """All tensors behind the JSON, as bytes."""
    raw = [to_raw(array) for array in request.inputs.values()]
    tensors = [
        _oip_spec(name, array) | {"parameters": {"binary_data_size": len(data)}}
        for (name, array), data in zip(request.inputs.items(), raw, strict=True)
    ]
    reply = _post(http, _oip_path(request), _oip_body(request, tensors, True), b"".join(raw))
    assert reply.headers["content-type"] == "application/octet-stream"
    at = int(reply.headers[LENGTH])
    found = {}
    for output in json.loads(reply.content[:at])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        data = reply.content[at : at + size]
        found[output["name"]] = from_raw(output["name"], data, _dtype(output["datatype"]), output["shape"])
        at += size
    assert at == len(reply.content)
    return found


def _oip_grpc(channel: grpc.Channel, request: Request, raw: bool) -> Arrays:
    version = str(request.version) if request.version else ""
    message = oip_pb2.ModelInferRequest(model_name=request.model, model_version=version)
    if request.signature:
        message.parameters["signature_name"].string_param = request.signature
    for name, array in request.inputs.items():
        tensor = message.inputs.add(**_oip_spec(name, array))
        if raw:
            message.raw_input_contents.append(to_raw(array))
        else:
            getattr(tensor.contents, CONTENTS["string" if array.dtype == object else array.dtype.name]).extend(
                array.ravel().tolist()
            )
    data = _call(channel, "/inference.GRPCInferenceService/ModelInfer", message)
    reply = oip_pb2.ModelInferResponse.FromString(data)
    assert (reply.model_name, reply.model_version.isdigit()) == (request.model, True)
    assert len(reply.raw_output_contents) == (len(reply.outputs) if raw else 0)
    found = {}
    for index, output in enumerate(reply.outputs):
        dtype, shape = _dtype(output.datatype), list(output.shape)
        if raw:
            found[output.name] = from_raw(output.name, reply.raw_output_contents[index], dtype, shape)
        else:
            values = list(getattr(output.contents, CONTENTS[dtype]))
            found[output.name] = np.array(values, object if dtype == "string" else dtype).reshape(shape)
    return found


def oip_grpc(channel: grpc.Channel, request: Request) -> Arrays:
    return _oip_grpc(channel, request, False)


def oip_grpc_raw(channel: grpc.Channel, request: Request) -> Arrays:
    return _oip_grpc(channel, request, True)


HTTP: dict[str, Callable[[httpx.Client, Request], Arrays]] = {
    "native REST": native_rest,
    "TFS REST rows": tfserving_rest_rows,
    "TFS REST columns": tfserving_rest_columns,
    "OIP REST": oip_rest,
    "OIP REST bytes": oip_rest_bytes,
}
GRPC: dict[str, Callable[[grpc.Channel, Request], Arrays]] = {
    "native gRPC": native_grpc,
    "TFS gRPC": tfserving_grpc,
    "TFS gRPC content": tfserving_grpc_content,
    "OIP gRPC": oip_grpc,
    "OIP gRPC raw": oip_grpc_raw,
}
WAYS = [*HTTP, *GRPC]


class Ask(NamedTuple):
    """Asks one server in one way."""

    way: str
    client: httpx.Client | grpc.Channel

    def __call__(self, request: Request) -> Arrays:
        """The outputs.

        Raises:
            RefusedError: the server did not answer.
        """
        return (HTTP.get(self.way) or GRPC[self.way])(self.client, request)  # type: ignore[operator]
