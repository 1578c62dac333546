# ruff: noqa: TID253
"""Reach Triton, KServe, MLServer and others over the Open Inference Protocol's HTTP: JSON under ``/v2``.

A server that advertises ``binary_tensor_data`` gets tensors as bytes behind the JSON, others get JSON numbers.
Source: https://github.com/kserve/open-inference-protocol, and Triton's extension_binary_data.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np

from bookserve.client.wires.http_connection import HttpConnection
from bookserve.client.wires.http_errors import error_by_status
from bookserve.client.wires.tensor_server import ServedModel
from bookserve.errors import BookserveError, Failed, InvalidInput
from bookserve.formats.oip_tensors import BF16, DATATYPES, datatype_of, from_raw, to_raw
from bookserve.graph import Arrays, numpy_dtype
from bookserve.runtime.base import DEFAULT_GRAPH, TensorDeclaration
from bookserve.verb import short_floats

_LENGTH = "inference-header-content-length"
_DTYPES = {datatype: dtype for dtype, datatype in DATATYPES.items()} | {BF16: BF16}
_ONE_GRAPH = "The Open Inference Protocol runs only the default graph of a model; this needs the graph '{}'."


class OipHttp(HttpConnection):
    """The protocol over HTTP as a ``TensorServer``."""

    server = "a server of the Open Inference Protocol"

    def error_of(self, response: httpx.Response) -> BookserveError:
        """See ``HttpConnection``; KServe and MLServer write some errors as FastAPI does."""
        found = response.json()
        return error_by_status(response.status_code, found["error"] if "error" in found else found["detail"])

    def list_models(self) -> list[tuple[str, int | None]]:
        """See ``TensorServer``: by Triton's model repository extension, or as KServe does."""
        try:
            found = self._json("POST", "/v2/repository/index", b'{"ready":true}')
            names = [(str(model["name"]), version_number(str(model.get("version") or ""))) for model in found]
        except (BookserveError, KeyError, TypeError) as refused:
            try:
                names = [(str(name), None) for name in self._json("GET", "/v2/models")["models"]]
            except (BookserveError, KeyError, TypeError) as error:
                raise Failed(f"the server does not list its models: {refused}", "Name a model.") from error
        return sorted(names)

    def describe(self, model: str, version: int | None) -> ServedModel:
        """See ``TensorServer``."""
        path = _path(model, version)
        reply = self._json("GET", path)
        try:
            inputs, outputs = (
                {tensor["name"]: declaration(tensor["datatype"], tensor["shape"]) for tensor in reply.get(kind) or ()}
                for kind in ("inputs", "outputs")
            )
            newest = newest_version(reply.get("versions") or ())
        except (KeyError, TypeError, AttributeError) as error:
            raise self.other_server() from error
        return ServedModel(version or newest, {DEFAULT_GRAPH: (inputs, outputs)}, self._max_rows(path, reply))

    def run(self, model: str, version: int | None, graph: str, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """See ``TensorServer``."""
        refuse_graph(graph)
        tensors, parts = [], []
        for name, array in feeds.items():
            tensor: dict[str, Any] = {"name": name, "shape": array.shape, "datatype": datatype_of(array)}
            if self._binary:
                parts.append(to_raw(array))
                tensor["parameters"] = {"binary_data_size": len(parts[-1])}
            else:
                tensor["data"] = _plain(name, array)
            tensors.append(tensor)
        body: dict[str, Any] = {"inputs": tensors}
        if self._binary:
            body["parameters"] = {"binary_data_output": True}
        head = json.dumps(body).encode()
        kind = "octet-stream" if self._binary else "json"
        headers = {"content-type": f"application/{kind}", **({_LENGTH: str(len(head))} if self._binary else {})}
        response = self.send("POST", f"{_path(model, version)}/infer", b"".join([head, *parts]), headers=headers)
        try:
            return _outputs(response)
        except (KeyError, TypeError, ValueError) as error:
            raise self.other_server() from error

    @cached_property
    def _binary(self) -> bool:
        return "binary_tensor_data" in (self._json("GET", "/v2").get("extensions") or ())

    def _max_rows(self, path: str, metadata: dict[str, Any]) -> int:
        """Triton's limit, which stands in the model's configuration; other servers set none."""
        try:
            return int(self._json("GET", f"{path}/config").get("max_batch_size") or 0) if self._binary else 0
        except (BookserveError, TypeError, ValueError):
            return 0

    def _json(self, method: str, path: str, content: bytes | None = None) -> Any:
        try:
            return self.send(method, path, content, headers={"content-type": "application/json"}).json()
        except ValueError as error:
            raise self.other_server() from error


def version_number(version: str) -> int | None:
    """The number of a version; None for a name such as ``v0.1.0``."""
    return int(version) if version.isascii() and version.isdigit() and int(version) else None


def newest_version(versions: Any) -> int | None:
    """The largest number among the versions of a model; None if they are no numbers."""
    return max((number for number in map(version_number, map(str, versions)) if number), default=None)


def declaration(datatype: str, shape: Any) -> TensorDeclaration:
    """A tensor as the protocol's metadata describes it."""
    dtype = _DTYPES.get(datatype, datatype)
    return TensorDeclaration("float32" if dtype == BF16 else dtype, tuple(None if size < 0 else size for size in shape))


def refuse_graph(graph: str) -> None:
    """Refuse any graph but the default one.

    Raises:
        Failed: it is another one.
    """
    if graph:
        raise Failed(_ONE_GRAPH.format(graph), "Use a tfserving+grpc:// address; a bookserve server has http://, too.")


def _path(model: str, version: int | None) -> str:
    return f"/v2/models/{quote(model, safe='')}" + (f"/versions/{version}" if version else "")


def _plain(name: str, array: np.ndarray) -> list[Any]:
    """The elements as one list, as JSON has them."""
    flat = array.ravel()
    if array.dtype == np.float16:
        raise InvalidInput(f"input '{name}' is float16, which has no JSON form.", "Use oip+grpc://.")
    if array.dtype != object:
        return list(short_floats(flat))
    try:
        return [item.decode() for item in flat]
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"input '{name}' holds bytes that are not UTF-8, which JSON cannot hold.", "Use oip+grpc://."
        ) from error


def _outputs(response: httpx.Response) -> Arrays:
    length = int(response.headers.get(_LENGTH, len(response.content)))
    reply, rest = json.loads(response.content[:length]), memoryview(response.content)[length:]
    arrays: Arrays = {}
    for output in reply["outputs"]:
        name, dtype, shape = output["name"], _DTYPES[output["datatype"]], output["shape"]
        size = (output.get("parameters") or {}).get("binary_data_size")
        if size is not None:
            arrays[name] = from_raw(f"output '{name}'", rest[:size], dtype, shape)
            rest = rest[size:]
        elif dtype == "string":
            arrays[name] = np.array([str(item).encode() for item in np.ravel(output["data"])], object).reshape(shape)
        else:
            arrays[name] = np.asarray(output["data"], numpy_dtype(dtype)).reshape(shape)
    return arrays
