# ruff: noqa: TID253
"""``grpc.reflection.v1``: v1alpha's messages and method, which grpcio has, under the name that newer clients use."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2

REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"


def add_reflection_v1(pool: DescriptorPool) -> None:
    """Add the file of the service, which has the text of v1alpha's in another package, to a descriptor pool."""
    file = FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    _rename(file)
    pool.Add(file)


def _rename(file: FileDescriptorProto) -> None:
    old, new = f".{file.package}.", ".grpc.reflection.v1."
    file.name, file.package = "grpc/reflection/v1/reflection.proto", "grpc.reflection.v1"
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(old, new)
    for service in file.service:
        for method in service.method:
            method.input_type = method.input_type.replace(old, new)
            method.output_type = method.output_type.replace(old, new)


def reflection_v1_handler(servicer: Any) -> grpc.GenericRpcHandler:
    """The handler of ``ServerReflectionInfo`` by v1alpha's ``servicer``: the bytes of both are the same."""
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(REFLECTION_V1, {"ServerReflectionInfo": handler})
