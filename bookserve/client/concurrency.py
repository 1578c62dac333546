"""Call a function for many items with a bounded number of threads, and give the results in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(function: Callable[[Item], Result], items: Iterator[Item], workers: int) -> Iterator[Result]:
    """The results of ``function`` for all items, in their order, with up to ``workers`` calls at the same time.

    At most ``workers`` items are taken before their results are. A single item is handled in the caller's thread.
    The first error ends it; calls that are running then end by themselves, and nobody waits for them (as at Ctrl-C).
    """
    first = next(items, None)
    second = next(items, None) if first is not None and workers > 1 else None
    if first is not None and second is None:
        yield function(first)
        yield from map(function, items)
    if first is None or second is None:
        return
    running = deque([_Call(function, first), _Call(function, second)])
    more = True
    while running:
        while more and len(running) < workers:
            item = next(items, None)
            more = item is not None
            if item is not None:
                running.append(_Call(function, item))
        yield running.popleft().result()


class _Call(threading.Thread, Generic[Item, Result]):
    """One call in a thread of its own, which does not keep the program from ending."""

    def __init__(self, function: Callable[[Item], Result], item: Item) -> None:
        super().__init__(daemon=True)
        self._function, self._item = function, item
        self._results: list[Result] = []
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._results.append(self._function(self._item))
        except BaseException as error:  # handed to whoever asks for the result
            self._error = error

    def result(self) -> Result:
        self.join()
        if self._error:
            raise self._error
        return self._results[0]
