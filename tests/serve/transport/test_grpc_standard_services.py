"""The standard gRPC services on both servers: health with List, and reflection by its old and its new name."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from serve.app.grpc_app import Address, grpc_server
from serve.security.access_policy import AccessPolicy
from serve.security.limits import Limits

SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("builtin", [True, False])
def test_health_list_and_reflection_by_both_names(builtin: bool) -> None:
    counted: list[tuple[str, str]] = []
    policy = AccessPolicy(limits=Limits(connection_age=3600))

    async def ask(channel: grpc.aio.Channel, version: str, **request: Any) -> reflection_pb2.ServerReflectionResponse:
        call = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )(iter([reflection_pb2.ServerReflectionRequest(**request)]), timeout=30)
        return await anext(aiter(call))

    async def whole() -> None:
        engine: Any = SimpleNamespace(ready=True)
        server, port = grpc_server(
            engine,
            Address("127.0.0.1", 0),
            (),
            policy,
            [],
            builtin,
            lambda event, reason: counted.append((event, reason)),
        )
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            listed = await health_pb2_grpc.HealthStub(channel).List(health_pb2.HealthListRequest(), timeout=30)
            assert {name: one.status for name, one in listed.statuses.items()} == {"": SERVING}
            for version in ("v1", "v1alpha"):
                services = (await ask(channel, version, list_services="")).list_services_response.service
                names = {one.name for one in services}
                assert {f"grpc.reflection.{one}.ServerReflection" for one in ("v1", "v1alpha")} <= names
                for name in names:
                    reply = await ask(channel, version, file_containing_symbol=name)
                    assert reply.file_descriptor_response.file_descriptor_proto, name
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/grpc.health.v1.Health/Nothing")(b"", timeout=30)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        await server.stop(None)

    asyncio.run(whole())
    assert not [one for one in counted if one[0] in ("reset", "refusal")]
