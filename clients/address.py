"""Address: where models are, and the client over the wire that it names."""

from __future__ import annotations

from pathlib import Path

from bookserve.errors import InvalidInput
from clients.client import Client


def connect(url: str) -> Client:
    """A client for ``http://host:port``, ``https://…``, ``grpc://host:port`` or ``local:DIRECTORY`` of bundles.

    Nothing is contacted before the first call.

    Raises:
        InvalidInput: another kind of address.
        NotFound: (local) there is no such directory.
    """
    scheme, _, rest = url.partition(":")
    host = rest.removeprefix("//").rstrip("/")
    if scheme == "local" and rest:
        from clients.wires.local import LocalWire

        return Client(LocalWire(Path(rest)))
    if scheme in ("http", "https") and rest.startswith("//") and host:
        from clients.wires.http import HttpWire

        return Client(HttpWire(f"{scheme}://{host}"))
    if scheme == "grpc" and rest.startswith("//") and host:
        from clients.wires.rpc import RpcWire

        return Client(RpcWire(host))
    raise InvalidInput(
        f"'{url}' is no address of models.", "Use http://host:port, grpc://host:port or local:DIRECTORY."
    )
