"""Defines the settings of ``bookserve serve``, and reads them from a TOML file."""

from __future__ import annotations

import ssl
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bookserve.errors import InvalidInput, NotFound
from bookserve.runtime import DeviceConfig
from serve.batching.batch_config import BatchConfig
from serve.models.model_config import VersionPolicy
from serve.observability.metrics import MODELS_SHOWN
from serve.security.access_policy import AccessPolicy


class Tls(msgspec.Struct, frozen=True):
    """The server's certificate chain and key, and the authority of client certificates if they are required."""

    certificate: Path
    key: Path
    clients: Path | None = None

    def check(self) -> None:
        """
        Raises:
            NotFound: one of the files is missing.
            InvalidInput: a file is not PEM, or the key does not belong to the certificate.
        """
        for path in filter(None, (self.certificate, self.key, self.clients)):
            if not path.is_file():
                raise NotFound(f"there is no file '{path}'.", "Name PEM files for --tls-certificate, --tls-key, …")
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate, self.key)
            if self.clients:
                context.load_verify_locations(self.clients)
        except (ssl.SSLError, OSError) as error:
            raise InvalidInput(
                f"the certificate or key cannot be used: {error}.",
                "Give a PEM certificate and its own unencrypted key.",
            ) from error


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one server."""

    models: Path
    host: str = "127.0.0.1"
    http_port: int = 8501
    grpc_port: int = 8500
    #: The gRPC server: ``builtin`` (HTTP/2 in the server's own event loop) or ``grpcio``.
    grpc_server: str = "builtin"
    #: A ``models.config`` that lists the models, instead of the directory ``models``.
    model_config_file: Path | None = None
    #: The directory of the versions of one model, and the model's name; instead of the directory ``models``.
    model_base_path: Path | None = None
    model_name: str = "default"
    unavailable_labels: bool = False
    policy: VersionPolicy = VersionPolicy()
    #: Seconds between checks for changes in the directory and the ``models.config``; 0 for never.
    poll: float = 0.0
    lazy: bool = False
    max_loaded: int = 0
    canary_share: float = 0.0
    batching: BatchConfig = BatchConfig()
    #: Variant to serve of models that have it, such as ``int8``; '' for float32.
    variant: str = ""
    #: Time limit in seconds for requests that set none; 0 for no limit.
    request_timeout: float = 0.0
    api_key_file: Path | None = None
    tls: Tls | None = None
    access_log: bool = False
    log_format: str = "text"
    #: URL of an OpenTelemetry collector that gets the traces; '' for none.
    otel: str = ""
    access: AccessPolicy = AccessPolicy()
    #: Whether connections from trusted proxies begin with a header of the PROXY protocol.
    proxy_protocol: bool = False
    #: How many models have their own values in ``/metrics``.
    metrics_models: int = MODELS_SHOWN
    #: What graphs run on, and the names of other devices by model.
    device: DeviceConfig = DeviceConfig()
    devices: Mapping[str, str] = {}
    workers: int = 1
    #: Worker i also listens on this port + i, for HTTP and for gRPC; 0: it does not.
    worker_ports: int = 0
    worker_grpc_ports: int = 0

    @property
    def source(self) -> Path:
        """Where the models come from, for messages."""
        return self.model_config_file or self.model_base_path or self.models


def read_settings_file(path: Path, known: Collection[str]) -> dict[str, Any]:
    """The options in a TOML file, by name with underscores.

    Raises:
        NotFound: no such file.
        InvalidInput: it is not TOML, or sets an option that is not ``known``.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"there is no file '{path}'.", "Name the TOML file with the server's options.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"{path} is not TOML: {error}.", "Write lines such as: http-port = 8501") from error
    options = {key.replace("-", "_"): value for key, value in document.items()}
    if unknown := [key for key in document if key.replace("-", "_") not in known]:
        listed = ", ".join(sorted(name.replace("_", "-") for name in known))
        raise InvalidInput(f"{path} sets '{unknown[0]}', which is not an option.", f"Options: {listed}.")
    if isinstance(models := options.get("model_device"), dict):  # the table [model-device]
        options["model_device"] = [f"{model}={device}" for model, device in models.items()]
    if wrong := [key for key, value in options.items() if isinstance(value, dict | list) and key != "model_device"]:
        raise InvalidInput(f"{path}: '{wrong[0]}' must be a single value.")
    return options
