"""Defines a job: one DeepDream or style transfer, with its state, progress and result."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from bookserve.errors import BookserveError
from bookserve.verb import Note, Transform

#: States in which a job has ended.
ENDED_STATES = ("done", "failed", "cancelled")


class Job:
    """One job. Only ``cancelling`` may be used from other threads than the event loop's."""

    def __init__(
        self,
        model: str,
        version: int,
        verb: Transform,
        pictures: np.ndarray,
        on_change: Callable[[Job], None] = lambda job: None,
        notes: Sequence[Note] = (),
    ) -> None:
        """``on_change`` is called after every change; ``notes`` are what a reader of the result should know."""
        self.notes = tuple(notes)
        self.id = secrets.token_urlsafe(9)
        self.model, self.version = model, version
        self.verb = verb
        #: uint8 [1 or 2, height, width, 3]; None after the job has ended.
        self.pictures: np.ndarray | None = pictures
        #: ``queued``, ``running`` or one of ``ENDED_STATES``.
        self.state = "queued"
        self.step = self.steps = 0
        self.loss: float | None = None
        #: PNG of the latest stage, and of the result.
        self.preview: bytes | None = None
        self.picture: bytes | None = None
        self.error: BookserveError | None = None
        #: Whether the job shall stop; checked between two runs of the graph.
        self.cancelling = False
        self.created, self.ended_at = time.time(), 0.0
        self._changed = asyncio.Event()
        self._on_change = on_change

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""
        return self.state in ENDED_STATES

    @property
    def size(self) -> int:
        """Bytes of the pictures that are kept after the job has ended."""
        return len(self.picture or b"") + len(self.preview or b"")

    def update(self, **fields: Any) -> None:
        """Set attributes, and wake all watchers."""
        for name, value in fields.items():
            setattr(self, name, value)
        if self.ended and not self.ended_at:
            self.ended_at, self.pictures = time.time(), None
        self._on_change(self)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def watch(self) -> AsyncGenerator[None]:
        """Yield now and after every change, for the last time when the job has ended. Slow watchers miss changes."""
        while True:
            changed, ended = self._changed, self.ended  # the job may change while the watcher runs
            yield
            if ended:
                return
            await changed.wait()

    def fields(self) -> dict[str, Any]:
        """The JSON fields of the job, without pictures."""
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
        if self.notes:
            fields["notes"] = msgspec.to_builtins(self.notes)
        if self.error:
            fields["error"] = error_fields(self.error)
        return fields


def error_fields(error: BookserveError) -> dict[str, str]:
    """The JSON fields of an error."""
    return {"code": error.code, "message": error.message, "hint": error.hint}
