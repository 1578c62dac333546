"""Certificates for connections with TLS: whom to trust, and what the client shows. The system's CAs are the default."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from bookserve.client.settings import Settings
from bookserve.errors import InvalidInput

_HINT = "Give a PEM file: it begins with -----BEGIN …"


def tls_context(settings: Settings) -> ssl.SSLContext:
    """The TLS context of HTTP connections.

    Where the system has no CA certificates that Python finds, those of the package certifi are used.

    Raises:
        InvalidInput: a file does not hold what it should.
    """
    try:
        context = ssl.create_default_context(cafile=settings.ca)
    except (ssl.SSLError, OSError) as error:
        raise InvalidInput(f"{settings.ca} holds no CA certificates.", _HINT) from error
    if not settings.ca and os.name == "posix" and not _system_files():
        import certifi

        context.load_verify_locations(certifi.where())
    if settings.cert:
        try:
            context.load_cert_chain(settings.cert, settings.key, lambda: "")
        except (ssl.SSLError, OSError) as error:
            where = f"{settings.cert} and {settings.key}" if settings.key else str(settings.cert)
            raise InvalidInput(f"{where} hold no certificate with its private key.", _HINT) from error
    return context


def trusted_roots(settings: Settings) -> bytes | None:
    """PEM of the CA certificates to trust over gRPC; None where gRPC's own are used, as the system has none.

    Raises:
        InvalidInput: the file given cannot be read or is not PEM.
    """
    if settings.ca:
        return _pem(settings.ca)
    if "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH" in os.environ:  # read by gRPC itself
        return None
    contents = [path.read_bytes() for path in _system_files()]
    return b"\n".join(contents) or None


def client_pair(settings: Settings) -> tuple[bytes | None, bytes | None]:
    """PEM of the client's private key and of its certificate chain; None for both without one.

    Raises:
        InvalidInput: a file cannot be read or is not PEM.
    """
    if not settings.cert:
        return None, None
    return _pem(settings.key or settings.cert), _pem(settings.cert)


def _system_files() -> list[Path]:
    """The files with the system's CA certificates; SSL_CERT_FILE and SSL_CERT_DIR come first."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return [Path(paths.cafile)]
    return sorted(Path(paths.capath).glob("*.0")) if paths.capath else []


def _pem(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error
    if b"-----BEGIN" not in content:
        raise InvalidInput(f"{path} is not a PEM file.", _HINT)
    return content
