"""Resident: which of the models that are loaded when first run are in memory – at most so many, the latest used."""

from __future__ import annotations

import asyncio
import weakref
from collections import OrderedDict
from collections.abc import Callable

from bookserve.errors import BookserveError, Failed, NotReady
from serve.models.live_model import Batchers, LiveModel


class ModelCache:
    """Opens models on demand and lets the least recently used rest, so that thousands can be served."""

    def __init__(self, most: int, failed: Callable[[LiveModel, BookserveError], None]) -> None:
        """At most ``most`` models are open at once (0: any number).

        ``failed`` is a bound method that is called with a model that cannot be opened. It is held weakly, since its
        owner also owns the models that hold this cache.
        """
        self._most = most
        self._failed = weakref.WeakMethod(failed)
        #: By identity, the longest unused first; weakly, since whoever unloads a model shall not need to say so here.
        self._open: OrderedDict[int, weakref.ref[LiveModel]] = OrderedDict()
        self._opening: dict[int, asyncio.Task[Batchers]] = {}
        self._one_by_one = asyncio.Lock()

    async def __call__(self, model: LiveModel) -> Batchers:
        """Have ``model`` in memory. Its graphs are given, since it may have to make room at once.

        Raises:
            NotReady: it cannot be loaded.
        """
        if (found := self.at_hand(model)) is not None:
            return found
        key = id(model)
        task = self._opening.get(key)
        if task is None:
            task = self._opening[key] = asyncio.ensure_future(self._load(key, model))
            task.add_done_callback(lambda _: self._opening.pop(key, None))
        return await asyncio.shield(task)  # whoever leaves does not take it from the others

    def at_hand(self, model: LiveModel) -> Batchers | None:
        """The graphs of ``model`` if they are in memory; it counts as used now."""
        if model.batchers is None or id(model) not in self._open:
            return None
        self._open.move_to_end(id(model))
        return model.batchers

    async def _load(self, key: int, model: LiveModel) -> Batchers:
        async with self._one_by_one:
            self._open = OrderedDict((key, held) for key, held in self._open.items() if held())
            while self._most and len(self._open) >= self._most:
                _, held = self._open.popitem(last=False)
                if oldest := held():
                    oldest.rest()
            try:
                batchers = await asyncio.to_thread(model.open)
            except BookserveError as error:
                self._report(model, error)
                raise NotReady(f"model '{model.name}' could not be loaded: {error.message}", error.hint) from error
            except Exception as error:  # a broken file can break a runtime in any way
                broken = Failed(f"{model.bundle.path} cannot be loaded: {type(error).__name__}.")
                self._report(model, broken)
                raise NotReady(f"model '{model.name}' could not be loaded: {broken.message}") from error
            self._open[key] = weakref.ref(model)
            return batchers

    def _report(self, model: LiveModel, error: BookserveError) -> None:
        if (failed := self._failed()) is not None:
            failed(model, error)
