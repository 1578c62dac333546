# ruff: noqa: TID253
"""A connection to a gRPC server: time limits, certificates, retries, and gRPC's statuses as our errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from bookserve.api import HINT
from bookserve.client.certificates import client_pair, trusted_roots
from bookserve.client.retry import RetryPolicy, TryAgain
from bookserve.client.settings import Settings
from bookserve.errors import BookserveError, Failed, InvalidInput, NotFound, NotReady, Overloaded

#: What a gRPC library reports as UNAVAILABLE if TLS fails; trying again does not help.
_TLS_FAILURES = ("SSL_ERROR", "CERTIFICATE_VERIFY_FAILED", "handshak", "WRONG_VERSION_NUMBER", "Peer name")
_TLS_HINT = "Trust its certificate with ca=FILE (--ca FILE); a server that asks for one needs cert and key."
_KINDS: dict[grpc.StatusCode, type[BookserveError]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
    grpc.StatusCode.UNAVAILABLE: NotReady,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
}


class GrpcConnection:
    """One channel, which threads may share. Proxy settings of the environment are ignored."""

    #: The kind of server that is expected, and what to try where there is none.
    server = "a server"
    start_hint = "Start the server, or check the address."
    other_hint = "Check the port."

    def __init__(self, target: str, settings: Settings, socket: str = "", *, secure: bool = False) -> None:
        """``socket`` is the path of a Unix socket to use instead of ``target``; ``secure`` is TLS.

        Raises:
            InvalidInput: a file of certificates is not what it should be.
        """
        self._url = f"grpc+unix:{socket}" if socket else f"grpc{'s' if secure else ''}://{target}"
        self._retry = RetryPolicy(settings.retries, settings.timeout)
        self._metadata = settings.headers
        options: list[tuple[str, Any]] = [
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        ]
        if socket:
            options.append(("grpc.default_authority", target))
            target = f"unix:{socket}"
        if secure:
            credentials = grpc.ssl_channel_credentials(trusted_roots(settings), *client_pair(settings))
            self._channel = grpc.secure_channel(target, credentials, options)
        else:
            self._channel = grpc.insecure_channel(target, options)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def call(self, path: str, message: Any, parse: Callable[[bytes], Any]) -> Any:
        """The answer to one message; it is sent again where that may help. ``path`` is ``/service/method``."""
        method: Any = self._channel.unary_unary(
            path, request_serializer=type(message).SerializeToString, response_deserializer=parse
        )

        def attempt(left: float) -> Any:
            try:
                return method(message, timeout=left, metadata=self._metadata)
            except grpc.RpcError as error:
                raise self.busy_or_error(error) from error

        return self._retry.call(attempt)

    def busy_or_error(self, failed: Any) -> Exception:
        """The error of a call that failed, as ``TryAgain`` where the server is busy or away."""
        error = self.error(failed)
        code, details = failed.code(), failed.details() or ""
        if code is grpc.StatusCode.UNAVAILABLE and not _is_tls(details):
            return TryAgain(error)
        # The libraries report a message over their own limit with this code, too; that one stays too large.
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" not in details:
            return TryAgain(error)
        return error

    def error(self, error: Any) -> BookserveError:
        """The error of a gRPC status; a bookserve server sends the hint in the trailing metadata."""
        code, details = error.code(), error.details() or ""
        hint = dict(error.trailing_metadata() or ()).get(HINT)
        if hint is not None:
            return _KINDS.get(code, Failed)(details, hint.decode(errors="replace"))
        if code is grpc.StatusCode.UNAVAILABLE and _is_tls(details):
            return NotReady(f"no secure connection to {self._url}: {details.strip().rstrip('.')}.", _TLS_HINT)
        if code is grpc.StatusCode.UNAVAILABLE:
            reason = details.rpartition(": ")[2]
            return NotReady(f"cannot reach {self._url}: {reason.strip().rstrip('.')}.", self.start_hint)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return NotReady(f"{self._url} did not answer in time.", "It may be overloaded: try again.")
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return self.other_server()
        return _KINDS.get(code, Failed)(details)

    def other_server(self) -> NotReady:
        """The error for a server that does not answer as this kind does."""
        return NotReady(f"the server at {self._url} is not {self.server}.", self.other_hint)


def _is_tls(details: str) -> bool:
    return any(sign in details for sign in _TLS_FAILURES)
