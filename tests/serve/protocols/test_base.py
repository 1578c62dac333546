"""Adding a protocol: one folder, and the server speaks it over HTTP and gRPC with keys, metrics and documentation."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from serve.app.http_app import http_application
from serve.engine import Engine
from serve.models.repository import Repository
from serve.observability.metrics import Metrics
from serve.protocols.base import NO_PROTOCOL, PathTable, Protocol, load_protocols
from tests.serve.metrics import requests
from tests.servers import GRPC_SERVERS, Server, start

KEY = "a-key-of-24-characters-!"
ECHO = """
from google.protobuf.wrappers_pb2 import StringValue
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from bookserve.errors import InvalidInput
from serve.protocols.base import Protocol
from serve.protocols.openapi import ApiDescription, STRING, operation, response
from serve.transport.grpc.service import CallStatus, Method, Service
import grpc


def routes(server):
    async def names(request):
        return PlainTextResponse(" ".join(server.engine.names()))

    async def fail(request):
        raise InvalidInput("this always fails.")

    async def crash(request):
        raise RuntimeError("a secret of the server")

    return [Route("/echo/names", names), Route("/echo/fail", fail), Route("/echo/crash", crash)]


async def say(request):
    if not request.value:
        raise InvalidInput("nothing to say.")
    return StringValue(value=request.value.upper())


PROTOCOL = Protocol(
    name="echo",
    prefixes=("/echo",),
    routes=routes,
    error_response=lambda error, status: PlainTextResponse(f"echo: {error}", status or 418),
    headers=("x-echo",),
    services=lambda server: (
        Service(
            "test.Echo",
            {"Say": Method(say, StringValue, StringValue)},
            lambda error: CallStatus(grpc.StatusCode.DATA_LOSS, str(error)),
        ),
    ),
    openapi=lambda: ApiDescription(
        tag="Echo",
        paths={"/echo/names": {"get": operation("echo", "Names", {"200": response("All.", {"text/plain": STRING})})}},
    ),
)
"""
#: Runs ``bookserve`` where ``serve.protocols`` also looks into the folder that is its first argument.
WITH_FOLDER = (
    "import sys, serve.protocols; serve.protocols.__path__.append(sys.argv.pop(1));"
    "from bookserve.cli.main import main; main()"
)


@pytest.fixture(params=GRPC_SERVERS)
def server(request: pytest.FixtureRequest, models: Path, tmp_path: Path) -> Iterator[Server]:
    """A server with API keys and CORS that also speaks ``echo``, which lies in a folder of its own."""
    (tmp_path / "more/echo").mkdir(parents=True)
    (tmp_path / "more/echo/__init__.py").touch()
    (tmp_path / "more/echo/protocol.py").write_text(ECHO)
    (tmp_path / "keys").write_text(KEY)
    command = [sys.executable, "-c", WITH_FOLDER, str(tmp_path / "more")]
    options = ("--api-key-file", str(tmp_path / "keys"), "--cors", "https://example.org")
    with start(models, *options, "--grpc-server", str(request.param), command=command) as running:
        yield running


def test_a_protocol_is_added_by_one_folder(server: Server) -> None:
    bare = {"base_url": server.http, "trust_env": False}
    with httpx.Client(**bare, headers={"x-api-key": KEY}) as http:  # type: ignore[arg-type]
        names = http.get("/echo/names")
        assert "affine" in names.text
        assert names.headers["x-request-id"]
        assert (http.get("/echo/fail").status_code, http.get("/echo/fail").text) == (418, "echo: this always fails.")
        crash = http.get("/echo/crash")
        assert crash.status_code == 500
        assert crash.text == "echo: the server made a mistake. Its log says more."
        assert http.post("/echo/names").status_code == 405
        assert http.get("/echo/nothing").text.startswith("echo: there is nothing at /echo/nothing.")
        assert "/echo/names" in http.get("/openapi.json").json()["paths"]
        ask = {"origin": "https://example.org", "access-control-request-method": "GET"}
        preflight = http.options("/echo/names", headers=ask | {"access-control-request-headers": "x-echo"})
        assert preflight.status_code == 200
        refused = httpx.get(f"{server.http}/echo/names", trust_env=False)
        assert (refused.status_code, refused.text[:5]) == (401, "echo:")
        with grpc.insecure_channel(server.grpc_target, [("grpc.enable_http_proxy", 0)]) as channel:
            say = channel.unary_unary("/test.Echo/Say", StringValue.SerializeToString, StringValue.FromString)
            assert say(StringValue(value="hello"), metadata=[("x-api-key", KEY)]).value == "HELLO"
            with pytest.raises(grpc.RpcError) as failed:
                say(StringValue(), metadata=[("x-api-key", KEY)])
            assert failed.value.code() is grpc.StatusCode.DATA_LOSS
            with pytest.raises(grpc.RpcError) as unauthenticated:
                say(StringValue(value="hello"))
            assert unauthenticated.value.code() is grpc.StatusCode.UNAUTHENTICATED
        for protocol, code in (("echo/http", "200"), ("echo/http", "401"), ("echo/grpc", "OK")):
            assert requests(http, "bookserve_responses_total", protocol=protocol, code=code) == 1


def test_a_path_belongs_to_the_protocol_of_its_longest_prefix() -> None:
    outer, inner = Protocol(name="outer", prefixes=("/v1/", "/v1/models")), Protocol(name="in", prefixes=("/v1/texts",))
    table = PathTable([outer, inner])
    assert table.owner("/v1/models/a/b") is outer
    assert table.owner("/V1/anything") is outer
    assert table.owner("/v1/texts") is table.owner("/v1/Texts/more") is inner
    assert table.owner("/v1") is table.owner("/v2/models") is table.owner("/") is table.owner("") is NO_PROTOCOL


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (Protocol(name="other", prefixes=("/v1/models",)), "both claim the path '/v1/models'"),
        (Protocol(name="other", prefixes=("/V2",)), "both claim the path '/V2'"),
        (Protocol(name="tfs"), "two protocols have the name 'tfs'"),
        (Protocol(name="other", prefixes=("v9",)), "expected a path"),
    ],
)
def test_two_protocols_that_claim_one_path_or_name_fail_at_start(models: Path, more: Protocol, said: str) -> None:
    metrics = Metrics()
    with pytest.raises(ValueError, match=said):
        http_application(Engine(Repository(models, metrics), metrics), metrics, protocols=[*load_protocols(), more])


def test_a_route_outside_its_protocols_prefixes_fails_at_start(models: Path) -> None:
    first, second = load_protocols()[:2]
    metrics = Metrics()
    stray = Protocol(name="stray", prefixes=("/stray",), routes=first.routes)
    with pytest.raises(ValueError, match="stray"):
        http_application(Engine(Repository(models, metrics), metrics), metrics, protocols=[second, stray])
