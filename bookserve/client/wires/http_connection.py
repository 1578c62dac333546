# ruff: noqa: TID253
"""A connection to an HTTP server: time limits, certificates, retries, and the errors of the network as ours."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bookserve.client.certificates import tls_context
from bookserve.client.retry import RetryPolicy, TryAgain
from bookserve.client.settings import Settings
from bookserve.errors import BookserveError, InvalidInput, NotReady

#: Seconds to wait for a connection at most.
CONNECT = 5.0
#: Statuses of a server that is busy or not ready yet: the same request may succeed later.
BUSY = (429, 503)

_TLS_HINT = "Trust its certificate with ca=FILE (--ca FILE); a server that asks for one needs cert and key."


class _SocketTransport(httpx.HTTPTransport):
    """HTTP over a Unix socket. A path that leads to no socket is told first: httpcore would leave a socket open."""

    def __init__(self, path: str) -> None:
        super().__init__(uds=path)
        self._path = Path(path)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not self._path.is_socket():
            raise httpx.ConnectError(f"there is no socket at {self._path}", request=request)
        return super().handle_request(request)


class HttpConnection:
    """One connection pool, which threads may share. Proxy settings of the environment are ignored.

    A subclass says what the server should be, and how it writes its errors.
    """

    #: The kind of server that is expected, and what to try where there is none.
    server = "a server"
    start_hint = "Start the server, or check the address."
    other_hint = "Check the port."

    def __init__(self, url: str, settings: Settings, socket: str = "") -> None:
        """``socket`` is the path of a Unix socket to use; the host of ``url`` then only names it.

        Raises:
            InvalidInput: ``url`` is not a valid URL, or a file of certificates is not what it should be.
        """
        self._url = f"unix:{socket}" if socket else url
        self._retry = RetryPolicy(settings.retries, settings.timeout)
        try:
            self._http = httpx.Client(
                base_url=url,
                headers=settings.headers,
                timeout=httpx.Timeout(settings.timeout, connect=min(CONNECT, settings.timeout)),
                trust_env=False,
                # Reading the certificates costs more than a whole request, so only where they are needed.
                verify=tls_context(settings) if url.startswith("https:") else False,
                transport=_SocketTransport(socket) if socket else None,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise InvalidInput(f"'{url}' is not an address: {error}.", "Use http://host:port") from error

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def error_of(self, response: httpx.Response) -> BookserveError:
        """The error that an answer holds.

        Raises:
            ValueError, TypeError, KeyError: it holds none that this kind of server writes.
        """
        raise KeyError("error")

    def send(
        self, method: str, path: str, content: bytes | None, expected: int = 200, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """The answer, which has the expected status; the request is sent again where that may help."""

        def attempt(left: float) -> httpx.Response:
            limit = httpx.Timeout(left, connect=min(CONNECT, left))
            with self.errors(may_retry=True):
                response = self._http.request(method, path, content=content, headers=headers, timeout=limit)
            if response.status_code != expected:
                raise self.busy_or_error(response)
            return response

        return self._retry.call(attempt)

    @contextmanager
    def errors(self, may_retry: bool = False) -> Iterator[None]:
        """Turn errors of httpx into ours; with ``may_retry`` those before anything was sent become ``TryAgain``."""
        try:
            yield
        except httpx.ConnectError as error:
            if isinstance(_root(error), ssl.SSLError):
                raise NotReady(f"no secure connection to {self._url}: {_root(error)}.", _TLS_HINT) from error
            raise (TryAgain(self._unreachable(error)) if may_retry else self._unreachable(error)) from error
        except httpx.TimeoutException as error:
            raise NotReady(f"{self._url} did not answer in time.", "It may be overloaded: try again.") from error
        except httpx.RemoteProtocolError as error:
            raise self.other_server() from error
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def busy_or_error(self, response: httpx.Response) -> Exception:
        """The error of an answer, as ``TryAgain`` where the server is busy."""
        error = self.error(response)
        if response.status_code not in BUSY:
            return error
        after = response.headers.get("retry-after", "")
        return TryAgain(error, float(after) if after.isdecimal() else 0.0)

    def error(self, response: httpx.Response) -> BookserveError:
        """The error of an answer, whoever sent it."""
        try:
            return self.error_of(response)
        except (ValueError, TypeError, KeyError):
            if response.status_code in BUSY:  # a proxy in front of the server
                return NotReady(f"{self._url} answered {response.status_code} {response.reason_phrase}.", "Try again.")
            return self.other_server()

    def other_server(self) -> NotReady:
        """The error for a server that does not answer as this kind does."""
        return NotReady(f"the server at {self._url} is not {self.server}.", self.other_hint)

    def _unreachable(self, error: Exception) -> NotReady:
        return NotReady(f"cannot reach {self._url}: {error}.", self.start_hint)


def _root(error: BaseException) -> BaseException:
    """What an error was raised for in the first place."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return error
