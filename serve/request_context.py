"""What the server knows of a request beside its content: the protocol, how urgent it is, whether it is still wanted.

A protocol sets it once for each request; engine, batcher and logs read it. It travels with the task in the context
variable ``CURRENT``. ``submit`` has no task, so it takes the context as an argument.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

from bookserve.errors import InvalidInput, Overloaded

if TYPE_CHECKING:
    from serve.observability.traces import Trace

#: Requests that wait are run in this order.
PRIORITIES = ("high", "normal", "low")
NORMAL = 1


class DeadlineExceeded(Overloaded):
    """The request's deadline passed before its run; nothing was run."""


class ClientDisconnected(DeadlineExceeded):
    """The client disconnected before its run; nothing was run."""


class RequestContext:
    """One request. ``id`` is its ``X-Request-ID``."""

    __slots__ = ("deadline", "gone", "id", "priority", "protocol", "trace")

    def __init__(
        self,
        protocol: str = "",
        id: str = "",
        deadline: float | None = None,
        priority: int = NORMAL,
        gone: Callable[[], bool] | None = None,
    ) -> None:
        """``deadline`` is in seconds of ``time.perf_counter``; ``gone`` says whether the client has disconnected."""
        self.protocol = protocol
        self.id = id
        self.deadline = deadline
        self.priority = priority
        self.gone = gone
        #: Records how long each part of the request took; None if the request is not traced.
        self.trace: Trace | None = None

    def drop_reason(self, now: float) -> DeadlineExceeded | None:
        """Why this request need not be run any more; None if it is still wanted. ``now`` as in ``deadline``."""
        if self.deadline is not None and now >= self.deadline:
            return DeadlineExceeded(
                "Request timeout expired: the request waited longer than it may.", "Allow more time."
            )
        if self.gone is not None and self.gone():
            return ClientDisconnected("the client left before its turn came.")
        return None


#: The context of a run that no protocol started: one of the program itself, or of a test.
UNKNOWN = RequestContext()
CURRENT: ContextVar[RequestContext] = ContextVar("request", default=UNKNOWN)


def parse_deadline(seconds: str) -> float:
    """The deadline of a request that may take ``seconds`` from now, in seconds of ``time.perf_counter``.

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
    """The place of a priority in ``PRIORITIES``.

    Raises:
        InvalidInput: there is no priority of that name.
    """
    if name.lower() not in PRIORITIES:
        raise InvalidInput(f"'{name[:40]}' is not a priority.", f"Use {', '.join(PRIORITIES)}.")
    return PRIORITIES.index(name.lower())
