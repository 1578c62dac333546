"""Job: one picture being changed – what was asked, how far it is, what came of it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import numpy as np

from bookserve.errors import BookserveError
from bookserve.verb import Transform

#: States in which a job has come to its end.
ENDED_STATES = ("done", "failed", "cancelled")


class Job:
    """One job. All but ``cancelling`` belongs to the event loop's thread."""

    def __init__(
        self,
        model: str,
        version: int,
        verb: Transform,
        pictures: np.ndarray,
        show: Callable[[Job], None] = lambda job: None,
    ) -> None:
        """``show`` is called after every change."""
        self.id = secrets.token_urlsafe(9)
        self.model, self.version = model, version
        self.verb = verb
        #: uint8 [1 or 2, height, width, 3]; let go of at the end.
        self.pictures: np.ndarray | None = pictures
        #: ``queued``, ``running`` or one of ``ENDED``.
        self.state = "queued"
        self.step = self.steps = 0
        self.loss: float | None = None
        #: PNG of the newest stage, and of the result.
        self.preview: bytes | None = None
        self.picture: bytes | None = None
        self.error: BookserveError | None = None
        #: Asked to stop; looked at between two runs of the graph.
        self.cancelling = False
        self.created, self.ended_at = time.time(), 0.0
        self._changed = asyncio.Event()
        self._show = show

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED_STATES

    @property
    def size(self) -> int:
        """Bytes that it keeps once it has ended."""
        return len(self.picture or b"") + len(self.preview or b"")

    def change(self, **fields: Any) -> None:
        """Set attributes and wake whoever watches."""
        for name, value in fields.items():
            setattr(self, name, value)
        if self.ended and not self.ended_at:
            self.ended_at, self.pictures = time.time(), None
        self._show(self)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def watch(self) -> AsyncGenerator[None]:
        """Yield now and after every change, for the last time when it has ended; slow watchers miss some in between."""
        while True:
            changed, ended = self._changed, self.ended  # it may change while the watcher looks
            yield
            if ended:
                return
            await changed.wait()

    def told(self) -> dict[str, Any]:
        """What is told of it, without pictures."""
        fields: dict[str, Any] = {
            "id": self.id,
            "model": self.model,
            "version": self.version,
            "state": self.state,
            "step": self.step,
            "steps": self.steps,
            "loss": self.loss,
            "created": round(self.created, 3),
        }
        if self.error:
            fields["error"] = error_fields(self.error)
        return fields


def error_fields(error: BookserveError) -> dict[str, str]:
    """What is told of an error."""
    return {"code": error.code, "message": error.message, "hint": error.hint}
