"""Control: which models are loaded, for those doors whose protocol lets clients change it.

The narrow waist between the protocols and the repository; loading happens in a thread, so that the event loop goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from bookserve.errors import InvalidInput
from serve.repository import Repository, VersionStatus


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One model as TensorFlow Serving's ``models.config`` describes it."""

    name: str
    #: The directory that holds its versions.
    path: str
    #: The newest so many; 0 means all of them.
    latest: int = 1
    #: These versions and no others.
    specific: tuple[int, ...] = ()
    labels: dict[str, int] = {}


class Known(NamedTuple):
    """A version that lies on disk or is loaded, and its state."""

    name: str
    status: VersionStatus


class Control(Protocol):
    """What a client may do where the operator allows it."""

    async def index(self) -> list[Known]:
        """All versions of all models that lie on disk or are loaded, by name and version."""

    async def load(self, name: str) -> None:
        """Load the newest version of a model that lies on disk, anew where it is loaded.

        Raises:
            NotFound: no such model.
            NotReady: it cannot be loaded; what was loaded before goes on.
        """

    async def unload(self, name: str) -> None:
        """Let go of all versions of a model; requests that run already are answered.

        Raises:
            NotFound: no version of it is loaded.
        """

    async def reload(self, sources: Sequence[Source]) -> None:
        """Serve these models and no others.

        Raises:
            InvalidInput: the sources cannot be served together.
            NotReady: one cannot be loaded.
        """


class DirectoryControl:
    """Control of a repository that serves the models of one directory."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def index(self) -> list[Known]:
        """See ``Control.index``."""
        found = await asyncio.to_thread(self._repository.index)
        return [Known(name, status) for name, status in found]

    async def load(self, name: str) -> None:
        """See ``Control.load``."""
        await asyncio.to_thread(self._repository.load_newest, name)

    async def unload(self, name: str) -> None:
        """See ``Control.unload``."""
        self._repository.unload(name)

    async def reload(self, sources: Sequence[Source]) -> None:
        """See ``Control.reload``; a directory of models has no sources."""
        raise InvalidInput("this server serves one directory of models.", "Load and unload models there.")
