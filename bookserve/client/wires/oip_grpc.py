"""Reach Triton, KServe, MLServer and others over the Open Inference Protocol's gRPC: ``GRPCInferenceService``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import numpy as np

from bookserve.api import oip_pb2 as pb
from bookserve.api import triton_config_pb2 as config_pb
from bookserve.client.wires.grpc_connection import GrpcConnection
from bookserve.client.wires.oip_http import declaration, newest_version, refuse_graph, version_number
from bookserve.client.wires.tensor_server import ServedModel
from bookserve.errors import BookserveError, Failed
from bookserve.formats.oip_tensors import BF16, DATATYPES, datatype_of, from_raw, to_raw
from bookserve.graph import Arrays, numpy_dtype
from bookserve.runtime.base import DEFAULT_GRAPH

_SERVICE = "/inference.GRPCInferenceService/"
_DTYPES = {datatype: dtype for dtype, datatype in DATATYPES.items()} | {BF16: BF16}
_FIELDS = {
    "bool": "bool_contents",
    "int64": "int64_contents",
    "uint64": "uint64_contents",
    **dict.fromkeys(("int8", "int16", "int32"), "int_contents"),
    **dict.fromkeys(("uint8", "uint16", "uint32"), "uint_contents"),
    "float32": "fp32_contents",
    "float64": "fp64_contents",
    "string": "bytes_contents",
}


class OipGrpc(GrpcConnection):
    """The protocol over gRPC as a ``TensorServer``."""

    server = "a server of the Open Inference Protocol"

    def list_models(self) -> list[tuple[str, int | None]]:
        """See ``TensorServer``: by Triton's model repository extension."""
        try:
            request = pb.RepositoryIndexRequest(ready=True)
            found = self.call(f"{_SERVICE}RepositoryIndex", request, pb.RepositoryIndexResponse.FromString).models
        except BookserveError as error:
            raise Failed(f"the server does not list its models: {error}", "Name a model.") from error
        return sorted((model.name, version_number(model.version)) for model in found)

    def describe(self, model: str, version: int | None) -> ServedModel:
        """See ``TensorServer``."""
        request = pb.ModelMetadataRequest(name=model, version=str(version or ""))
        reply = self.call(f"{_SERVICE}ModelMetadata", request, pb.ModelMetadataResponse.FromString)
        inputs, outputs = (
            {tensor.name: declaration(tensor.datatype, tensor.shape) for tensor in tensors}
            for tensors in (reply.inputs, reply.outputs)
        )
        chosen = version or newest_version(reply.versions)
        return ServedModel(chosen, {DEFAULT_GRAPH: (inputs, outputs)}, self._max_rows(model, chosen))

    def run(self, model: str, version: int | None, graph: str, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """See ``TensorServer``."""
        refuse_graph(graph)
        request = pb.ModelInferRequest(
            model_name=model,
            model_version=str(version or ""),
            id=uuid4().hex,
            inputs=[
                pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype_of(array), shape=array.shape)
                for name, array in feeds.items()
            ],
            raw_input_contents=[to_raw(array) for array in feeds.values()],
        )
        reply = self.call(f"{_SERVICE}ModelInfer", request, pb.ModelInferResponse.FromString)
        if len(reply.raw_output_contents) not in (0, len(reply.outputs)):
            raise self.other_server()
        return {
            output.name: from_raw(
                f"output '{output.name}'", reply.raw_output_contents[place], _dtype(output), output.shape
            )
            if reply.raw_output_contents
            else _from_contents(output)
            for place, output in enumerate(reply.outputs)
        }

    def _max_rows(self, model: str, version: int | None) -> int:
        """Triton's limit, which stands in the model's configuration; other servers have no such method."""
        request = config_pb.ModelConfigRequest(name=model, version=str(version or ""))
        try:
            reply = self.call(f"{_SERVICE}ModelConfig", request, config_pb.ModelConfigResponse.FromString)
            return int(reply.config.max_batch_size)
        except BookserveError:
            return 0


def _dtype(output: Any) -> str:
    if output.datatype not in _DTYPES:
        raise Failed(f"output '{output.name}' has the unknown type {output.datatype}.")
    return _DTYPES[output.datatype]


def _from_contents(output: Any) -> np.ndarray:
    """An output whose elements stand in the typed list."""
    dtype = _dtype(output)
    if dtype not in _FIELDS:
        raise Failed(f"output '{output.name}' has the type {output.datatype}, which has no typed list.")
    elements = list(getattr(output.contents, _FIELDS[dtype]))
    return np.array(elements, numpy_dtype(dtype)).reshape(tuple(output.shape))
