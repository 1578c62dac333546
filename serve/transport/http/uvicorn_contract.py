# ruff: noqa: TID253
"""What the server uses of uvicorn's connection class, and the versions of uvicorn with which that was tested.

``http_connection.py`` has a subclass of ``uvicorn.protocols.http.httptools_impl.HttpToolsProtocol``, which is not part
of uvicorn's public interface. Everything that it uses beyond ``asyncio.Protocol`` is listed here;
``tests/serve/transport/test_uvicorn_contract.py`` compares the lists with the installed version and with the subclass.

To allow a newer version: run that test with it, raise ``TESTED_VERSIONS`` and the range in ``pyproject.toml``.
"""

from __future__ import annotations

import logging
import re
from asyncio import Protocol
from collections.abc import Iterable
from typing import Literal

import uvicorn

from serve.security.limits import Limits
from serve.transport.http.fast_path import FastRoute

#: The first version that was tested, and the first one that was not: uvicorn>=0.40,<0.55.
TESTED_VERSIONS = ((0, 40), (0, 55))

#: Methods that the subclass overrides or calls, with their parameters.
METHODS = {
    "__init__": ("self", "config", "server_state", "app_state", "_loop"),
    "connection_made": ("self", "transport"),
    "connection_lost": ("self", "exc"),
    "data_received": ("self", "data"),
    "on_message_begin": ("self",),
    "on_headers_complete": ("self",),
    "on_body": ("self", "body"),
    "on_message_complete": ("self",),
    "on_response_complete": ("self",),
    "_unset_keepalive_if_required": ("self",),
}
#: Attributes of a connection that the subclass reads or sets.
ATTRIBUTES = ("cycle", "flow", "headers", "loop", "parser", "server_state", "tasks", "transport", "url")
#: An attribute of a connection that ``serve/transport/proxy_protocol.py`` sets: the client's address and port.
CLIENT = "client"
#: What it uses of objects in those attributes: of uvicorn's ``FlowControl``, ``ServerState`` and
#: ``RequestResponseCycle``, and of httptools' ``HttpRequestParser``.
OF_FLOW = ("drain", "read_paused", "write_paused")
OF_SERVER_STATE = ("default_headers",)
OF_CYCLE = ("body", "disconnected", "message_event", "response_complete", "response_started")
OF_PARSER = ("get_http_version", "get_method", "should_keep_alive")
#: What uvicorn uses of the cycle of a connection, which ``FastPathCycle`` therefore has, too. ``more_body`` is missing:
#: it is set where a message is complete, which the subclass does not pass on for a ``FastPathCycle``.
CYCLE_USED_BY_UVICORN = ("body", "disconnected", "keep_alive", "message_event", "response_complete")


def is_tested(version: str) -> bool:
    """Whether a version of uvicorn such as ``0.54.0`` is one of those that were tested."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    first, end = TESTED_VERSIONS
    return numbers is not None and first <= (int(numbers[1]), int(numbers[2])) < end


def connection_class(
    limits: Limits, fast_route: FastRoute, headers: Iterable[str] = ()
) -> type[Protocol] | Literal["httptools"]:
    """What ``uvicorn.Config`` takes as ``http``: the subclass, or the name of uvicorn's own class.

    ``headers`` are those that requests on the fast path may have besides common ones, in lower case.

    uvicorn's own class is used, with a warning, where the installed version was not tested. Requests then get the same
    responses, but each passes through the application, and nothing limits their heads and the time that they take.
    """
    if is_tested(uvicorn.__version__):
        from serve.transport.http.http_connection import HttpConnection

        return HttpConnection.limited(limits, fast_route, headers)
    logging.getLogger("bookserve").warning(
        "uvicorn %s was not tested with this server: common HTTP requests cost more CPU time, and HTTP has neither "
        "--max-head nor the time limit for slow requests. Install a tested version: pip install 'uvicorn>=%s,<%s'",
        uvicorn.__version__,
        *(".".join(map(str, version)) for version in TESTED_VERSIONS),
    )
    return "httptools"
