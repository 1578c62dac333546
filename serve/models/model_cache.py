"""Models that are loaded when they are first run: keeps the most recently used in memory, at most a given number."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable

from bookserve.errors import BookserveError, Failed, NotReady
from serve.models.live_model import Batchers, LiveModel
from serve.observability.metrics import Metrics


class ModelCache:
    """Loads models on demand and releases the least recently used, so that one server can serve thousands."""

    def __init__(
        self, max_loaded: int, on_failure: Callable[[LiveModel, BookserveError], None], metrics: Metrics
    ) -> None:
        """At most ``max_loaded`` models are in memory at once (0: any number).

        ``on_failure`` is a bound method that is called with a model that cannot be loaded. It is held weakly, since its
        owner also owns the models that hold this cache.
        """
        self._max_loaded = max_loaded
        self._metrics = metrics
        self._on_failure = weakref.WeakMethod(on_failure)
        #: By identity, the least recently used first. Weak references: an unloaded model need not be removed here.
        self._loaded: OrderedDict[int, weakref.ref[LiveModel]] = OrderedDict()
        self._loading: dict[int, asyncio.Task[Batchers]] = {}
        self._one_by_one = asyncio.Lock()

    async def load(self, model: LiveModel) -> Batchers:
        """The batchers of ``model``, which is loaded first if it is not in memory.

        They are returned, since the model itself may have to release them at once.

        Raises:
            NotReady: it cannot be loaded.
        """
        if (found := self.batchers_in_memory(model)) is not None:
            return found
        self._metrics.count_cache_request(hit=False)
        key = id(model)
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.ensure_future(self._load(key, model))
            task.add_done_callback(lambda _: self._loading.pop(key, None))
        return await asyncio.shield(task)  # if one request is cancelled, the others still wait for the model

    def batchers_in_memory(self, model: LiveModel) -> Batchers | None:
        """The batchers of ``model``, which counts as used now; None if they are not in memory."""
        if model.batchers is None or id(model) not in self._loaded:
            return None
        self._loaded.move_to_end(id(model))
        self._metrics.count_cache_request(hit=True)
        return model.batchers

    async def _load(self, key: int, model: LiveModel) -> Batchers:
        async with self._one_by_one:
            self._loaded = OrderedDict((key, reference) for key, reference in self._loaded.items() if reference())
            while self._max_loaded and len(self._loaded) >= self._max_loaded:
                _, reference = self._loaded.popitem(last=False)
                if oldest := reference():
                    oldest.release()
                    self._metrics.count_eviction()
            start, code = time.perf_counter(), "failed"
            try:
                batchers = await asyncio.to_thread(model.open)
                code = "ok"
            except BookserveError as error:
                self._report(model, error)
                raise NotReady(f"model '{model.name}' could not be loaded: {error.message}", error.hint) from error
            except Exception as error:  # a broken file can break a runtime in any way
                failure = Failed(f"{model.bundle.path} cannot be loaded: {type(error).__name__}.")
                self._report(model, failure)
                raise NotReady(f"model '{model.name}' could not be loaded: {failure.message}") from error
            finally:
                self._metrics.count_cold_load(time.perf_counter() - start, code)
            self._loaded[key] = weakref.ref(model)
            return batchers

    def _report(self, model: LiveModel, error: BookserveError) -> None:
        if (on_failure := self._on_failure()) is not None:
            on_failure(model, error)
