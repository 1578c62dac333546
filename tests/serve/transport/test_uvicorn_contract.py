"""What the HTTP connection uses of uvicorn is there, is all that it uses, and behaves as it expects.

If a test fails after an upgrade: read what changed in uvicorn's ``httptools_impl.py``, change ``http_connection.py``
and the lists in ``uvicorn_contract.py``, then the range of versions there and in ``pyproject.toml``.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import logging
import textwrap
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState

from serve.request_context import RequestContext
from serve.security.limits import Limits
from serve.transport.http import uvicorn_contract as contract
from serve.transport.http.fast_path import FastHandler, FastResponse, SendResponse
from serve.transport.http.http_connection import FastPathCycle, HttpConnection
from tests.serve.transport.http_peer import application, connected, post, serving

TOLD = f"uvicorn {uvicorn.__version__} differs from what serve/transport/http/uvicorn_contract.py lists: "
ROOT = Path(__file__).parents[3]


def uses(source: type, name: str) -> set[str]:
    """The attributes ``x`` of ``self.name.x`` and ``name.x`` in a class; of ``self`` itself where ``name`` is so."""
    found = set()
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(source)))):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in (name, f"self.{name}"):
            found.add(node.attr)
    return found


def in_loop(check: Any) -> None:
    """Call ``check`` with a connection of uvicorn's own class in a running event loop."""

    async def run() -> None:
        config = uvicorn.Config(application, log_config=None, lifespan="off")
        check(httptools_impl.HttpToolsProtocol(config=config, server_state=ServerState(), app_state={}))

    asyncio.run(run())


@pytest.mark.parametrize("name", contract.METHODS)
def test_the_methods_have_the_listed_parameters(name: str) -> None:
    method = getattr(httptools_impl.HttpToolsProtocol, name, None)
    assert method, f"{TOLD}HttpToolsProtocol has no method {name}"
    parameters = tuple(inspect.signature(method).parameters)
    assert parameters == contract.METHODS[name], f"{TOLD}HttpToolsProtocol.{name} takes {parameters}"


def test_a_connection_has_the_listed_attributes() -> None:
    def check(connection: Any) -> None:
        missing = [name for name in contract.ATTRIBUTES if not hasattr(connection, name) and name != "url"]
        assert not missing, f"{TOLD}HttpToolsProtocol has no {missing}"
        assert type(connection.parser) is httptools.HttpRequestParser, f"{TOLD}another parser"
        assert connection.cycle is None, f"{TOLD}a new connection has a cycle"
        assert connection.headers is None or connection.headers == [], f"{TOLD}headers of another kind"
        connection.on_message_begin()
        assert connection.url == b"", f"{TOLD}the URL of a new request is not empty"
        assert type(connection.tasks) is set, f"{TOLD}tasks are not a set"
        missing = [name for name in contract.OF_SERVER_STATE if not hasattr(connection.server_state, name)]
        assert not missing, f"{TOLD}ServerState has no {missing}"

    in_loop(check)


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (FlowControl, contract.OF_FLOW),
        (httptools.HttpRequestParser, contract.OF_PARSER),
        (httptools_impl.RequestResponseCycle, contract.OF_CYCLE),
    ],
)
def test_objects_of_a_connection_have_the_listed_attributes(owner: type, names: tuple[str, ...]) -> None:
    own = set(dir(owner))
    if owner is not httptools.HttpRequestParser:  # written in C
        own |= uses(owner, "self")
    assert own.issuperset(names), f"{TOLD}{owner.__name__} has no {sorted(set(names) - own)}"


@pytest.mark.parametrize("status", [200, 400, 404, 408, 413, 429, 431, 500, 503, 504])
def test_status_lines(status: int) -> None:
    line = httptools_impl.STATUS_LINE[status]
    assert line.startswith(b"HTTP/1.1 %d " % status), f"{TOLD}STATUS_LINE[{status}] is {line!r}"
    assert line.endswith(b"\r\n"), f"{TOLD}STATUS_LINE[{status}] is {line!r}"


def test_the_lists_are_all_that_the_subclass_uses() -> None:
    own = {name for name in vars(HttpConnection) if not name.startswith("__")}
    own |= set(HttpConnection.__annotations__)
    set_here = inspect.getsource(HttpConnection.__init__)
    of_self = {name for name in uses(HttpConnection, "self") if f"self.{name}" not in set_here} - own
    called = {name for name in of_self if callable(getattr(httptools_impl.HttpToolsProtocol, name, None))}
    assert of_self - called == set(contract.ATTRIBUTES)
    assert called | uses(HttpConnection, "super()") == set(contract.METHODS)
    assert uses(HttpConnection, "flow") == set(contract.OF_FLOW)
    assert uses(HttpConnection, "server_state") == set(contract.OF_SERVER_STATE)
    assert uses(HttpConnection, "parser") == set(contract.OF_PARSER)
    of_cycle = uses(HttpConnection, "cycle")
    assert of_cycle - set(FastPathCycle.__slots__) - {"start"} <= set(contract.OF_CYCLE) <= of_cycle


def test_a_fast_path_cycle_has_what_uvicorn_uses_of_one() -> None:
    used = uses(httptools_impl.HttpToolsProtocol, "cycle") | uses(httptools_impl.HttpToolsProtocol, "existing_cycle")
    more = used - set(contract.CYCLE_USED_BY_UVICORN) - {"more_body", "run_asgi"}
    assert not more, f"{TOLD}a connection uses {sorted(more)} of its cycle"
    for name in contract.CYCLE_USED_BY_UVICORN:
        assert hasattr(FastPathCycle, name), f"FastPathCycle has no {name}"


def test_the_installed_version_is_tested_and_the_range_is_that_of_the_package() -> None:
    assert contract.is_tested(uvicorn.__version__)
    first, end = (".".join(map(str, version)) for version in contract.TESTED_VERSIONS)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert f"uvicorn>={first},<{end}" in project["optional-dependencies"]["server"]


@pytest.mark.parametrize(
    ("version", "tested"),
    [("0.40.0", True), ("0.54.0", True), ("0.54.1.dev0", True), ("0.39.9", False), ("0.55.0", False), ("?", False)],
)
def test_which_versions_are_tested(version: str, tested: bool) -> None:
    assert contract.is_tested(version) is tested


def route(path: bytes, headers: Mapping[bytes, bytes]) -> FastHandler | None:
    """Answers requests to ``/fast`` with the body in angle brackets, 0.05 s later."""

    def take(body: bytes, context: RequestContext, send: SendResponse) -> bool:
        asyncio.get_running_loop().call_later(0.05, send, FastResponse(200, b"<%b>" % body))
        return True

    return take if path == b"/fast" else None


def test_another_version_is_served_by_uvicorns_own_class_and_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(uvicorn, "__version__", "0.99.0")
    with caplog.at_level(logging.WARNING, "bookserve"):
        made = contract.connection_class(Limits(), route)

    async def play() -> None:
        async with serving(made) as (_, port), connected(port) as client:
            assert await client.ask(post("/fast", b"1")) == b"[1]"

    asyncio.run(play())
    (record,) = caplog.records
    assert "uvicorn 0.99.0" in record.getMessage()
    assert "uvicorn>=0.40,<" in record.getMessage()


def test_a_tested_version_has_the_fast_path() -> None:
    assert issubclass(contract.connection_class(Limits(), route), HttpConnection)  # type: ignore[arg-type]


#: uvicorn's own class, which answers all requests by the application, and the subclass, which answers those to /fast.
CLASSES = {"uvicorn": httptools_impl.HttpToolsProtocol, "subclass": HttpConnection.limited(Limits(), route)}
#: Paths on which the class answers later, without the application where that is possible.
SLOW = {"uvicorn": "/slow", "subclass": "/fast"}
both = pytest.mark.parametrize("name", CLASSES)


def answers(name: str, body: bytes) -> bytes:
    """What the class answers to ``body`` at ``/fast``."""
    return b"<%b>" % body if name == "subclass" else b"[%b]" % body


@both
def test_keep_alive_ends_an_idle_connection_and_no_other(name: str) -> None:
    async def play() -> None:
        async with serving(CLASSES[name], timeout_keep_alive=1) as (_, port), connected(port) as client:
            for body in (b"1", b"2", b"3", b"4"):
                assert await client.ask(post("/fast", body)) == answers(name, body)
                await asyncio.sleep(0.4)  # together longer than the timeout
            assert await client.rest() == b""

    asyncio.run(play())


@both
def test_pipelined_requests_are_answered_in_their_order(name: str) -> None:
    async def play() -> None:
        async with serving(CLASSES[name]) as (_, port), connected(port) as client:
            client.writer.write(post("/fast", b"1") + post("/slow", b"2") + post("/fast", b"3") + post("/slow", b"4"))
            found = [await client.ask() for _ in range(4)]
            assert [body[1:-1] for body in found] == [b"1", b"2", b"3", b"4"]
            assert found[0] == answers(name, b"1")
            assert await client.ask(post("/fast", b"5")) == answers(name, b"5")

    asyncio.run(play())


@both
def test_a_client_that_does_not_read_pauses_writing_and_gets_all_later(name: str) -> None:
    large = b"x" * 2**20

    async def play() -> None:
        async with serving(CLASSES[name]) as (server, port), connected(port) as client:
            client.writer.write(post("/fast", large) * 20)
            (connection,) = server.server_state.connections
            while not connection.flow.write_paused:  # type: ignore[union-attr]
                await asyncio.sleep(0.01)
            for _ in range(20):
                assert (await client.ask())[1:-1] == large
            assert not connection.flow.write_paused  # type: ignore[union-attr]

    asyncio.run(play())


@both
def test_a_request_behind_another_pauses_reading_until_that_is_answered(name: str) -> None:
    async def play() -> None:
        async with serving(CLASSES[name]) as (server, port), connected(port) as client:
            client.writer.write(post(SLOW[name], b"1"))
            while not (server.server_state.connections and next(iter(server.server_state.connections)).cycle):  # type: ignore[union-attr]
                await asyncio.sleep(0)
            (connection,) = server.server_state.connections
            client.writer.write(post("/slow", b"2"))
            while not connection.flow.read_paused:  # type: ignore[union-attr]
                await asyncio.sleep(0)
            assert [(await client.ask())[1:-1], (await client.ask())[1:-1]] == [b"1", b"2"]
            assert await client.ask(post("/fast", b"3")) == answers(name, b"3")

    asyncio.run(play())


@both
@pytest.mark.parametrize("path", ["/fast", "/slow"])
def test_the_clients_wish_to_close_is_followed(name: str, path: str) -> None:
    async def play() -> None:
        async with serving(CLASSES[name]) as (_, port), connected(port) as client:
            client.writer.write(post(path, b"1", "Connection: close"))
            assert b"\r\nconnection: close\r\n" in await client.rest()

    asyncio.run(play())


@both
def test_a_server_that_stops_answers_what_it_has_and_closes_idle_connections(name: str) -> None:
    async def play() -> None:
        async with serving(CLASSES[name]) as (server, port), connected(port) as busy, connected(port) as idle:
            assert await idle.ask(post("/fast", b"1")) == answers(name, b"1")
            busy.writer.write(post(SLOW[name], b"2"))
            while not any(each.cycle and not each.cycle.response_complete for each in server.server_state.connections):  # type: ignore[union-attr]
                await asyncio.sleep(0)
            for connection in list(server.server_state.connections):
                connection.shutdown()  # as uvicorn's server does when it stops
            assert await idle.rest() == b""
            said = await busy.rest()
            assert said.endswith(answers(name, b"2"))
            if name == "subclass":  # older versions of uvicorn close without saying so
                assert b"\r\nconnection: close\r\n" in said

    asyncio.run(play())
