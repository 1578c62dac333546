"""What the process gets from its environment: the user's own directories, and what libraries are told by variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

#: Variables that libraries look at, and the values with which they report nothing to their makers (decision 0168).
TELEMETRY_OFF = {"ORT_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0"}


def turn_off_telemetry() -> None:
    """Set the variables that the environment does not have. It must run before such a library is imported.

    ONNX Runtime reports which models it opens, Ray how a cluster is used.
    """
    for name, value in TELEMETRY_OFF.items():
        os.environ.setdefault(name, value)


def home_directory() -> Path:
    """The user's home; ``/`` if the system knows none, as in services (systemd's ``DynamicUser``).

    ``/`` is what systems give such users where they give anything. Other users cannot put files there.
    """
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")


def expand_home(path: str | os.PathLike[str]) -> Path:
    """The path with ``~`` and ``~name`` replaced by that user's home; as it is if there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def cache_directory() -> Path:
    """Where bookserve keeps what it can make again: ``$XDG_CACHE_HOME/bookserve``, or ``~/.cache/bookserve``."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else home_directory() / ".cache") / "bookserve"


def config_directory(environment: Mapping[str, str]) -> Path:
    """Where the user's settings are: ``$XDG_CONFIG_HOME/bookserve``, or ``~/.config/bookserve``."""
    base = environment.get("XDG_CONFIG_HOME") or environment.get("APPDATA")
    return (Path(base) if base else home_directory() / ".config") / "bookserve"


def keras_directory() -> Path:
    """Where Keras keeps what it downloads: ``$KERAS_HOME``, or ``~/.keras``."""
    return Path(os.environ.get("KERAS_HOME") or home_directory() / ".keras")
