"""Options of every command that calls a server: its address, API key, headers, certificates and time limit."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bookserve.cli.included import address_or_included
from bookserve.client.address import connect
from bookserve.client.client import Client
from bookserve.client.profiles import find_profile
from bookserve.client.settings import TIMEOUT, parse_headers

ADDRESS = (
    "http(s)://host:port, grpc(s)://host:port, unix:SOCKET, or local:DIRECTORY (without a server); TensorFlow Serving, "
    "Triton and others: tfserving+http://, tfserving+grpc://, oip+http://, oip+grpc://."
)


@dataclass(frozen=True)
class Connection:
    """What the options say. Those that were not given are None; the client then asks the environment."""

    url: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def open(self) -> Client:
        """Connect; see ``bookserve.client.connect`` for the errors."""
        return connect(self.url, **self.options)


class _Headers(click.types.StringParamType):
    """One header; in the environment variable there is one on each line."""

    name = "header"

    def split_envvar_value(self, rv: str) -> list[str]:
        return rv.splitlines()


_pem = click.Path(path_type=Path)
#: Arguments of ``connect`` that have an option of the same name.
_ARGUMENTS = ("api_key", "ca", "cert", "key", "timeout", "device", "bundles", "profile")


def _option(name: str, variable: str, **attributes: Any) -> Callable[[Any], Any]:
    return click.option(name, envvar=f"BOOKSERVE_{variable}", show_envvar=True, **attributes)


_OPTIONS = (
    _option(
        "--device",
        "LOCAL_DEVICE",
        metavar="DEVICE",
        help="auto, cpu, cuda or cuda:N; for local: only.  [default: cpu]",
    ),
    _option("--api-key", "API_KEY", metavar="KEY", help="API key of the server."),
    _option(
        "--header",
        "HEADER",
        type=_Headers(),
        multiple=True,
        metavar="'NAME: VALUE'",
        help="Header (gRPC metadata) to send; repeatable.",
    ),
    _option("--ca", "CA", type=_pem, metavar="FILE", help="CA certificates (PEM) to trust.  [default: the system's]"),
    _option("--cert", "CERT", type=_pem, metavar="FILE", help="Certificate (PEM) to show to the server."),
    _option("--key", "KEY", type=_pem, metavar="FILE", help="Private key (PEM) of that certificate."),
    _option(
        "--timeout",
        "TIMEOUT",
        type=click.FloatRange(0, min_open=True),
        metavar="SECONDS",
        help=f"Maximum time for one answer.  [default: {TIMEOUT:.0f}]",
    ),
    _option(
        "--bundles",
        "BUNDLES",
        type=click.Path(file_okay=False, path_type=Path),
        help="Bundles that another kind of server serves, for their Steps.",
    ),
    _option("--profile", "PROFILE", metavar="NAME", help="Profile of `bookserve config` to use.  [default: default]"),
)


def connection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that adds ``--url`` and the options of a connection; the command gets a ``Connection``."""
    url = _option("--url", "URL", default="local:models", show_default=True, help=f"Address of the models: {ADDRESS}")
    decorated: Callable[..., Any] = url(server_options(command))
    return decorated


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a command that has a ``--url`` of its own; it gets a ``Connection`` to it, '' for no address."""

    @functools.wraps(command)
    def call(*args: Any, url: str | None, header: tuple[str, ...], **given: Any) -> Any:
        options = {name: given.pop(name) for name in _ARGUMENTS}
        options["headers"] = parse_headers(header) if header else None
        context = click.get_current_context()
        for name, option in (*((name, name) for name in options), ("headers", "header")):
            # The client asks the environment itself, and knows what an address has no use for.
            if context.get_parameter_source(option) is ParameterSource.ENVIRONMENT:
                options[name] = None
        saved = find_profile(options["profile"], None).get("url")
        if saved and (url is None or context.get_parameter_source("url") is ParameterSource.DEFAULT):
            url = saved
        elif url:
            url = address_or_included(url)
        return command(*args, connection=Connection(url or "", options), **given)

    wrapped: Callable[..., Any] = call
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
