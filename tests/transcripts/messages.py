"""Messages of gRPC, from the descriptors of 0.1.0: no generated module is imported."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool

#: The ``.proto`` files of bookserve 0.1.0 and the official ones of health and reflection, as protoc compiles them.
DESCRIPTORS = Path(__file__).with_name("messages.binpb")
#: Service → package of its messages, where that is another than the service's own.
PACKAGES = {"tensorflow.serving": "bookserve.tfs", "inference": "bookserve.v2"}
#: Methods whose messages are not called ``<Method>Request`` and ``<Method>Response`` (or ``Reply``).
TYPES = {
    "Classify": ("ClassificationRequest", "ClassificationResponse"),
    "Regress": ("RegressionRequest", "RegressionResponse"),
    "HandleReloadConfigRequest": ("ReloadConfigRequest", "ReloadConfigResponse"),
    "ModelStreamInfer": ("ModelInferRequest", "ModelStreamInferResponse"),
    "RepositoryIndex": ("RepositoryIndexRequest", "RepositoryIndexResponse"),
    "Check": ("HealthCheckRequest", "HealthCheckResponse"),
    "Watch": ("HealthCheckRequest", "HealthCheckResponse"),
    "ServerReflectionInfo": ("ServerReflectionRequest", "ServerReflectionResponse"),
    "Transform": ("TransformRequest", "TransformProgress"),
    "Activations": ("ExplainRequest", "ActivationsReply"),
    "Filters": ("FiltersRequest", "ActivationsReply"),
}


@cache
def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file:
        pool.Add(file)
    return pool


@cache
def message(name: str) -> Any:
    """The class of a message, by its full name."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(name))


def types(method: str) -> tuple[Any, Any]:
    """The classes of what ``package.Service/Method`` takes and gives."""
    service, _, name = method.partition("/")
    package = service.rpartition(".")[0]
    package = PACKAGES.get(package, package)
    answer = "Reply" if package == "bookserve.v1" else "Response"
    asked, told = TYPES.get(name, (f"{name}Request", f"{name}{answer}"))
    return message(f"{package}.{asked}"), message(f"{package}.{told}")


def serialised(method: str, given: list[Any]) -> Iterator[bytes]:
    """The messages as they are sent; what is bytes already stays as it is."""
    kind, _ = types(method)
    for one in given:
        if isinstance(one, bytes):
            yield one
        else:
            yield json_format.ParseDict(one, kind(), descriptor_pool=_pool()).SerializeToString()


def plain(sent: Any) -> dict[str, Any]:
    """A message in protobuf's JSON form, with the signatures that an Any carries unpacked."""
    unpacked = {}
    for field, value in sent.ListFields():
        if field.name == "metadata" and value and hasattr(next(iter(value.values())), "type_url"):
            for key, carried in value.items():
                inner = message("bookserve.tfs.SignatureDefMap").FromString(carried.value)
                unpacked[key] = {"type_url": carried.type_url, "value": plain(inner)}
            sent.ClearField("metadata")
    told: dict[str, Any] = json_format.MessageToDict(
        sent, preserving_proto_field_name=True, descriptor_pool=_pool(), always_print_fields_with_no_presence=False
    )
    return told | ({"metadata": unpacked} if unpacked else {})
