"""Doors: what the operator decided about who may ask for what, the same for every protocol."""

from __future__ import annotations

import msgspec

from bookserve.errors import InvalidInput
from serve.security.limits import Limits


class AccessPolicy(msgspec.Struct, frozen=True):
    """The defaults let any client ask models and nobody change which are loaded."""

    limits: Limits = Limits()
    #: Origins whose pages may read answers, such as ``https://example.org``; ``*`` means every one.
    origins: tuple[str, ...] = ()
    #: Whether clients may load and unload models.
    control: bool = False
    #: Unix sockets beside the ports.
    http_socket: str = ""
    grpc_socket: str = ""

    def check_control(self) -> None:
        """Refuse a request that would change which models are loaded, or list those that are not.

        Raises:
            Forbidden: the operator did not allow it.
        """
        if not self.control:
            raise Forbidden("this server lets no client control its models.", "Start it with: --model-control")


class Forbidden(InvalidInput):
    """A request that the operator did not allow; doors answer 403 or PERMISSION_DENIED."""
