"""Queue: the jobs of one server, one at a time on its device, and what is kept of those that have ended.

A job's loop (``bookserve/generation/transform.py``) runs in a thread; every run of its graph goes through the engine
like anybody else's. Results stay in memory, within a number of bytes and an age.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext, suppress

import numpy as np

from bookserve.api.requests import TransformRequest
from bookserve.errors import BookserveError, Failed, InvalidInput, NotFound, Overloaded
from bookserve.formats.images import encode_png
from bookserve.generation.transform import Progress, adjusted, check_transform, prepared, resized, steps, watched
from bookserve.verb import Transform
from serve.engine import Engine
from serve.jobs.job import Job
from serve.jobs.job_store import POLL_SECONDS, JobStore, RemoteJob
from serve.models.live_model import LiveModel

#: Jobs that may wait behind the one that runs.
MAX_WAITING = 16
#: Bytes of pictures and seconds for which ended jobs are kept, and how many of them.
KEEP_BYTES, KEEP_SECONDS, KEEP_JOBS = 64 * 2**20, 3600, 256
#: Height in pixels of a preview.
PREVIEW_HEIGHT = 200

logger = logging.getLogger("bookserve")


class _Cancelled(Exception):  # noqa: N818 - no error: the way out of a loop in a thread
    """The job was cancelled."""


class JobQueue:
    """All jobs of one server. ``shelf`` is where its processes show theirs, ``clock`` the seconds by which they age."""

    def __init__(self, engine: Engine, shelf: JobStore | None = None, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._shelf = shelf
        self._clock = clock
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._waiting: deque[tuple[Job, LiveModel]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._heeding: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self, request: TransformRequest) -> Job:
        """Take a job on; it waits behind others.

        Raises:
            NotFound: no such model.
            InvalidInput: the model does not transform, or not these pictures with these parameters.
            Overloaded: too many jobs are waiting.
        """
        model = self._engine.model(request.model, request.version)
        verb = adjusted(model.bundle.verb(Transform), request.params)
        if not all(isinstance(image, bytes) for image in request.images):
            raise InvalidInput("images must be the bytes of picture files.", 'In JSON, send {"b64": "…"}.')
        self._check_room()
        pictures = await asyncio.to_thread(prepared, verb, request.images)
        check_transform(verb, pictures)
        self._check_room()  # others may have come meanwhile
        job = Job(model.name, model.version, verb, pictures, self._shelf.show if self._shelf else lambda job: None)
        self._jobs[job.id] = job
        job.change(steps=steps(verb, pictures))
        self._waiting.append((job, model))
        self.tidy()
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        if self._shelf and (self._heeding is None or self._heeding.done()):
            self._heeding = asyncio.create_task(self._heed(self._shelf))
        return job

    def list(self) -> list[Job | RemoteJob]:
        """Every job there is, oldest first."""
        self.tidy()
        return sorted(self._every(), key=lambda job: float(job.told()["created"]))

    def get(self, name: str) -> Job | RemoteJob:
        """The job of that id.

        Raises:
            NotFound: there is none, or no longer.
        """
        self.tidy()
        if name in self._jobs:
            return self._jobs[name]
        if self._shelf and name in self._shelf.names():
            return self._shelf.find(name)
        raise NotFound(f"there is no job '{name}'.", f"Results are kept for {KEEP_SECONDS // 60} minutes at most.")

    def cancel(self, name: str) -> Job | RemoteJob:
        """Stop a job that has not ended; forget one that has.

        Raises:
            NotFound: as for ``get``.
        """
        job = self.get(name)
        if job.ended:
            self._forget(name)
        elif isinstance(job, RemoteJob):
            if self._shelf:
                self._shelf.cancel(name)  # its process looks for that
            return job
        elif job.state == "queued":
            self._waiting = deque(item for item in self._waiting if item[0] is not job)
            job.change(state="cancelled")
        if isinstance(job, Job):
            job.cancelling = True
        return job

    def tidy(self) -> None:
        """Forget ended jobs that are too old, or that leave no room for newer ones."""
        if self._shelf:
            kept = self._shelf.names()
            for name in [name for name, job in self._jobs.items() if job.ended and name not in kept]:
                del self._jobs[name]  # another process has forgotten it
        ended = sorted((job for job in self._every() if job.ended), key=lambda job: -job.ended_at)
        room, now = KEEP_BYTES, self._clock()
        for number, job in enumerate(ended):
            room -= job.size
            if room < 0 or number >= KEEP_JOBS or now - job.ended_at > KEEP_SECONDS:
                self._forget(job.id)

    async def close(self) -> None:
        """Cancel every job and wait until the running one has noticed, at the end of its run of the graph."""
        self._closed = True
        for job in self._jobs.values():
            if not job.ended:
                job.cancelling = True
                if job.state == "queued":
                    job.change(state="cancelled")
        self._waiting.clear()
        if self._worker:
            await self._worker
        if self._heeding:
            self._heeding.cancel()

    def _check_room(self) -> None:
        if self._closed:
            raise Overloaded("the server is stopping.", "Try again once it is back.")
        waiting = sum(job.state == "queued" for job in self._every())
        if waiting >= MAX_WAITING:
            raise Overloaded(f"{waiting} jobs are waiting already.", "Try again later.")

    def _every(self) -> Iterator[Job | RemoteJob]:
        """The jobs of this process, and those of others."""
        yield from self._jobs.values()
        if self._shelf:
            for name in self._shelf.names() - self._jobs.keys():
                with suppress(NotFound):  # it has just been forgotten
                    yield self._shelf.find(name)

    def _forget(self, name: str) -> None:
        self._jobs.pop(name, None)
        if self._shelf:
            self._shelf.forget(name)

    async def _heed(self, shelf: JobStore) -> None:
        """Cancel what other processes were asked to cancel."""
        while live := [job for job in self._jobs.values() if not job.ended]:
            for job in live:
                if shelf.cancelled(job.id):
                    self.cancel(job.id)
            await asyncio.sleep(POLL_SECONDS)

    def _turn(self, job: Job) -> AbstractAsyncContextManager[None]:
        return self._shelf.turn(lambda: job.ended) if self._shelf else nullcontext()

    async def _work(self) -> None:
        while self._waiting:
            job, model = self._waiting.popleft()
            async with self._turn(job):
                if not job.ended:
                    await self._run(job, model)
            self.tidy()

    async def _run(self, job: Job, model: LiveModel) -> None:
        job.change(state="running")
        try:
            picture = await asyncio.to_thread(self._do, job, model, asyncio.get_running_loop())
            job.change(state="done", picture=picture)
        except _Cancelled:
            job.change(state="cancelled")
        except BookserveError as error:
            job.change(state="failed", error=error)
        except Exception:
            logger.exception("the job %s failed", job.id)
            job.change(state="failed", error=Failed("the server made a mistake.", "Its log says more."))

    def _do(self, job: Job, model: LiveModel, loop: asyncio.AbstractEventLoop) -> bytes:
        """The whole work of one job, in a thread; the PNG it makes."""
        if job.pictures is None:
            raise _Cancelled
        run = self._engine.runner(model, loop)

        def tell(progress: Progress) -> None:
            if job.cancelling:
                raise _Cancelled
            preview = job.preview if progress.picture is None else encode_png(_preview_size(progress.picture))
            news = {"step": progress.step, "steps": progress.steps, "loss": progress.loss, "preview": preview}
            loop.call_soon_threadsafe(lambda: job.change(**news))

        return encode_png(watched(job.verb, run, job.pictures, tell))


def _preview_size(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    if height <= PREVIEW_HEIGHT:
        return picture
    shrunk = resized(
        picture[None].astype(np.float32), (PREVIEW_HEIGHT, max(1, round(width * PREVIEW_HEIGHT / height)))
    )[0]
    small: np.ndarray = np.rint(shrunk).astype(np.uint8)
    return small
