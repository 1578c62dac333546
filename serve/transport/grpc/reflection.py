# ruff: noqa: TID253
"""gRPC reflection under both its names: ``grpc.reflection.v1alpha``, which grpcio has, and ``grpc.reflection.v1``.

The bytes of both are the same. What reflection needs is large, above all the messages that describe messages, so it is
imported and built when a client calls it for the first time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import grpc

from serve.transport.grpc.service import ServerStream, Service, Stream

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool

_V1ALPHA, _V1 = "grpc.reflection.v1alpha", "grpc.reflection.v1"
SERVICES = (f"{_V1ALPHA}.ServerReflection", f"{_V1}.ServerReflection")
_METHODS = {f"/{service}/ServerReflectionInfo" for service in SERVICES}


class ReflectionHandler(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Handles the calls of both reflection services."""

    def __init__(self, services: Sequence[Service], others: Sequence[Any]) -> None:
        """``services`` are described, and the services of ``others``: files of generated code, as descriptors."""
        self._services = services
        self._others = others
        self._handler: grpc.RpcMethodHandler | None = None

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler | None:
        """The handler of a method of reflection; None for other methods. See ``grpc.GenericRpcHandler``."""
        if handler_call_details.method not in _METHODS:
            return None
        if self._handler is None:
            self._handler = self._build()
        return self._handler

    def _build(self) -> grpc.RpcMethodHandler:
        from grpc_reflection.v1alpha import reflection, reflection_pb2

        files = [*self._others, reflection_pb2.DESCRIPTOR]
        pool = descriptor_pool(self._services, files)
        pool.Add(_v1_file(reflection_pb2.DESCRIPTOR.serialized_pb))
        other_names = [name for file in self._others for name in _service_names(file)]
        names = [*(service.name for service in self._services), *other_names, *SERVICES]
        return grpc.stream_stream_rpc_method_handler(
            reflection.aio.ReflectionServicer(names, pool).ServerReflectionInfo,
            reflection_pb2.ServerReflectionRequest.FromString,
            reflection_pb2.ServerReflectionResponse.SerializeToString,
        )


def descriptor_pool(services: Iterable[Service], files: Iterable[Any] = ()) -> DescriptorPool:
    """A descriptor pool with the services, their messages, and ``files``.

    A service that the file of its messages declares is described by that file; for others a file is made.
    """
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool

    pool = DescriptorPool()
    known: set[str] = set()
    for file in files:
        _add_file(pool, file, known)
    by_package: dict[str, FileDescriptorProto] = {}
    for service in services:
        if _add_declaring_file(pool, service, known):
            continue
        package, _, name = service.name.rpartition(".")
        file_name = f"{package.replace('.', '/')}.proto"
        file_proto = by_package.setdefault(
            package, FileDescriptorProto(name=file_name, package=package, syntax="proto3")
        )
        entry = file_proto.service.add(name=name)
        for method_name, method in service.methods.items():
            for kind in (method.request, method.reply):
                _add_file(pool, kind.DESCRIPTOR.file, known)
                if kind.DESCRIPTOR.file.name not in file_proto.dependency:
                    file_proto.dependency.append(kind.DESCRIPTOR.file.name)
            entry.method.add(
                name=method_name,
                input_type=f".{method.request.DESCRIPTOR.full_name}",
                output_type=f".{method.reply.DESCRIPTOR.full_name}",
                client_streaming=isinstance(method, Stream),
                server_streaming=isinstance(method, Stream | ServerStream),
            )
    for file_proto in by_package.values():
        pool.Add(file_proto)
    return pool


def _add_declaring_file(pool: DescriptorPool, service: Service, known: set[str]) -> bool:
    """Add the file of a service's messages if it also declares the service; whether it does."""
    file = next(iter(service.methods.values())).request.DESCRIPTOR.file
    if service.name not in _service_names(file):
        return False
    _add_file(pool, file, known)
    return True


def _add_file(pool: DescriptorPool, file: Any, known: set[str]) -> None:
    if file.name in known:
        return
    known.add(file.name)
    for needed in file.dependencies:
        _add_file(pool, needed, known)
    pool.AddSerializedFile(file.serialized_pb)


def _service_names(file: Any) -> set[str]:
    return {declared.full_name for declared in file.services_by_name.values()}


def _v1_file(v1alpha: bytes) -> FileDescriptorProto:
    """The file of ``grpc.reflection.v1``: that of v1alpha in another package."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    file = FileDescriptorProto.FromString(v1alpha)
    old, new = f".{_V1ALPHA}.", f".{_V1}."
    file.name, file.package = "grpc/reflection/v1/reflection.proto", _V1
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(old, new)
    for service in file.service:
        for method in service.method:
            method.input_type = method.input_type.replace(old, new)
            method.output_type = method.output_type.replace(old, new)
    return file
