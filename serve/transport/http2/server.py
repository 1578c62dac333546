# ruff: noqa: TID253
"""A gRPC server in the running event loop, with the part of ``grpc.aio.Server``'s interface that services need."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from serve.transport.http2.call import Call
from serve.transport.http2.config import Config
from serve.transport.http2.connection import Connection
from serve.transport.http2.held_bytes import HeldBytes
from serve.transport.http2.sync_methods import as_coroutine

#: Seconds between two checks of all connections.
CHECK_INTERVAL = 1.0
#: Seconds that a client has to read what was sent before its connection was closed, at the end of the server.
FLUSH_TIMEOUT = 0.5

_Intercept = Callable[[Any], Awaitable[grpc.RpcMethodHandler | None]]


class HandlerCallDetails:
    """What an interceptor sees of a call: grpc's type of the same name."""

    __slots__ = ("invocation_metadata", "method")

    def __init__(self, call: Call) -> None:
        self.method = call.method
        self.invocation_metadata = call.invocation_metadata()


class Server:
    """A gRPC server. It accepts connections on the sockets that it is given from ``start`` until ``stop``."""

    def __init__(self, config: Config, interceptors: Sequence[grpc.aio.ServerInterceptor] = ()) -> None:
        self.config = config
        self.connections: set[Connection] = set()
        #: Whether the server is shutting down.
        self.stopping = False
        self._held = HeldBytes(config.max_held)
        self._generic: list[grpc.GenericRpcHandler] = []
        self._registered: dict[str, grpc.RpcMethodHandler] = {}
        self._handlers: dict[str, grpc.RpcMethodHandler] = {}
        self._intercept: _Intercept = self._find_method
        for interceptor in reversed(interceptors):
            self._intercept = partial(interceptor.intercept_service, self._intercept)
        self._sockets: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        self._listeners: list[asyncio.Server] = []
        self._cleanup = contextlib.ExitStack()
        self._checks: asyncio.Task[None] | None = None

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Add services; see ``grpc.aio.Server``."""
        self._generic += handlers

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler]) -> None:
        """Add a service as generated code does; see ``grpc.aio.Server``."""
        self._registered |= {f"/{service}/{name}": handler for name, handler in handlers.items()}

    def listen(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Accept connections on a bound socket once the server is started; ``stop`` closes it."""
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            # Connections inherit it. asyncio sets it only where the socket names its protocol; without it the end of an
            # answer whose headers were sent at once waits 40 ms for the client's acknowledgement.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets.append((sock, tls))

    def add_cleanup(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the server has stopped."""
        self._cleanup.callback(callback)

    async def start(self) -> None:
        """Accept connections from now on."""
        loop = asyncio.get_running_loop()
        new_call, closed = partial(Call, self.find_handler), self.connections.discard
        new_connection = partial(Connection, self.config, new_call, self.connection_opened, closed, self._held)
        for sock, tls in self._sockets:
            listener = await loop.create_server(
                new_connection,
                sock=sock,
                ssl=tls,
                backlog=2048,
                ssl_handshake_timeout=self.config.timeout if tls else None,
            )
            self._listeners.append(listener)
        self._checks = loop.create_task(self._check_connections())

    async def stop(self, grace: float | None) -> None:
        """Accept no new calls. Running calls have ``grace`` seconds to end; None ends them at once."""
        self.stopping = True
        for listener in self._listeners:
            listener.close()
        for connection in list(self.connections):
            connection.shut_down()
        loop = asyncio.get_running_loop()
        end = loop.time() + (grace or 0)
        while self.connections and loop.time() < end:
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.end_calls(grpc.StatusCode.UNAVAILABLE, "the server stopped.")
            connection.close()
        end = loop.time() + FLUSH_TIMEOUT
        await asyncio.sleep(0)  # closes the sockets of clients to which all is sent
        while self.connections and loop.time() < end:
            await asyncio.sleep(0.01)
        for connection in list(self.connections):  # otherwise their sockets would outlive the event loop
            connection.abort()
        await asyncio.sleep(0)
        if self._checks is not None:
            self._checks.cancel()
        for sock, _ in self._sockets:
            sock.close()
        self._cleanup.close()

    def connection_opened(self, connection: Connection) -> None:
        """Keep a new connection; one that was accepted just before the listener closed is shut down."""
        most = self.config.max_connections
        if most and len(self.connections) >= most:
            connection.refuse(f"the server has {most} connections, which are all that it may have.")
            return
        self.connections.add(connection)
        if self.stopping:
            connection.shut_down()

    async def find_handler(self, call: Call) -> grpc.RpcMethodHandler | None:
        """The handler of a call's method, after all interceptors; None where there is no such method."""
        return await self._intercept(HandlerCallDetails(call))

    async def _find_method(self, details: Any) -> grpc.RpcMethodHandler | None:
        handler = self._handlers.get(details.method)
        if handler is None:
            handler = self._registered.get(details.method)
            for generic in self._generic:
                handler = handler or generic.service(details)
            if handler is not None:
                handler = self._handlers[details.method] = as_coroutine(handler)
        return handler

    async def _check_connections(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            now = loop.time()
            for connection in list(self.connections):
                connection.check_timeouts(now)


def tls_context(certificate: Path, key: Path, client_ca: Path | None = None) -> ssl.SSLContext:
    """TLS 1.2 or later with HTTP/2 by ALPN, as gRPC needs it.

    Args:
        certificate: a PEM file with the server's certificate and those of its issuers.
        key: a PEM file with its private key.
        client_ca: a PEM file with the issuers of clients' certificates; with it, clients must show one.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    if client_ca:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
