# ruff: noqa: TID253
"""Server: the ports and the methods of gRPC, with the face of ``grpc.aio.Server`` as far as it is used here."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import grpc

from serve.app.settings import Tls
from serve.security.limits import Limits
from serve.transport.http2.call import Call
from serve.transport.http2.connection import Connection
from serve.transport.sockets import bind_unix

#: Seconds between two looks at the connections.
TICK = 1.0

_Find = Callable[[Any], Awaitable[grpc.RpcMethodHandler | None]]


class Details:
    """What an interceptor is told of a call: grpc's ``HandlerCallDetails``."""

    __slots__ = ("invocation_metadata", "method")

    def __init__(self, call: Call) -> None:
        self.method = call.method
        self.invocation_metadata = call.invocation_metadata()


class Server:
    """A gRPC server of this event loop."""

    def __init__(self, limits: Limits, interceptors: Sequence[grpc.aio.ServerInterceptor] = ()) -> None:
        self.limits = limits
        self.connections: set[Connection] = set()
        #: Whether it takes no new calls any more.
        self.leaving = False
        self._generic: list[grpc.GenericRpcHandler] = []
        self._registered: dict[str, grpc.RpcMethodHandler] = {}
        self._known: dict[str, grpc.RpcMethodHandler] = {}
        self._find: _Find = self._method
        for interceptor in reversed(interceptors):
            self._find = partial(interceptor.intercept_service, self._find)
        self._sockets: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        self._listening: list[asyncio.Server] = []
        self._ways = contextlib.ExitStack()
        self._chore: asyncio.Task[None] | None = None

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Add services; see grpc."""
        self._generic += handlers

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler]) -> None:
        """Add a service as generated code does; see grpc."""
        self._registered |= {f"/{service}/{name}": handler for name, handler in handlers.items()}

    def listen(self, sock: socket.socket, secure: ssl.SSLContext | None = None) -> None:
        """Take the connections of a bound socket once started."""
        self._sockets.append((sock, secure))

    def listen_at(self, path: str) -> None:
        """Take the connections of a Unix socket, too, once started; it is removed in the end.

        Raises:
            Failed: there can be no such socket.
        """
        for sock in self._ways.enter_context(bind_unix(path)):
            self.listen(sock)

    async def start(self) -> None:
        """Take connections from now on."""
        loop = asyncio.get_running_loop()
        for sock, secure in self._sockets:
            listening = await loop.create_server(
                partial(Connection, self),
                sock=sock,
                ssl=secure,
                backlog=2048,
                ssl_handshake_timeout=self.limits.seconds if secure else None,
            )
            self._listening.append(listening)
        self._chore = loop.create_task(self._look())

    async def stop(self, grace: float | None) -> None:
        """Take no new calls; those that are under way have ``grace`` seconds to end, or none."""
        self.leaving = True
        for listening in self._listening:
            listening.close()
        for connection in list(self.connections):
            connection.leave()
        loop = asyncio.get_running_loop()
        end = loop.time() + (grace or 0)
        while self.connections and loop.time() < end:
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.end(grpc.StatusCode.UNAVAILABLE, "the server stopped.")
            connection.close()
        if self._chore is not None:
            self._chore.cancel()
        for sock, _ in self._sockets:
            sock.close()
        self._ways.close()

    async def handler(self, call: Call) -> grpc.RpcMethodHandler | None:
        """What answers a call, after whatever stands before the methods; None where there is no such method."""
        return await self._find(Details(call))

    async def _method(self, details: Any) -> grpc.RpcMethodHandler | None:
        found = self._known.get(details.method)
        if found is None:
            found = self._registered.get(details.method)
            for handlers in self._generic:
                found = found or handlers.service(details)
            if found is not None:
                self._known[details.method] = found
        return found

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK)
            now = loop.time()
            for connection in list(self.connections):
                connection.look(now)


def secured(tls: Tls) -> ssl.SSLContext:
    """TLS as gRPC wants it: HTTP/2 by ALPN, and a client's own certificate where one is asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls.certificate, tls.key)
    context.set_alpn_protocols(["h2"])
    if tls.clients:
        context.load_verify_locations(tls.clients)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
