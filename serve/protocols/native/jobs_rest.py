# ruff: noqa: TID253
"""Jobs over HTTP, under ``/api/jobs``: start, list, watch by server-sent events, fetch the picture, cancel.

============================  ==================================================================================
``POST /api/jobs``            a ``TransformRequest`` (``bookserve/api/requests.py``) → 202, the job
``GET /api/jobs``             every job
``GET /api/jobs/ID``          one job: state, step of steps, loss
``GET /api/jobs/ID/events``   the same whenever it changes; ``preview`` is a PNG after each stage, ``done`` the last
``GET /api/jobs/ID/result``   the picture, a PNG (409 before it is done)
``DELETE /api/jobs/ID``       cancel, or forget once it has ended
============================  ==================================================================================
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
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


def routes(jobs: JobQueue) -> list[BaseRoute]:
    """Everything under ``/api/jobs``."""

    def job(request: Request) -> Job | RemoteJob:
        return jobs.get(request.path_params["id"])

    async def start(request: Request) -> Response:
        asked = parse_request(TransformRequest, await read_body(request))
        images = [row_from_json(image) for image in asked.images]
        begun = await jobs.start(msgspec.structs.replace(asked, images=images))
        return json_response({"job": begun.told()}, 202, {"location": f"/api/jobs/{begun.id}"})

    async def every(_: Request) -> Response:
        return json_response({"jobs": [found.told() for found in jobs.list()]})

    async def one(request: Request) -> Response:
        return json_response({"job": job(request).told()})

    async def events(request: Request) -> Response:
        return StreamingResponse(
            _events(job(request)), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )

    async def result(request: Request) -> Response:
        found = job(request)
        if found.error:
            raise found.error
        picture = found.picture
        if picture is None:
            error = NotReady(f"the job '{found.id}' is {found.state}.", f"Watch /api/jobs/{found.id}/events")
            return json_error(error, 409)
        return Response(picture, media_type="image/png")

    async def cancel(request: Request) -> Response:
        return json_response({"job": jobs.cancel(request.path_params["id"]).told()})

    return [
        Route("/api/jobs", start, methods=["POST"]),
        Route("/api/jobs", every),
        Route("/api/jobs/{id}", cancel, methods=["DELETE"]),
        Route("/api/jobs/{id}", one),
        Route("/api/jobs/{id}/events", events),
        Route("/api/jobs/{id}/result", result),
    ]


async def _events(job: Job | RemoteJob) -> AsyncIterator[bytes]:
    shown = None
    async with aclosing(job.watch()) as changes:
        async for _ in changes:
            fields: dict[str, Any] = job.told()
            if (preview := job.preview) is not shown and preview is not None:
                shown = preview
                fields["preview"] = {"b64": shown}  # msgspec writes bytes as base64
            if job.ended:
                fields["done"] = True
            yield b"data: %b\n\n" % msgspec.json.encode(fields)
