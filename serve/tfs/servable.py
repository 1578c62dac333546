"""Servable: the model that a request of TensorFlow Serving's protocol means, found or refused in its words."""

from __future__ import annotations

from typing import Any

from bookserve.errors import InvalidInput, NotFound
from serve.engine import Engine
from serve.model import LiveModel
from serve.versions import UnknownLabel


def find(engine: Engine, name: str, version: int | None = None, label: str = "") -> LiveModel:
    """The live model of that name: the newest version, or the one asked for.

    Raises:
        NotFound: no such model or version.
        InvalidInput: the model has no such label.
        NotReady: it could not be loaded.
    """
    try:
        return engine.model(name, version, label)
    except UnknownLabel as error:
        raise InvalidInput(f"Unrecognized servable version label: {label}") from error
    except NotFound as error:
        wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise NotFound(f"Servable not found for request: {wanted}") from error


def states(engine: Engine, name: str, version: int | None = None) -> list[dict[str, Any]]:
    """The versions of a model and their states, as JSON.

    Raises:
        NotFound: no such model or version.
    """
    try:
        found = engine.status(name)
    except NotFound:
        found = []
    if not found:
        raise NotFound(f"Could not find any versions of model {name}")
    found = [status for status in found if version in (None, status.version)]
    if not found:
        raise NotFound(f"Could not find version {version} of model {name}")
    return [
        {
            "version": str(status.version),
            "state": status.state,
            "status": {"error_code": "UNKNOWN" if status.error else "OK", "error_message": status.error},
        }
        for status in found
    ]
