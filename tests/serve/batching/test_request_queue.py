"""Requests that wait at a real server: those whose time is over, and those whose client left, are never run."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest

from bookserve.api import tfserving_pb2 as pb
from bookserve.errors import InvalidInput
from bookserve.graph import Arrays
from bookserve.runtime import Session
from serve.app import grpc_app as rpc
from serve.app import server
from serve.app.http_app import combined_fast_route, http_application
from serve.app.settings import Settings
from serve.batching import batcher
from serve.batching.batch_config import BatchConfig
from serve.batching.batcher import Batcher
from serve.engine import Engine
from serve.jobs.job_queue import JobQueue
from serve.models.repository import Repository
from serve.observability.metrics import Metrics
from serve.protocols.base import ServerContext, load_protocols
from serve.protocols.tfserving.tensors import to_tensor
from serve.security.access_policy import AccessPolicy
from serve.security.limits import Limits
from serve.transport.grpc.interceptor import Interceptor
from serve.transport.http.middleware import RequestMiddleware
from serve.transport.http.uvicorn_contract import connection_class
from serve.transport.sockets import bind_tcp
from tests.servers import GRPC_SERVERS


class Gated:
    """Runs the graph when the gate is open, keeps what was fed, and refuses negative numbers."""

    def __init__(self, backend: Session) -> None:
        self._backend = backend
        self.gate = threading.Event()
        self.fed: list[float] = []

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        self.gate.wait(60)
        if (feeds["x"] < 0).any():
            raise InvalidInput("the model refused the input: negative.")
        self.fed += feeds["x"][:, 0].tolist()
        return self._backend.run(feeds)


class Serving(NamedTuple):
    http: int
    grpc: str
    backend: Gated
    batcher: Batcher
    metrics: Metrics


class Sent(NamedTuple):
    """A request whose answer has not been read yet."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


@asynccontextmanager
async def serving(
    models: Path, timeout: float = 0.0, short: bool = True, builtin: bool = False
) -> AsyncIterator[Serving]:
    """The real faces in this event loop, around a graph that can be held back; its thread is busy with ``0`` first.

    Without ``short`` all HTTP requests go through the application.
    """
    metrics = Metrics()
    repository = Repository(models, metrics)
    repository.load()
    engine = Engine(repository, metrics)
    engine.ready = True
    held = repository.find("affine").batchers["serving_default"]  # type: ignore[index]
    assert isinstance(held, Batcher)
    backend = held._session = Gated(held._session)
    with bind_tcp("HTTP", "127.0.0.1", 0) as listener:
        app = http_application(engine, metrics)
        guarded = RequestMiddleware(app, app.owner, metrics, None, timeout)
        protocols = load_protocols() if short else []
        fast = guarded.fast_route(
            combined_fast_route(protocols, ServerContext(engine, JobQueue(engine), AccessPolicy()))
        )
        web = server._http_server(guarded, connection_class(Limits(), fast), Settings(models=models))
        task = asyncio.create_task(web.serve([listener]))
        made, port = rpc.grpc_server(
            engine, rpc.Address("127.0.0.1", 0), [Interceptor(metrics, None, timeout)], builtin=builtin
        )
        await made.start()
        first = asyncio.create_task(engine.run(engine.model("affine"), "", {"x": np.zeros((1, 3), np.float32)}))
        while held._thread is None:
            await asyncio.sleep(0.01)
        try:
            yield Serving(listener.getsockname()[1], f"127.0.0.1:{port}", backend, held, metrics)
        finally:
            backend.gate.set()
            await first
            web.should_exit = True
            await asyncio.gather(task, made.stop(5))
            repository.close()


@pytest.fixture(autouse=True)
def in_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher, "INLINE_SECONDS", -1.0)


async def sent(port: int, value: float, headers: str = "") -> Sent:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"instances": [[value, 0, 0]]})
    head = f"POST /v1/models/affine:predict HTTP/1.1\r\nhost: x\r\n{headers}content-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body.encode())
    await writer.drain()
    return Sent(reader, writer)


async def answered(sent: Sent) -> tuple[int, Any]:
    reader = sent.reader
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
    content = json.loads(await reader.readexactly(length))
    await sent.close()
    return int(head.split(" ")[1]), content


@pytest.mark.parametrize("short", [True, False])
def test_over_http_a_client_that_left_and_a_time_that_is_over_run_nothing(models: Path, short: bool) -> None:
    async def scenario() -> list[float]:
        async with serving(models, short=short) as live:
            leaving = await sent(live.http, 1)
            late = await sent(live.http, 2, "X-Request-Timeout: 0.05\r\n")
            patient = await sent(live.http, 3, "X-Request-Timeout: 60\r\n")
            await asyncio.sleep(0.2)
            await leaving.close()
            await asyncio.sleep(0.1)
            live.backend.gate.set()
            assert await answered(patient) == (200, {"predictions": [[7, 1, 1]]})
            status, said = await answered(late)
            assert status == 504
            assert "timeout expired" in said["error"]
            if short:
                counted = live.metrics.expose()[0].decode()
                assert 'bookserve_responses_total{code="499",protocol="tfs/http"} 1.0' in counted
                assert 'code="cancelled",graph="serving_default",model="affine",protocol="tfs/http"' in counted
            return live.backend.fed

    assert asyncio.run(scenario()) == [0, 3]


@pytest.mark.parametrize("whose", GRPC_SERVERS)
def test_over_grpc_a_deadline_that_is_over_and_a_cancelled_call_run_nothing(models: Path, whose: str) -> None:
    async def scenario() -> list[float]:
        async with (
            serving(models, builtin=whose == "builtin") as live,
            grpc.aio.insecure_channel(live.grpc, [("grpc.enable_http_proxy", 0)]) as channel,
        ):
            predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

            def call(value: float, timeout: float) -> Any:
                tensor = to_tensor(np.array([[value, 0, 0]], np.float32))
                request = pb.PredictRequest(model_spec=pb.ModelSpec(name="affine"), inputs={"x": tensor})
                return predict(request.SerializeToString(), timeout=timeout)

            late, left, patient = call(1, 0.1), call(2, 60), call(3, 60)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await late
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            left.cancel()
            await asyncio.sleep(0.2)
            live.backend.gate.set()
            reply = pb.PredictResponse.FromString(await patient)
            assert list(reply.outputs["y"].float_val) == [7, 1, 1]
            return live.backend.fed

    assert asyncio.run(scenario()) == [0, 3]


@pytest.mark.parametrize("short", [True, False])
def test_the_servers_own_time_limit_holds_where_a_request_names_none(models: Path, short: bool) -> None:
    async def scenario() -> list[float]:
        async with serving(models, timeout=0.1, short=short) as live:
            late = await sent(live.http, 1)
            patient = await sent(live.http, 2, "X-Request-Timeout: 60\r\n")
            await asyncio.sleep(0.3)
            live.backend.gate.set()
            assert (await answered(late))[0] == 504
            assert (await answered(patient))[0] == 200
            return live.backend.fed

    assert asyncio.run(scenario()) == [0, 2]


@pytest.mark.parametrize("short", [True, False])
def test_a_bad_request_beside_good_ones_and_one_too_many(models: Path, short: bool) -> None:
    async def scenario() -> list[float]:
        async with serving(models, short=short) as live:
            live.batcher._batching = BatchConfig(max_waiting=3)
            good, bad, also_good = [await sent(live.http, value) for value in (1, -1, 2)]
            await asyncio.sleep(0.2)
            status, said = await answered(await sent(live.http, 3))
            assert status == 429
            assert "3 rows are waiting for this model already" in said["error"]
            live.backend.gate.set()
            assert await answered(good) == (200, {"predictions": [[3, 1, 1]]})
            assert await answered(also_good) == (200, {"predictions": [[5, 1, 1]]})
            status, said = await answered(bad)
            assert (status, said["error"]) == (400, "the model refused the input: negative.")
            return live.backend.fed

    assert asyncio.run(scenario()) == [0, 1, 2]
