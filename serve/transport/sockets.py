"""Binds the sockets on which a server listens; says in a sentence why that is not possible."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bookserve.errors import Failed


def bind_tcp(protocol: str, host: str, port: int, shared: bool = False, option: str = "") -> socket.socket:
    """A listening TCP socket: clients that connect before the models are loaded wait, and are not refused.

    A port that is ``shared`` with other processes is bound with SO_REUSEPORT and does not listen yet, since the kernel
    distributes connections among the sockets that listen. ``option`` is the one that named the port, if it is not the
    protocol's own.

    Raises:
        Failed: the address is in use, or does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        if not shared:
            bound = socket.create_server((host, port), family=family, backlog=2048)
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it
            return bound
        bound = socket.socket(family)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            bound.bind((host, port))
        except OSError:
            bound.close()
            raise
    except OSError as error:
        reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        hint = f"Choose another: --{protocol.lower()}-port 0 finds a free one."
        if option or error.errno != errno.EADDRINUSE:
            hint = f"Check --host and {option or 'the port'}."
        raise Failed(f"cannot listen on {host}:{port} for {protocol}: {reason}.", hint) from error
    return bound


@contextmanager
def bind_unix(path: str) -> Iterator[list[socket.socket]]:
    """A listening Unix socket, whose file is removed in the end; no socket if the path is empty.

    Raises:
        Failed: the socket cannot be bound.
    """
    if not path:
        yield []
        return
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            if _is_stale(path):
                Path(path).unlink()
            listener.bind(path)
        except OSError as error:
            reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
            raise Failed(f"cannot listen on {path}: {reason}.", "Choose another path: --http-socket") from error
        try:
            listener.listen(2048)
            yield [listener]
        finally:
            Path(path).unlink(missing_ok=True)


def _is_stale(path: str) -> bool:
    """Whether the path is a socket on which no process listens any more, since a server was killed."""
    if not Path(path).is_socket():
        return False
    with socket.socket(socket.AF_UNIX) as caller:
        return caller.connect_ex(path) == errno.ECONNREFUSED
