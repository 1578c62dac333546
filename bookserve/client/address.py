"""Choose the wire to an address of models: ``connect``."""

from __future__ import annotations

from pathlib import Path

from bookserve.bundle.variant import VARIANTS
from bookserve.client.client import Client
from bookserve.errors import InvalidInput


def connect(url: str) -> Client:
    """Return a client for ``http://host:port``, ``https://…``, ``grpc://host:port`` or ``local:DIRECTORY``.

    ``local:`` runs the bundles in a directory without a server. With ``local:DIRECTORY?variant=int8-static`` models
    that have this variant use it, and the others run in float32. No connection is opened before the first call.

    Raises:
        InvalidInput: the address has another form, or the variant is unknown.
        NotFound: the directory of a ``local:`` address does not exist.
    """
    scheme, _, rest = url.partition(":")
    host = rest.removeprefix("//").rstrip("/")
    if scheme == "local" and rest:
        from bookserve.client.wires.local import LocalWire

        directory, _, variant = rest.partition("?variant=")
        if variant and variant not in VARIANTS:
            raise InvalidInput(f"there is no variant '{variant}'.", f"Variants: {', '.join(VARIANTS)}.")
        return Client(LocalWire(Path(directory), variant))
    if scheme in ("http", "https") and rest.startswith("//") and host:
        from bookserve.client.wires.http import HttpWire

        return Client(HttpWire(f"{scheme}://{host}"))
    if scheme == "grpc" and rest.startswith("//") and host:
        from bookserve.client.wires.grpc import GrpcWire

        return Client(GrpcWire(host))
    raise InvalidInput(
        f"'{url}' is not an address of models.", "Use http://host:port, grpc://host:port or local:DIRECTORY."
    )
