# ruff: noqa: TID253
"""Reach TensorFlow Serving over its REST API: JSON under ``/v1/models``.

Source: https://www.tensorflow.org/tfx/serving/api_rest, the columnar format.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np

from bookserve.api import tfserving_pb2 as pb
from bookserve.client.settings import Settings
from bookserve.client.wires.http_connection import HttpConnection
from bookserve.client.wires.http_errors import error_by_status
from bookserve.client.wires.tensor_server import ServedModel
from bookserve.errors import BookserveError, Failed, InvalidInput
from bookserve.formats.tfserving_tensors import DTYPES
from bookserve.graph import Arrays, numpy_dtype
from bookserve.runtime.base import Declarations, TensorDeclaration
from bookserve.verb import short_floats


class TfServingHttp(HttpConnection):
    """TensorFlow Serving's REST API as a ``TensorServer``."""

    server = "TensorFlow Serving"

    def __init__(self, url: str, settings: Settings) -> None:
        """Raises: see ``HttpConnection``."""
        super().__init__(url, settings)
        self._outputs: dict[tuple[str, int | None, str], Declarations] = {}

    def error_of(self, response: httpx.Response) -> BookserveError:
        """See ``HttpConnection``."""
        return error_by_status(response.status_code, response.json()["error"])

    def list_models(self) -> list[tuple[str, int | None]]:
        """See ``TensorServer``: it does not say."""
        raise Failed("TensorFlow Serving does not list its models.", "Name a model, or give bundles=DIRECTORY.")

    def describe(self, model: str, version: int | None) -> ServedModel:
        """See ``TensorServer``."""
        reply = self._json("GET", f"{_path(model, version)}/metadata")
        try:
            found = reply["metadata"]["signature_def"]["signature_def"]
            graphs = {name: (_tensors(one["inputs"]), _tensors(one["outputs"])) for name, one in found.items()}
            number = int(reply["model_spec"]["version"])
        except (KeyError, TypeError, ValueError) as error:
            raise self.other_server() from error
        graphs = {name: declared for name, declared in graphs.items() if declared[0] and declared[1]}
        default = "serving_default" if "serving_default" in graphs else next(iter(graphs), "")
        for name, (_, outputs) in graphs.items():
            self._outputs[model, number, name] = outputs
            if name == default:
                self._outputs[model, number, ""] = outputs
        return ServedModel(number, graphs)

    def run(self, model: str, version: int | None, graph: str, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """See ``TensorServer``."""
        body: dict[str, Any] = {"inputs": {name: _plain(name, array) for name, array in feeds.items()}}
        if graph:
            body["signature_name"] = graph
        # NaN and Infinity are words that TensorFlow Serving reads and writes.
        reply = self._json("POST", f"{_path(model, version)}:predict", json.dumps(body).encode())
        declared = self._outputs[model, version, graph]
        try:
            found = reply["outputs"]
            named = {next(iter(declared)): found} if len(declared) == 1 else found
            return {name: _array(named[name], tensor) for name, tensor in declared.items()}
        except (KeyError, TypeError, ValueError) as error:
            raise self.other_server() from error

    def _json(self, method: str, path: str, content: bytes | None = None) -> Any:
        try:
            return self.send(method, path, content, headers={"content-type": "application/json"}).json()
        except ValueError as error:
            raise self.other_server() from error


def _path(model: str, version: int | None) -> str:
    return f"/v1/models/{quote(model, safe='')}" + (f"/versions/{version}" if version else "")


def _tensors(found: dict[str, Any]) -> Declarations:
    return {name: _tensor(tensor["dtype"], tensor.get("tensor_shape") or {}) for name, tensor in sorted(found.items())}


def _tensor(dtype: str, shape: dict[str, Any]) -> TensorDeclaration:
    known = dict(pb.DataType.items())
    sizes = [int(axis["size"]) for axis in shape.get("dim", ())]
    axes = None if shape.get("unknown_rank") else tuple(None if size < 0 else size for size in sizes)
    return TensorDeclaration(DTYPES.get(known[dtype], dtype) if dtype in known else dtype, axes)


def _plain(name: str, array: np.ndarray) -> Any:
    """The elements as JSON has them, nested as in the array."""
    if array.dtype == np.float16:
        raise InvalidInput(f"input '{name}' is float16, which has no JSON form.", "Use tfserving+grpc://.")
    if array.dtype != object:
        return short_floats(array)
    return _nested(array.tolist())


def _nested(value: Any) -> Any:
    return [_nested(item) for item in value] if isinstance(value, list) else {"b64": base64.b64encode(value).decode()}


def _array(value: Any, tensor: TensorDeclaration) -> np.ndarray:
    if tensor.dtype != "string":
        return np.asarray(value, numpy_dtype(tensor.dtype))
    flat: list[bytes] = []
    array = np.array(_placed(value, flat))
    texts = np.empty(len(flat), object)
    texts[:] = flat
    return texts[array] if len(flat) else np.empty(array.shape, object)


def _placed(value: Any, found: list[bytes]) -> Any:
    """The nested lists with a number in place of each text, which is added to ``found``."""
    if isinstance(value, list):
        return [_placed(item, found) for item in value]
    found.append(base64.b64decode(value["b64"]) if isinstance(value, dict) else str(value).encode())
    return len(found) - 1
