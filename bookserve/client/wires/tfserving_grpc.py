"""Reach TensorFlow Serving over gRPC: ``tensorflow.serving.PredictionService``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from google.protobuf.wrappers_pb2 import Int64Value

from bookserve.api import tfserving_pb2 as pb
from bookserve.client.wires.grpc_connection import GrpcConnection
from bookserve.client.wires.tensor_server import ServedModel
from bookserve.errors import Failed
from bookserve.formats.tfserving_tensors import DTYPES, to_array, to_tensor
from bookserve.graph import Arrays
from bookserve.runtime.base import Declarations, TensorDeclaration

_SERVICE = "/tensorflow.serving.PredictionService/"


class TfServingGrpc(GrpcConnection):
    """TensorFlow Serving's gRPC API as a ``TensorServer``."""

    server = "TensorFlow Serving"

    def list_models(self) -> list[tuple[str, int | None]]:
        """See ``TensorServer``: it does not say."""
        raise Failed("TensorFlow Serving does not list its models.", "Name a model, or give bundles=DIRECTORY.")

    def describe(self, model: str, version: int | None) -> ServedModel:
        """See ``TensorServer``."""
        request = pb.GetModelMetadataRequest(model_spec=_spec(model, version), metadata_field=["signature_def"])
        reply = self.call(f"{_SERVICE}GetModelMetadata", request, pb.GetModelMetadataResponse.FromString)
        found = pb.SignatureDefMap.FromString(reply.metadata["signature_def"].value).signature_def
        graphs = {name: (_tensors(one.inputs), _tensors(one.outputs)) for name, one in found.items()}
        usable = {name: declared for name, declared in sorted(graphs.items()) if declared[0] and declared[1]}
        return ServedModel(reply.model_spec.version.value, usable)

    def run(self, model: str, version: int | None, graph: str, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """See ``TensorServer``."""
        inputs = {name: to_tensor(array) for name, array in feeds.items()}
        request = pb.PredictRequest(model_spec=_spec(model, version, graph), inputs=inputs)
        reply = self.call(f"{_SERVICE}Predict", request, pb.PredictResponse.FromString)
        return {name: to_array(f"output '{name}'", tensor) for name, tensor in sorted(reply.outputs.items())}


def _spec(model: str, version: int | None, graph: str = "") -> pb.ModelSpec:
    number = Int64Value(value=version) if version else None
    return pb.ModelSpec(name=model, version=number, signature_name=graph)


def _tensors(found: Mapping[str, pb.TensorInfo]) -> Declarations:
    return {name: _tensor(tensor) for name, tensor in sorted(found.items())}


def _tensor(tensor: pb.TensorInfo) -> TensorDeclaration:
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    axes = None if tensor.tensor_shape.unknown_rank else tuple(None if size < 0 else size for size in sizes)
    return TensorDeclaration(DTYPES.get(tensor.dtype, f"number {tensor.dtype}"), axes)
