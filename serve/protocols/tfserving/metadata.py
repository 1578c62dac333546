"""Describes a bundle's graphs as TensorFlow's SignatureDefs."""

from __future__ import annotations

from bookserve.api import tfserving_pb2 as pb
from bookserve.graph import TensorSpec
from serve.models.live_model import LiveModel
from serve.protocols.tfserving.tensors import NUMBERS

#: The signature of requests that name none.
DEFAULT_SIGNATURE = "serving_default"
#: Type URL of the message that ``GetModelMetadata`` returns in an ``Any``.
TYPE_URL = "type.googleapis.com/tensorflow.serving.SignatureDefMap"


def signature_defs(live: LiveModel) -> pb.SignatureDefMap:
    """All graphs of a model by name; the default graph also as ``serving_default``."""
    graphs = dict(live.bundle.manifest.graphs)
    graphs.setdefault(DEFAULT_SIGNATURE, live.bundle.graph()[1])
    return pb.SignatureDefMap(
        signature_def={
            name: pb.SignatureDef(
                inputs={key: _tensor_info(f"{name}_{key}", spec) for key, spec in graph.inputs.items()},
                outputs={key: _tensor_info(f"{name}_{key}", spec) for key, spec in graph.outputs.items()},
                method_name="tensorflow/serving/predict",
            )
            for name, graph in graphs.items()
        }
    )


def _tensor_info(name: str, spec: TensorSpec) -> pb.TensorInfo:
    dims = [pb.TensorShapeProto.Dim(size=size) for size in spec.sizes()]
    return pb.TensorInfo(name=f"{name}:0", dtype=NUMBERS[spec.dtype], tensor_shape=pb.TensorShapeProto(dim=dims))
