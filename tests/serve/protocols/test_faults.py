"""bookserve's own API over HTTP and gRPC where the engine fails, not the caller; all in this one process."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from bookserve.api import HINT
from bookserve.api import native_pb2 as pb
from bookserve.api.native_messages import row_to_message
from bookserve.api.requests import GenerateRequest
from bookserve.errors import Failed, NotReady, Overloaded
from bookserve.generation.text import Piece
from bookserve.verb import Answer
from serve.app import grpc_app as rpc
from serve.app.http_app import http_application
from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.models.repository import Repository
from serve.observability.metrics import Metrics

FAULTS = [
    (Overloaded("too much.", "Later."), 429, "overloaded", grpc.StatusCode.RESOURCE_EXHAUSTED),
    (NotReady("not yet."), 503, "not_ready", grpc.StatusCode.UNAVAILABLE),
    (Failed("it broke."), 500, "failed", grpc.StatusCode.INTERNAL),
    (RuntimeError("secret"), 500, "failed", grpc.StatusCode.INTERNAL),
]


class FaultyEngine(Engine):
    """Loads the real bundles, and fails whenever one is to be run; a text after its first two characters."""

    def __init__(self, models: Path, fault: Exception) -> None:
        metrics = Metrics()
        repository = Repository(models, metrics)
        repository.load()
        super().__init__(repository, metrics)
        self.fault = fault

    async def predict(self, model: LiveModel, rows: list[Any]) -> list[Answer]:
        raise self.fault

    async def generate(  # type: ignore[override]
        self, model: LiveModel, request: GenerateRequest, pause: float = 0
    ) -> AsyncGenerator[list[Piece]]:
        yield [Piece("a")]
        yield [Piece("b")]
        raise self.fault


@pytest.mark.parametrize(("fault", "status", "code", "grpc_code"), FAULTS)
def test_a_fault_has_its_status_and_no_internals(
    models: Path,
    caplog: pytest.LogCaptureFixture,
    fault: Exception,
    status: int,
    code: str,
    grpc_code: grpc.StatusCode,
) -> None:
    engine = FaultyEngine(models, fault)

    async def ask() -> None:
        transport = httpx.ASGITransport(http_application(engine, Metrics()))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            response = await http.post("/api/models/affine/predict", json={"rows": [[1, 2, 3]]})
            assert response.status_code == status
            error = response.json()["error"]
            assert error["code"] == code
            assert "secret" not in response.text

            response = await http.post("/api/models/writer/generate", json={})
            assert response.status_code == status

            response = await http.post("/api/models/writer/generate", json={"stream": True})
            assert response.status_code == 200  # it was begun
            events = [json.loads(line[6:]) for line in response.text.splitlines() if line]
            assert events == [{"text": "a"}, {"text": "b"}, {"error": error}]

        server, port = rpc.grpc_server(engine, rpc.Address("127.0.0.1", 0))
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
            predict = channel.unary_unary("/bookserve.v1.Bookserve/Predict")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await predict(pb.PredictRequest(model="affine", rows=[row_to_message([1, 2, 3])]).SerializeToString())
            assert caught.value.code() is grpc_code
            assert caught.value.details() == error["message"]
            assert dict(caught.value.trailing_metadata())[HINT].decode() == error["hint"]

            generate = channel.unary_stream("/bookserve.v1.Bookserve/Generate")
            call = generate(pb.GenerateRequest(model="writer").SerializeToString())
            assert [pb.GenerateReply.FromString(await call.read()).text for _ in "ab"] == ["a", "b"]
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() is grpc_code
        await server.stop(None)

    with caplog.at_level(logging.ERROR):
        asyncio.run(ask())
    logged = ["secret" in str(record.exc_info) for record in caplog.records]
    assert logged == ([True] * 5 if isinstance(fault, RuntimeError) else [])


def test_readiness_is_the_engines(models: Path) -> None:
    engine = FaultyEngine(models, Failed("never"))

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(http_application(engine, Metrics()))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            before = (await http.get("/readyz")).status_code
            engine.ready = True
            return [before, (await http.get("/readyz")).status_code, (await http.get("/healthz")).status_code]

    assert asyncio.run(ask()) == [503, 200, 200]
