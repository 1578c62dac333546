"""A servicer on the official tensorflow-serving-api stubs that runs the bundles' ONNX files: MODELS PORT.

Tensors are read and written by TensorFlow itself. It behaves as TensorFlow Serving's C++ server does where a client can
tell: the newest version by default, NOT_FOUND, INVALID_ARGUMENT with the names of unfitting inputs.
"""

from __future__ import annotations

import sys
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import onnxruntime
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

NUMBERS = {"tensor(float)": tf.float32, "tensor(int32)": tf.int32, "tensor(int64)": tf.int64}


class Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, models: Path) -> None:
        self.sessions = {
            (file.parent.parent.name, int(file.parent.name)): onnxruntime.InferenceSession(file)
            for file in models.glob("*/*/model.onnx")
        }

    def find(self, spec: Any, context: grpc.ServicerContext) -> tuple[int, onnxruntime.InferenceSession]:
        known = [version for name, version in self.sessions if name == spec.name]
        version = spec.version.value if spec.HasField("version") else max(known, default=0)
        if version not in known:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
        if spec.signature_name not in ("", "serving_default"):
            context.abort(
                grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{spec.signature_name}" not found.'
            )
        return version, self.sessions[spec.name, version]

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        version, session = self.find(request.model_spec, context)
        found = get_model_metadata_pb2.SignatureDefMap()
        signature = found.signature_def["serving_default"]
        for tensors, described in (
            (session.get_inputs(), signature.inputs),
            (session.get_outputs(), signature.outputs),
        ):
            for tensor in tensors:
                sizes = [size if isinstance(size, int) else -1 for size in tensor.shape]
                described[tensor.name].CopyFrom(
                    meta_graph_pb2.TensorInfo(
                        name=f"{tensor.name}:0",
                        dtype=NUMBERS[tensor.type].as_datatype_enum,
                        tensor_shape=tf.TensorShape([None if size < 0 else size for size in sizes]).as_proto(),
                    )
                )
        reply = get_model_metadata_pb2.GetModelMetadataResponse()
        reply.model_spec.name = request.model_spec.name
        reply.model_spec.version.value = version
        reply.metadata["signature_def"].Pack(found)
        return reply

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        version, session = self.find(request.model_spec, context)
        feeds = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        if feeds.keys() != {tensor.name for tensor in session.get_inputs()}:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"input size does not match signature: {sorted(feeds)}")
        outputs = session.run(None, feeds)
        reply = predict_pb2.PredictResponse()
        reply.model_spec.name = request.model_spec.name
        reply.model_spec.version.value = version
        for tensor, array in zip(session.get_outputs(), outputs, strict=True):
            reply.outputs[tensor.name].CopyFrom(tf.make_tensor_proto(array))
        return reply


if __name__ == "__main__":
    server = grpc.server(futures.ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Servicer(Path(sys.argv[1])), server)
    server.add_insecure_port(f"127.0.0.1:{sys.argv[2]}")
    server.start()
    server.wait_for_termination()
