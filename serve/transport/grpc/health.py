# ruff: noqa: TID253
"""Health: the standard gRPC health service; every service here is as ready as the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import grpc
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc

from serve.engine import Engine

#: Seconds between two looks of a watcher.
POLL_SECONDS = 0.5


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """``grpc.health.v1.Health`` for the services of those names, and for '' which means the whole server."""

    def __init__(self, engine: Engine, names: Iterable[str]) -> None:
        self._engine = engine
        self._names = {"", *names}

    async def Check(  # noqa: N802 - the protocol's name
        self, request: pb.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> pb.HealthCheckResponse:
        """How that service is now; NOT_FOUND where there is none of that name."""
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service here")
        return pb.HealthCheckResponse(status=self._now(request.service))

    async def Watch(  # noqa: N802 - the protocol's name
        self, request: pb.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.HealthCheckResponse]:
        """How that service is now, and again whenever that changes, until the server drains."""
        told = None
        while True:
            now = self._now(request.service)
            if now != told:
                yield pb.HealthCheckResponse(status=now)
            if told == pb.HealthCheckResponse.SERVING != now:
                return  # it drains, and waits for its calls to end
            told = now
            await asyncio.sleep(POLL_SECONDS)

    def _now(self, service: str) -> int:
        if service not in self._names:
            return int(pb.HealthCheckResponse.SERVICE_UNKNOWN)
        now = pb.HealthCheckResponse.SERVING if self._engine.ready else pb.HealthCheckResponse.NOT_SERVING
        return int(now)
