"""Choose the wire to an address of models: ``connect``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bookserve.client.client import Client
from bookserve.client.profiles import find_profile
from bookserve.client.settings import Settings, read_settings
from bookserve.errors import InvalidInput

if TYPE_CHECKING:
    from bookserve.runtime.devices import DeviceConfig

_FORMS = (
    "Use http://host:port, https://…, grpc://host:port, grpcs://…, unix:SOCKET, grpc+unix:SOCKET or local:DIRECTORY; "
    "for other servers tfserving+http://…, tfserving+grpc://…, oip+http://… or oip+grpc://…"
)
#: Schemes of addresses of servers; each may have the prefix of a protocol of other people's servers.
_SCHEMES = ("http", "https", "grpc", "grpcs")
_PROTOCOLS = ("tfserving", "oip")


def connect(
    url: str | None = None,
    *,
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    ca: str | Path | None = None,
    cert: str | Path | None = None,
    key: str | Path | None = None,
    timeout: float | None = None,
    retries: int | None = None,
    device: str | None = None,
    bundles: str | Path | None = None,
    profile: str | None = None,
) -> Client:
    """Return a client for the models at ``url``; what is not given is taken from the environment, or from a profile.

    ===============================  ==================================================================
    ``http://host:port``             HTTP; with ``https://`` encrypted
    ``grpc://host:port``             gRPC; with ``grpcs://`` encrypted
    ``unix:PATH``                    HTTP over a Unix socket; with ``grpc+unix:PATH`` gRPC
    ``local:DIRECTORY``              the bundles in a directory, without a server
    ``local:DIRECTORY?variant=NAME``  models that have this variant use it; the others run in float32
    ``tfserving+http://host:port``   TensorFlow Serving; ``tfserving+grpc://`` and ``…https``, ``…grpcs``
    ``oip+http://host:port``         Triton, KServe, MLServer: the Open Inference Protocol; ``oip+grpc://``
    ===============================  ==================================================================

    ``bookserve.client.settings`` explains the arguments, with their environment variables. ``timeout`` is in seconds,
    for one answer with its retries; a stream of text may take longer. ``local:`` needs none of them and ignores them.
    ``device`` is for ``local:`` only: ``cpu`` (the default), ``auto``, ``cuda`` or ``cuda:N``; a server decides itself.
    ``bundles`` is for other people's servers: the directory of the bundles that they serve. Their Steps make tensors of
    rows and labels of tensors. Without it the server's description of a model says which numbers or texts it takes.
    ``profile`` names an entry of the file that ``bookserve config`` writes (``bookserve.client.profiles``).
    No connection is opened before the first call.

    >>> from bookserve import connect
    >>> with connect("local:pretrained") as client:
    ...     print(client.predict("imdb_lstm", ["a wonderful film"])[0]["probability"][0].label)
    positive

    Raises:
        InvalidInput: the address has another form, the variant is unknown, or an argument cannot be used.
        DeviceUnavailable: the GPU cannot be used; the message says what is missing.
        NotFound: the directory of a ``local:`` address, or a file of certificates, does not exist.
    """
    url = os.environ.get("BOOKSERVE_URL") if url is None else url
    saved = find_profile(profile, url)
    url = saved.get("url", "") if url is None else url
    if not url:
        raise InvalidInput(
            "'' is not an address of models.",
            f"{_FORMS} The variable BOOKSERVE_URL and `bookserve config` are used, too.",
        )
    scheme, _, rest = url.partition(":")
    host = rest.removeprefix("//").rstrip("/")
    if scheme == "local" and rest:
        from bookserve.bundle.variant import VARIANTS
        from bookserve.client.wires.local import LocalWire

        directory, _, variant = rest.partition("?variant=")
        if variant and variant not in VARIANTS:
            raise InvalidInput(f"there is no variant '{variant}'.", f"Variants: {', '.join(VARIANTS)}.")
        return Client(
            LocalWire(
                Path(directory),
                variant,
                device=_local_device(device or os.environ.get("BOOKSERVE_LOCAL_DEVICE") or saved.get("device")),
            )
        )
    if device is not None:
        raise InvalidInput(
            f"'{url}' is a server, which has its own devices.", "Leave the device out, or use local:DIRECTORY."
        )
    settings = read_settings(api_key, headers, ca, cert, key, timeout, retries, profile=saved)
    protocol, plus, plain = scheme.partition("+")
    if plus and protocol in _PROTOCOLS and plain in _SCHEMES and rest.startswith("//") and host:
        bundles = bundles or os.environ.get("BOOKSERVE_BUNDLES") or saved.get("bundles")
        return _tensor_client(protocol, plain, host, settings, bundles)
    if bundles is not None:
        raise InvalidInput(
            f"'{url}' has Steps of its own, so bundles have no use.", "Leave them out, or use local:DIRECTORY."
        )
    if scheme in _SCHEMES and rest.startswith("//") and host:
        given = next((name for name, value in (("ca", ca), ("cert", cert), ("key", key)) if value), "")
        if given and scheme in ("http", "grpc"):
            raise InvalidInput(f"'{url}' is not encrypted, so '{given}' has no use.", f"Use {scheme}s://{host}")
        return _client(scheme, host, "", settings)
    if scheme in ("unix", "grpc+unix") and host:
        socket = f"/{host.lstrip('/')}" if rest.startswith("//") else host
        return _client("grpc" if scheme == "grpc+unix" else "http", "localhost", socket, settings)
    raise InvalidInput(f"'{url}' is not an address of models.", _FORMS)


def _local_device(device: str | None) -> DeviceConfig:
    """The device of models in this process; what was measured of them is kept where the server keeps it, too."""
    from bookserve.environment import cache_directory
    from bookserve.runtime.devices import CPU, DeviceConfig, parse_device
    from bookserve.runtime.placement import resolve_device

    name = parse_device(device or CPU)
    return resolve_device(DeviceConfig(name, cache=cache_directory()))[0]


def _client(scheme: str, host: str, socket: str, settings: Settings) -> Client:
    if scheme in ("http", "https"):
        from bookserve.client.wires.http import HttpWire

        return Client(HttpWire(f"{scheme}://{host}", settings, socket))
    from bookserve.client.wires.grpc import GrpcWire

    return Client(GrpcWire(host, settings, socket, secure=scheme == "grpcs"))


def _tensor_client(protocol: str, scheme: str, host: str, settings: Settings, bundles: str | Path | None) -> Client:
    """A client of a server that takes tensors."""
    from bookserve.client.wires.tensor_server import TensorServer, TensorWire

    server: TensorServer
    secure = scheme == "grpcs"
    if protocol == "tfserving" and scheme.startswith("http"):
        from bookserve.client.wires.tfserving_http import TfServingHttp

        server = TfServingHttp(f"{scheme}://{host}", settings)
    elif protocol == "tfserving":
        from bookserve.client.wires.tfserving_grpc import TfServingGrpc

        server = TfServingGrpc(host, settings, secure=secure)
    elif scheme.startswith("http"):
        from bookserve.client.wires.oip_http import OipHttp

        server = OipHttp(f"{scheme}://{host}", settings)
    else:
        from bookserve.client.wires.oip_grpc import OipGrpc

        server = OipGrpc(host, settings, secure=secure)
    return Client(TensorWire(server, None if bundles is None else Path(bundles)))
