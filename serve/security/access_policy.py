"""Defines the access policy that the operator sets: limits, CORS origins, model control, sockets, and so on."""

from __future__ import annotations

import msgspec

from bookserve.errors import InvalidInput
from serve.security.limits import Limits
from serve.security.trusted_proxies import TrustedProxies


class AccessPolicy(msgspec.Struct, frozen=True):
    """By default every client may run models, and no client may load or unload them."""

    limits: Limits = Limits()
    #: CORS: origins whose pages may read responses, such as ``https://example.org``; ``*`` means all.
    origins: tuple[str, ...] = ()
    #: Whether clients may load and unload models.
    control: bool = False
    #: Paths of Unix sockets to listen on in addition to the ports; '' for none.
    http_socket: str = ""
    grpc_socket: str = ""
    #: Path at which the metrics are, besides ``/metrics``; '' for none.
    metrics_path: str = "/monitoring/prometheus/metrics"
    #: Whether classify and regress need a signature with that method name, where a SavedModel declares one.
    check_method_names: bool = False
    #: The proxies that are believed who their clients are.
    proxies: TrustedProxies = TrustedProxies()

    def check_control(self) -> None:
        """Refuse requests that load, unload or reload models.

        Raises:
            Forbidden: model control is not allowed.
        """
        if not self.control:
            raise Forbidden("model control is disabled on this server.", "Start it with: --model-control")


class Forbidden(InvalidInput):
    """The access policy does not allow the request (HTTP 403, gRPC PERMISSION_DENIED)."""
