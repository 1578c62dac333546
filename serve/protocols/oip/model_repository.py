"""Triton's model repository extension: clients list models; if the operator allows it, they load and unload them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from bookserve.errors import InvalidInput, NotFound
from serve.engine import Engine
from serve.protocols.oip.request import drop_nulls
from serve.security.access_policy import AccessPolicy

_STATES = {"AVAILABLE": "READY", "START": "LOADING", "LOADING": "LOADING", "UNLOADING": "UNLOADING"}


class ModelRepository:
    """Index, load and unload. What changes models is refused unless the server was started with ``--model-control``."""

    def __init__(self, engine: Engine, policy: AccessPolicy) -> None:
        self._engine = engine
        self._policy = policy

    async def index(self, ready: bool = False) -> list[dict[str, str]]:
        """All versions that the server knows; with ``ready`` only those that answer requests.

        With model control also those that are on disk only, for which directories are read.
        """
        if self._policy.control:
            versions = await self._engine.index()
        else:
            versions = [(name, status) for name in self._engine.names() for status in self._engine.status(name)]
        listed = [
            {
                "name": name,
                "version": str(status.version),
                "state": _STATES.get(status.state, "UNAVAILABLE"),
                "reason": status.error or ("" if status.state in _STATES else "unloaded"),
            }
            for name, status in versions
        ]
        return [item for item in listed if item["state"] == "READY" or not ready]

    async def load(self, name: str, parameters: Collection[str]) -> None:
        """Load a model's newest version.

        Raises:
            Forbidden: model control is not allowed.
            InvalidInput: there are parameters, such as a configuration or files; none is supported.
            NotFound, NotReady: see ``Engine.load``.
        """
        self._policy.check_control()
        for parameter in parameters:
            raise InvalidInput(
                f"the parameter '{parameter[:64]}' is not supported.", "Models are loaded from disk only, as they are."
            )
        try:
            await self._engine.load(name)
        except NotFound as error:
            raise NotFound(f"Request for unknown model: '{name}' is not found.", error.hint) from error

    async def unload(self, name: str) -> None:
        """Unload all versions of a model.

        Raises:
            Forbidden: model control is not allowed.
            NotFound: it is not loaded.
        """
        self._policy.check_control()
        try:
            await self._engine.unload(name)
        except NotFound as error:
            raise NotFound(f"Request for unknown model: '{name}' is not found.", error.hint) from error


def body_parameters(document: Any) -> dict[str, Any]:
    """The ``parameters`` in the body of a load or unload request.

    Raises:
        InvalidInput: the body or its parameters are not a JSON object.
    """
    parameters = drop_nulls(document).get("parameters", {}) if type(document) is dict else None
    if type(parameters) is not dict:
        raise InvalidInput("the body and its 'parameters' must be JSON objects.", "Send {} or no body.")
    return parameters
