"""Address: where models are, and the client over the wire that it names."""

from __future__ import annotations

from pathlib import Path

from bookserve.bundle.variant import VARIANTS
from bookserve.client.client import Client
from bookserve.errors import InvalidInput


def connect(url: str) -> Client:
    """A client for ``http://host:port``, ``https://…``, ``grpc://host:port`` or ``local:DIRECTORY`` of bundles.

    ``local:DIRECTORY?variant=int8-static`` runs the models that have that variant in it, the others in float32.
    Nothing is contacted before the first call.

    Raises:
        InvalidInput: another kind of address, or an unknown variant.
        NotFound: (local) there is no such directory.
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
        f"'{url}' is no address of models.", "Use http://host:port, grpc://host:port or local:DIRECTORY."
    )
