# ruff: noqa: TID253
"""The gRPC face of the server: every door's methods on one grpc.aio server."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import grpc

from bookserve.errors import Failed
from serve.body import MAX_BODY
from serve.engine import Engine
from serve.home import rpc as home
from serve.jobs import rpc as pictures
from serve.jobs.queue import Jobs
from serve.settings import Tls
from serve.tfs import rpc as tfs
from serve.v2 import rpc as v2


def credentials(tls: Tls) -> grpc.ServerCredentials:
    """The server's certificate, and whose clients' certificates it wants to see."""
    clients = tls.clients.read_bytes() if tls.clients else None
    return grpc.ssl_server_credentials(
        [(tls.key.read_bytes(), tls.certificate.read_bytes())], clients, require_client_auth=clients is not None
    )


def server(
    engine: Engine,
    host: str,
    port: int,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    secure: grpc.ServerCredentials | None = None,
    shared: bool = False,
    jobs: Jobs | None = None,
) -> tuple[grpc.aio.Server, int]:
    """A server bound to ``host`` and ``port`` (0: a free one), not yet started, and the port it got.

    A port that is ``shared`` may be bound by other processes, too, each of which gets some of the connections.

    Raises:
        Failed: the address is taken, or not one of this machine's.
    """
    made = grpc.aio.server(
        interceptors=interceptors,
        options=[
            ("grpc.so_reuseport", int(shared)),  # a taken port must be an error, not half of the requests
            ("grpc.max_receive_message_length", MAX_BODY),
            ("grpc.max_send_message_length", -1),
        ],
    )
    doors = (tfs.handlers(engine), v2.handlers(engine), home.handlers(engine))
    made.add_generic_rpc_handlers((*chain(*doors), *pictures.handlers(engine, jobs or Jobs(engine))))
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        return made, made.add_secure_port(address, secure) if secure else made.add_insecure_port(address)
    except RuntimeError as error:
        raise Failed(
            f"the gRPC address {address} cannot be had.", "Choose another: --grpc-port 0 finds one."
        ) from error
