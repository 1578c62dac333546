"""Runs the jobs of one server one after the other, and keeps the results of those that have ended for a while.

The loop of a job (``bookserve/generation/transform.py``) runs in a thread; every run of its graph goes through the
engine like the runs of other requests. Results stay in memory, limited by size, number and age.
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
from bookserve.bundle.notes import model_notes
from bookserve.errors import BookserveError, Failed, InvalidInput, NotFound, Overloaded
from bookserve.generation.transform import (
    Progress,
    check_transform,
    count_runs,
    prepare_pictures,
    resize_images,
    transform_with_progress,
    with_parameters,
)
from bookserve.images import encode_png
from bookserve.verb import Transform
from serve.engine import Engine
from serve.jobs.job import Job
from serve.jobs.job_store import POLL_SECONDS, JobStore, RemoteJob
from serve.models.live_model import LiveModel
from serve.request_context import CURRENT, RequestContext

#: Most jobs that may wait.
MAX_WAITING = 16
#: Limits on ended jobs that are kept: bytes of pictures, age in seconds, number.
KEEP_BYTES, KEEP_SECONDS, KEEP_JOBS = 64 * 2**20, 3600, 256
#: Maximum height of a preview in pixels.
PREVIEW_HEIGHT = 200

logger = logging.getLogger("bookserve")


class _Cancelled(Exception):  # noqa: N818 - not an error: it ends the loop in the thread
    """The job was cancelled."""


class JobQueue:
    """All jobs of one server. Worker processes share jobs through ``store``; ``clock`` gives Unix time in seconds."""

    def __init__(self, engine: Engine, store: JobStore | None = None, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._store = store
        self._clock = clock
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._waiting: deque[tuple[Job, LiveModel, RequestContext]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._cancel_watcher: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self, request: TransformRequest) -> Job:
        """Queue a job.

        Raises:
            NotFound: no such model.
            InvalidInput: the model does not transform pictures, or the pictures or parameters are invalid.
            Overloaded: too many jobs are waiting, or the server is stopping.
        """
        model = self._engine.model(request.model, request.version)
        verb = with_parameters(model.bundle.verb(Transform), request.params)
        if not all(isinstance(image, bytes) for image in request.images):
            raise InvalidInput("images must be the bytes of picture files.", 'In JSON, send {"b64": "…"}.')
        self._check_accepts()
        pictures = await asyncio.to_thread(prepare_pictures, verb, request.images)
        check_transform(verb, pictures)
        self._check_accepts()  # other jobs may have been queued in the meantime
        on_change = self._store.publish if self._store else lambda job: None
        job = Job(model.name, model.version, verb, pictures, on_change, model_notes(model.bundle))
        self._jobs[job.id] = job
        job.update(steps=count_runs(verb, pictures))
        origin = CURRENT.get()  # a job goes on when its request's connection is closed, and after its deadline
        self._waiting.append((job, model, RequestContext(origin.protocol, origin.id, priority=origin.priority)))
        self.tidy()
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        if self._store and (self._cancel_watcher is None or self._cancel_watcher.done()):
            self._cancel_watcher = asyncio.create_task(self._watch_cancel_requests(self._store))
        return job

    def list(self) -> list[Job | RemoteJob]:
        """All jobs, oldest first."""
        self.tidy()
        return sorted(self._all_jobs(), key=lambda job: float(job.fields()["created"]))

    def get(self, name: str) -> Job | RemoteJob:
        """The job of that id.

        Raises:
            NotFound: there is no such job, or no longer.
        """
        self.tidy()
        if name in self._jobs:
            return self._jobs[name]
        if self._store and name in self._store.names():
            return self._store.job(name)
        raise NotFound(f"there is no job '{name}'.", f"Results are kept for {KEEP_SECONDS // 60} minutes at most.")

    def cancel(self, name: str) -> Job | RemoteJob:
        """Stop a job that has not ended, or forget one that has.

        Raises:
            NotFound: see ``get``.
        """
        job = self.get(name)
        if job.ended:
            self._forget(name)
        elif isinstance(job, RemoteJob):
            if self._store:
                self._store.request_cancel(name)  # the process that runs it polls for this
            return job
        elif job.state == "queued":
            self._waiting = deque(item for item in self._waiting if item[0] is not job)
            job.update(state="cancelled")
        if isinstance(job, Job):
            job.cancelling = True
        return job

    def tidy(self) -> None:
        """Forget ended jobs that are too old, and the oldest ones beyond the limits."""
        if self._store:
            kept = self._store.names()
            for name in [name for name, job in self._jobs.items() if job.ended and name not in kept]:
                del self._jobs[name]  # another process has removed it
        ended = sorted((job for job in self._all_jobs() if job.ended), key=lambda job: -job.ended_at)
        bytes_left, now = KEEP_BYTES, self._clock()
        for number, job in enumerate(ended):
            bytes_left -= job.size
            if bytes_left < 0 or number >= KEEP_JOBS or now - job.ended_at > KEEP_SECONDS:
                self._forget(job.id)

    async def close(self) -> None:
        """Cancel all jobs, and wait until the running one has stopped after its current run of the graph."""
        self._closed = True
        for job in self._jobs.values():
            if not job.ended:
                job.cancelling = True
                if job.state == "queued":
                    job.update(state="cancelled")
        self._waiting.clear()
        if self._worker:
            await self._worker
        if self._cancel_watcher:
            self._cancel_watcher.cancel()

    def _check_accepts(self) -> None:
        if self._closed:
            raise Overloaded("the server is stopping.", "Retry when it is running again.")
        waiting = sum(job.state == "queued" for job in self._all_jobs())
        if waiting >= MAX_WAITING:
            raise Overloaded(f"{waiting} jobs are waiting already.", "Retry later.")

    def _all_jobs(self) -> Iterator[Job | RemoteJob]:
        """The jobs of this process and of the others."""
        yield from self._jobs.values()
        if self._store:
            for name in self._store.names() - self._jobs.keys():
                with suppress(NotFound):  # it has just been removed
                    yield self._store.job(name)

    def _forget(self, name: str) -> None:
        self._jobs.pop(name, None)
        if self._store:
            self._store.remove(name)

    async def _watch_cancel_requests(self, store: JobStore) -> None:
        """Cancel jobs of this process whose cancellation was requested in another one."""
        while live := [job for job in self._jobs.values() if not job.ended]:
            for job in live:
                if store.cancel_requested(job.id):
                    self.cancel(job.id)
            await asyncio.sleep(POLL_SECONDS)

    def _run_lock(self, job: Job) -> AbstractAsyncContextManager[None]:
        return self._store.run_lock(lambda: job.ended) if self._store else nullcontext()

    async def _work(self) -> None:
        while self._waiting:
            job, model, context = self._waiting.popleft()
            CURRENT.set(context)
            async with self._run_lock(job):
                if not job.ended:
                    await self._run(job, model)
            self.tidy()

    async def _run(self, job: Job, model: LiveModel) -> None:
        job.update(state="running")
        try:
            picture = await asyncio.to_thread(self._transform, job, model, asyncio.get_running_loop())
            job.update(state="done", picture=picture)
        except _Cancelled:
            job.update(state="cancelled")
        except BookserveError as error:
            job.update(state="failed", error=error)
        except Exception:
            logger.exception("the job %s failed", job.id)
            job.update(state="failed", error=Failed("the server made a mistake.", "Its log says more."))

    def _transform(self, job: Job, model: LiveModel, loop: asyncio.AbstractEventLoop) -> bytes:
        """Do the work of one job, in a thread; the result as PNG."""
        if job.pictures is None:
            raise _Cancelled
        run = self._engine.runner(model, loop)

        def report(progress: Progress) -> None:
            if job.cancelling:
                raise _Cancelled
            preview = job.preview if progress.picture is None else encode_png(_preview_size(progress.picture))
            fields = {"step": progress.step, "steps": progress.steps, "loss": progress.loss, "preview": preview}
            loop.call_soon_threadsafe(lambda: job.update(**fields))

        return encode_png(transform_with_progress(job.verb, run, job.pictures, report))


def _preview_size(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    if height <= PREVIEW_HEIGHT:
        return picture
    shrunk = resize_images(
        picture[None].astype(np.float32), (PREVIEW_HEIGHT, max(1, round(width * PREVIEW_HEIGHT / height)))
    )[0]
    small: np.ndarray = np.rint(shrunk).astype(np.uint8)
    return small
