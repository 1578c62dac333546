"""The replica of deploy/rayserve, called as Ray Serve calls it: ASGI's lifespan first, then requests."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx

from rayserve.app import Bookserve


async def lifespan(app: Any) -> list[str]:
    """The types of what an application sends when it is started and stopped."""
    sent: list[str] = []
    events = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, str]:
        return {"type": next(events)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    return sent


def test_a_replica_answers_as_the_server_does(models: Path) -> None:
    app: Any = Bookserve(str(models), 2).__serve_build_asgi_app__()

    async def ask() -> None:
        assert await lifespan(app) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://replica") as http:
            answer = await http.post("/v1/models/affine:predict", json={"instances": [[1, 2, 3]]})
            assert answer.json() == {"predictions": [[3.0, 5.0, 7.0]]}
            assert answer.headers["x-request-id"]
            assert (await http.get("/v2/health/ready")).status_code == 200
            assert (await http.get("/v1/models/missing")).status_code == 404

    asyncio.run(ask())
