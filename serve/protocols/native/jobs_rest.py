# ruff: noqa: TID253
"""The HTTP routes of jobs, below ``/api/jobs``: start, list, watch, fetch the picture, cancel.

============================  ==================================================================================
``POST /api/jobs``            a ``TransformRequest`` (``bookserve/api/requests.py``) → 202, the job
``GET /api/jobs``             all jobs
``GET /api/jobs/ID``          one job: state, step, steps, loss
``GET /api/jobs/ID/events``   server-sent events, one for each change; ``preview`` is a PNG, ``done`` marks the last
``GET /api/jobs/ID/result``   the picture as PNG (409 before the job is done)
``DELETE /api/jobs/ID``       cancel the job, or forget it if it has ended
============================  ==================================================================================
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bookserve.api.native_json import row_from_json
from bookserve.api.requests import TransformRequest, parse_request
from bookserve.errors import NotReady
from serve.jobs.job import Job
from serve.jobs.job_queue import JobQueue
from serve.jobs.job_store import RemoteJob
from serve.protocols.base import json_error
from serve.protocols.native.responses import json_response
from serve.transport.http.body import read_body
from serve.transport.http.streaming import EventStream


def routes(jobs: JobQueue) -> list[BaseRoute]:
    """All routes below ``/api/jobs``."""

    def requested_job(request: Request) -> Job | RemoteJob:
        return jobs.get(request.path_params["id"])

    async def start(request: Request) -> Response:
        body = parse_request(TransformRequest, await read_body(request))
        images = [row_from_json(image) for image in body.images]
        job = await jobs.start(msgspec.structs.replace(body, images=images))
        return json_response({"job": job.fields()}, 202, {"location": f"/api/jobs/{job.id}"})

    async def list_jobs(_: Request) -> Response:
        return json_response({"jobs": [job.fields() for job in jobs.list()]})

    async def describe(request: Request) -> Response:
        return json_response({"job": requested_job(request).fields()})

    async def events(request: Request) -> Response:
        return EventStream(_events(requested_job(request)))

    async def result(request: Request) -> Response:
        job = requested_job(request)
        if job.error:
            raise job.error
        picture = job.picture
        if picture is None:
            error = NotReady(f"the job '{job.id}' is {job.state}.", f"Watch /api/jobs/{job.id}/events")
            return json_error(error, 409)
        return Response(picture, media_type="image/png")

    async def cancel(request: Request) -> Response:
        return json_response({"job": jobs.cancel(request.path_params["id"]).fields()})

    return [
        Route("/api/jobs", start, methods=["POST"]),
        Route("/api/jobs", list_jobs),
        Route("/api/jobs/{id}", cancel, methods=["DELETE"]),
        Route("/api/jobs/{id}", describe),
        Route("/api/jobs/{id}/events", events),
        Route("/api/jobs/{id}/result", result),
    ]


async def _events(job: Job | RemoteJob) -> AsyncGenerator[bytes]:
    sent_preview = None
    async with aclosing(job.watch()) as changes:
        async for _ in changes:
            fields: dict[str, Any] = job.fields()
            if (preview := job.preview) is not sent_preview and preview is not None:
                sent_preview = preview
                fields["preview"] = {"b64": preview}  # msgspec writes bytes as base64
            if job.ended:
                fields["done"] = True
            yield b"data: %b\n\n" % msgspec.json.encode(fields)
