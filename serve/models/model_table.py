"""The live versions of all models by name and version: where composites find their members.

The table is a leaf. The repository owns the models and fills the table; composites, which belong to models, only read
it. So the table refers to models, and to the function that loads a missing version, by weak references: an unloaded
model is freed with its last request, without the garbage collector.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Protocol

from bookserve.bundle import Bundle
from bookserve.errors import NotFound
from bookserve.graph import Arrays


class MemberModel(Protocol):
    """What a composite needs of another model; a ``LiveModel`` has it."""

    bundle: Bundle

    async def run(self, graph: str, feeds: Arrays, rows: int) -> Arrays:
        """See ``LiveModel.run``."""


#: Finds a live model by name and version.
FindModel = Callable[[str, int], MemberModel]


class ModelTable:
    """Live models by name and version."""

    def __init__(self, load_missing: FindModel) -> None:
        """``load_missing`` is a bound method that loads a version that is not live, or says why it cannot: composites
        name the versions that they were verified with, and need them whatever the version policy is."""
        self._load_missing = weakref.WeakMethod(load_missing)
        self._live: dict[tuple[str, int], weakref.ref[MemberModel]] = {}

    def put(self, name: str, version: int, model: MemberModel | None) -> None:
        """Make ``model`` the live version of that name and number; None: there is none any more."""
        if model is None:
            self._live.pop((name, version), None)
        else:
            self._live[name, version] = weakref.ref(model)

    def find_model(self, name: str, version: int) -> MemberModel:
        """The live model, which is loaded first if it may be.

        Raises:
            NotFound: there is no such model or version.
            NotReady: it exists but could not be loaded; the message says why.
        """
        reference = self._live.get((name, version))
        if reference is not None and (model := reference()) is not None:
            return model
        load_missing = self._load_missing()
        if load_missing is None:
            raise NotFound(f"model '{name}' is not loaded.", "The server is stopping.")
        return load_missing(name, version)
