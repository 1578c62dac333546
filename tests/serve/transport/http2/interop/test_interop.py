"""Official clients against the builtin gRPC server: gRPC's interoperability cases with grpc-js, and Node's HTTP/2.

They need Node and @grpc/grpc-js, which ``make test-http2`` fetches; grpcio's client runs in the ordinary suite.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import grpc
import pytest

from serve.transport.http2.config import Config
from serve.transport.http2.server import Server
from tests.serve.transport.http2.interop.service import INITIAL, PROTO, TRAILING, TestService

#: The directory in which ``make test-http2`` has installed grpc-js.
TOOLS = os.environ.get("BOOKSERVE_HTTP2_TOOLS", "")
needs_tools = pytest.mark.skipif(not TOOLS, reason="needs Node and grpc-js: make test-http2")


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """The address of a builtin server with the service."""
    server = Server(Config())
    server.add_generic_rpc_handlers([TestService().handler()])
    sock = socket.create_server(("127.0.0.1", 0))
    server.listen(sock)
    await server.start()
    try:
        yield f"127.0.0.1:{sock.getsockname()[1]}"
    finally:
        await server.stop(None)


async def node(script: str, *arguments: str) -> list[str]:
    """The lines that a script prints."""
    command = ["node", str(PROTO.with_name(script)), *arguments]
    variables = {**os.environ, "NODE_PATH": str(Path(TOOLS) / "node_modules")}
    run = partial(subprocess.run, command, env=variables, capture_output=True, text=True, timeout=120)
    done = await asyncio.to_thread(run)
    assert done.returncode == 0, done.stderr
    return str(done.stdout).splitlines()


@pytest.mark.slow  # starts Node
@needs_tools
def test_grpc_js_passes_the_interoperability_cases() -> None:
    async def whole() -> list[str]:
        async with serving() as address:
            return await node("client.js", address, str(PROTO))

    results = [json.loads(line) for line in asyncio.run(whole())]
    assert len(results) == 17
    assert [result for result in results if result["wrong"]] == []


@pytest.mark.slow  # starts Node
@needs_tools
@pytest.mark.parametrize("size", [0, 1, 1024, 4096, 65_536])
def test_node_with_a_header_table_of_any_size(size: int) -> None:
    async def whole() -> list[str]:
        async with serving() as address:
            return await node("table_size.js", address, str(size))

    assert [json.loads(line) for line in asyncio.run(whole())] == [["0"] * 10]


@pytest.mark.slow  # compiles the messages
def test_grpcio_calls_the_service_of_the_interoperability_test() -> None:
    async def whole() -> None:
        async with serving() as address, grpc.aio.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
            call = channel.unary_unary("/grpc.testing.TestService/EmptyCall")
            calling = call(b"", metadata=((INITIAL, "begin"), (TRAILING, b"\xab")))
            assert await calling == b""
            assert (INITIAL, "begin") in tuple(await calling.initial_metadata())
            assert (TRAILING, b"\xab") in tuple(await calling.trailing_metadata())
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/grpc.testing.TestService/UnimplementedCall")(b"")
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    asyncio.run(whole())
