"""Call: what is known of the request at hand beside its content – which protocol, how urgent, whether still wanted.

A protocol's face sets it once for each request; engine and batcher read it. It travels with the task, so that no door
needs to hand it on, except where there is none: ``submit`` is given it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

from bookserve.errors import InvalidInput, Overloaded

if TYPE_CHECKING:
    from serve.observability.traces import Trace

#: Priorities: what waits is run in this order.
PRIORITIES = ("high", "normal", "low")
NORMAL = 1


class DeadlineExceeded(Overloaded):
    """The caller's time was over before its turn came; nothing was run."""


class ClientDisconnected(DeadlineExceeded):
    """The caller has left before its turn came; nothing was run."""


class RequestContext:
    """One request."""

    __slots__ = ("deadline", "gone", "id", "priority", "protocol", "trace")

    def __init__(
        self,
        protocol: str = "",
        id: str = "",
        deadline: float | None = None,
        priority: int = NORMAL,
        gone: Callable[[], bool] | None = None,
    ) -> None:
        """``deadline`` is in seconds of ``time.perf_counter``; ``gone`` tells whether the caller has left."""
        self.protocol = protocol
        self.id = id
        self.deadline = deadline
        self.priority = priority
        self.gone = gone
        #: Where it is recorded how long what took; None where it is not.
        self.trace: Trace | None = None

    def dropped(self, now: float) -> DeadlineExceeded | None:
        """Why this request need not be run any more, if so."""
        if self.deadline is not None and now >= self.deadline:
            return DeadlineExceeded(
                "Request timeout expired: the request waited longer than it may.", "Allow more time."
            )
        if self.gone is not None and self.gone():
            return ClientDisconnected("the client left before its turn came.")
        return None


#: What is asked where no face said more: by the program itself, or by a test.
UNKNOWN = RequestContext()
CURRENT: ContextVar[RequestContext] = ContextVar("call", default=UNKNOWN)


def parse_deadline(seconds: str) -> float:
    """The deadline of a request that may take so many seconds.

    Raises:
        InvalidInput: not a positive number.
    """
    try:
        allowed = float(seconds)
    except ValueError:
        allowed = 0.0
    if not 0 < allowed < 1e9:
        raise InvalidInput(f"the timeout '{seconds[:40]}' is not a positive number of seconds.")
    return time.perf_counter() + allowed


def parse_priority(name: str) -> int:
    """The number of a priority.

    Raises:
        InvalidInput: there is none of that name.
    """
    if name.lower() not in PRIORITIES:
        raise InvalidInput(f"'{name[:40]}' is no priority.", f"Use {', '.join(PRIORITIES)}.")
    return PRIORITIES.index(name.lower())
