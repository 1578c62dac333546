"""How to connect to a server, from arguments, the environment or a profile: key, headers, certificates, time limit.

==============  =======================  =====================================================================
``connect(…)``  environment              meaning
==============  =======================  =====================================================================
``url``         ``BOOKSERVE_URL``        the address
``api_key``     ``BOOKSERVE_API_KEY``    sent as ``Authorization: Bearer KEY``
``headers``     ``BOOKSERVE_HEADER``     more headers (gRPC metadata); in the environment one ``Name: value`` per line
``ca``          ``BOOKSERVE_CA``         file of CA certificates (PEM) to trust instead of the system's
``cert``        ``BOOKSERVE_CERT``       file of the client's certificate chain (PEM), for mutual TLS
``key``         ``BOOKSERVE_KEY``        file of its private key (PEM); not needed if ``cert`` holds it
``timeout``     ``BOOKSERVE_TIMEOUT``    seconds to wait for an answer, retries included
``retries``     ``BOOKSERVE_RETRIES``    how often to try again where that may help
``bundles``     ``BOOKSERVE_BUNDLES``    directory of the bundles that another kind of server serves
``profile``     ``BOOKSERVE_PROFILE``    a name in the file of profiles, ``bookserve/client/profiles.py``
==============  =======================  =====================================================================
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bookserve.environment import expand_home
from bookserve.errors import InvalidInput, NotFound

#: Seconds to wait for an answer, and retries, if nobody says otherwise.
TIMEOUT, RETRIES = 120.0, 2

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Settings:
    """The settings of one connection, checked. ``headers`` has names in lower case and includes the API key."""

    headers: tuple[tuple[str, str], ...] = ()
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    timeout: float = TIMEOUT
    retries: int = RETRIES

    @property
    def secures(self) -> str:
        """The first setting that only a connection with TLS can use; '' if there is none."""
        return next((name for name in ("ca", "cert", "key") if getattr(self, name)), "")


def read_settings(
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    ca: str | Path | None = None,
    cert: str | Path | None = None,
    key: str | Path | None = None,
    timeout: float | None = None,
    retries: int | None = None,
    environment: Mapping[str, str] = os.environ,
    profile: Mapping[str, Any] | None = None,
) -> Settings:
    """The settings that were given; for those that are None, what the environment or the profile says, or the default.

    Raises:
        InvalidInput: a header, the API key, the timeout (seconds above 0) or the retries (0 or more) cannot be used.
        NotFound: a file of certificates does not exist.
    """

    def choose(value: Any, name: str) -> Any:
        return (environment.get(f"BOOKSERVE_{name}") or saved.get(name.lower())) if value is None else value

    saved = profile or {}
    told = environment.get("BOOKSERVE_HEADER", "")
    found = dict(headers) if headers is not None else parse_headers(told.splitlines()) or saved.get("headers", {})
    sent = {_header_name(name): _header_value(name, value) for name, value in found.items()}
    chosen_key = choose(api_key, "API_KEY")
    if chosen_key:
        sent["authorization"] = f"Bearer {_header_value('API key', chosen_key)}"
    ca, cert, key = (_file(choose(value, name), name) for value, name in ((ca, "CA"), (cert, "CERT"), (key, "KEY")))
    if key and not cert:
        raise InvalidInput("a private key was given without its certificate.", "Give cert (--cert), too.")
    return Settings(
        tuple(sent.items()),
        ca,
        cert,
        key,
        _number(choose(timeout, "TIMEOUT"), float, TIMEOUT, "timeout", "a number of seconds above 0"),
        _number(choose(retries, "RETRIES"), int, RETRIES, "retries", "0 or a larger whole number"),
    )


def parse_headers(lines: list[str] | tuple[str, ...]) -> dict[str, str]:
    """``("Name: value",)`` → ``{"Name": "value"}``; empty lines are left out.

    Raises:
        InvalidInput: a line has no colon.
    """
    found = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if line.strip() and not colon:
            raise InvalidInput(f"'{line}' is not a header.", "Write it as: Name: value")
        if line.strip():
            found[name.strip()] = value.strip()
    return found


def _header_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"'{name}' cannot be the name of a header.", "Use letters, digits and hyphens.")
    return name.lower()


def _header_value(name: str, value: str) -> str:
    text = str(value).strip()
    if not text.isascii() or not text.isprintable():
        # The value itself may be a secret.
        raise InvalidInput(f"the value of '{name}' holds characters that a header cannot have.", "Use plain ASCII.")
    return text


def _file(given: str | Path | None, name: str) -> Path | None:
    if given is None or not str(given):
        return None
    path = expand_home(given)
    if not path.is_file():
        raise NotFound(f"there is no file '{path}' ({name.lower()}).", "Give the path of a PEM file.")
    return path


def _number(given: Any, kind: type[Value], default: Value, name: str, expected: str) -> Value:
    if given is None:
        return default
    try:
        value: Any = kind(given)  # type: ignore[call-arg]
    except (TypeError, ValueError):
        value = -1
    if not (value >= 0 if kind is int else 0 < value < math.inf):
        raise InvalidInput(f"{name} is '{given}'; expected {expected}.")
    return value  # type: ignore[no-any-return]
