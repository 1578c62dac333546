# ruff: noqa: TID253
"""The standard gRPC health service: a service is SERVING if the engine is ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import grpc
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc

from serve.engine import Engine

#: Seconds between two checks for a watching client.
POLL_SECONDS = 0.5


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """``grpc.health.v1.Health`` for the services of these names, and for '', which means the whole server."""

    def __init__(self, engine: Engine, names: Iterable[str]) -> None:
        self._engine = engine
        self._names = {"", *names}

    async def Check(  # noqa: N802 - the protocol's name
        self, request: pb.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> pb.HealthCheckResponse:
        """The status of a service now; NOT_FOUND if there is no such service."""
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service on this server")
        return pb.HealthCheckResponse(status=self._status(request.service))

    async def List(  # noqa: N802 - the protocol's name
        self, request: pb.HealthListRequest, context: grpc.aio.ServicerContext
    ) -> pb.HealthListResponse:
        """The status of every service now."""
        statuses = {name: pb.HealthCheckResponse(status=self._status(name)) for name in sorted(self._names)}
        return pb.HealthListResponse(statuses=statuses)

    async def Watch(  # noqa: N802 - the protocol's name
        self, request: pb.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.HealthCheckResponse]:
        """The status of a service now and after every change, until the server drains."""
        sent = None
        while True:
            now = self._status(request.service)
            if now != sent:
                yield pb.HealthCheckResponse(status=now)
            if sent == pb.HealthCheckResponse.SERVING != now:
                return  # the server drains, and waits for its calls to end
            sent = now
            await asyncio.sleep(POLL_SECONDS)

    def _status(self, service: str) -> int:
        if service not in self._names:
            return int(pb.HealthCheckResponse.SERVICE_UNKNOWN)
        now = pb.HealthCheckResponse.SERVING if self._engine.ready else pb.HealthCheckResponse.NOT_SERVING
        return int(now)
