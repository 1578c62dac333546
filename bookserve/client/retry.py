"""Try a call again where that may help, after a growing pause of random length.

A wire says which errors may be retried by raising ``TryAgain``: the server could not be reached, or it answered that it
is busy or not ready (HTTP 429 and 503, gRPC UNAVAILABLE and RESOURCE_EXHAUSTED). All calls that are retried only read.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from bookserve.errors import BookserveError

#: Seconds of the first pause, and of the longest.
FIRST, LONGEST = 0.1, 10.0

Result = TypeVar("Result")


class TryAgain(Exception):  # noqa: N818 - it never leaves the client
    """An error after which the same call may succeed. ``after``: seconds that the server asks to wait."""

    def __init__(self, error: BookserveError, after: float = 0.0) -> None:
        super().__init__(str(error))
        self.error = error
        self.after = after


class RetryPolicy:
    """How often a call is tried again, and for how long altogether. Threads may share one."""

    def __init__(self, retries: int, timeout: float, sleep: Callable[[float], None] = time.sleep) -> None:
        self._retries = retries
        self._timeout = timeout
        self._sleep = sleep
        self._random = random.Random()  # noqa: S311 - the pauses are no secret

    def call(self, attempt: Callable[[float], Result]) -> Result:
        """The result of ``attempt``, which gets the seconds that are left for it.

        Raises:
            BookserveError: what the last attempt raised.
        """
        end = time.monotonic() + self._timeout
        for tried in range(self._retries + 1):
            try:
                return attempt(max(end - time.monotonic(), 1e-6))
            except TryAgain as failed:
                # Between half and the whole pause, so that clients that failed together do not return together.
                pause = max(min(FIRST * 2**tried, LONGEST) * self._random.uniform(0.5, 1), failed.after)
                if tried == self._retries or time.monotonic() + pause >= end:
                    raise failed.error from failed.__cause__
            self._sleep(pause)
        raise AssertionError("unreachable")
