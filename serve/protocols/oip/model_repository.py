"""Repository: Triton's extension by which clients list, load and unload models, where the operator allows it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from bookserve.errors import InvalidInput, NotFound
from serve.engine import Engine
from serve.security.access_policy import AccessPolicy

_STATES = {"AVAILABLE": "READY", "START": "LOADING", "LOADING": "LOADING", "UNLOADING": "UNLOADING"}


class ModelRepository:
    """The three calls, each refused where the operator did not allow control."""

    def __init__(self, engine: Engine, policy: AccessPolicy) -> None:
        self._engine = engine
        self._policy = policy

    async def index(self, ready: bool = False) -> list[dict[str, str]]:
        """All versions that lie on disk or are loaded; with ``ready`` only those that can be asked.

        Raises:
            Forbidden: control is not allowed.
        """
        self._policy.check_control()
        listed = [
            {
                "name": name,
                "version": str(status.version),
                "state": _STATES.get(status.state, "UNAVAILABLE"),
                "reason": status.error or ("" if status.state in _STATES else "unloaded"),
            }
            for name, status in await self._engine.index()
        ]
        return [item for item in listed if item["state"] == "READY" or not ready]

    async def load(self, name: str, parameters: Collection[str]) -> None:
        """Load a model's newest version.

        Raises:
            Forbidden: control is not allowed.
            InvalidInput: parameters that would change the model.
            NotFound, NotReady: see ``Engine.load``.
        """
        self._policy.check_control()
        for parameter in parameters:  # a configuration or files of the client's own
            raise InvalidInput(f"the parameter '{parameter[:64]}' is not supported.", "Models are what lies on disk.")
        try:
            await self._engine.load(name)
        except NotFound as error:
            raise NotFound(f"Request for unknown model: '{name}' is not found.", error.hint) from error

    async def unload(self, name: str) -> None:
        """Let go of all versions of a model. There are no dependents here that could go with it.

        Raises:
            Forbidden: control is not allowed.
            NotFound: it is not loaded.
        """
        self._policy.check_control()
        try:
            await self._engine.unload(name)
        except NotFound as error:
            raise NotFound(f"Request for unknown model: '{name}' is not found.", error.hint) from error


def body_parameters(document: Any) -> dict[str, Any]:
    """The parameters in the body of a request to load or unload.

    Raises:
        InvalidInput: it is no object, or they are none.
    """
    found = document.get("parameters", {}) if type(document) is dict else None
    if type(found) is not dict:
        raise InvalidInput("the body is not a JSON object whose 'parameters' are one.", "Send {} or nothing.")
    return found
