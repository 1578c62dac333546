"""NVIDIA's asynchronous Triton client, in a process of its own, against a server whose models may be controlled.

Run by ``test_triton.py``: ``python -m tests.serve.protocols.oip.official_aio_client http HOST:PORT`` or ``… grpc
HOST:PORT``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException


async def main(wire: str, target: str) -> dict[str, Any]:
    module = import_module(f"tritonclient.{wire}.aio")
    async with module.InferenceServerClient(target) as client:
        return await _ask(wire, module, client)


async def _ask(wire: str, module: Any, client: Any) -> dict[str, Any]:
    def x(first: float) -> list[Any]:
        tensor = module.InferInput("x", [1, 3], "FP32")
        tensor.set_data_from_numpy(np.array([[first, 0, 0]], np.float32))
        return [tensor]

    def field(message: Any, name: str) -> Any:
        return message[name] if isinstance(message, dict) else getattr(message, name)

    server = await client.get_server_metadata()
    model = await client.get_model_metadata("pair")
    ready = [await client.is_server_ready(), await client.is_model_ready("affine"), await client.is_model_ready("no")]
    replies = await asyncio.gather(*(client.infer("affine", x(index)) for index in range(16)))
    (counted,) = field(await client.get_inference_statistics("affine"), "model_stats")
    index = await client.get_model_repository_index()
    listed = index if isinstance(index, list) else index.models
    await client.unload_model("plane")
    gone = await client.is_model_ready("plane")
    await client.load_model("plane")
    try:
        await client.infer("nothing", x(0))
        refused = ["OK", ""]
    except InferenceServerException as error:
        refused = [str(error.status()), error.message()[:36]]
    return {
        "live": await client.is_server_live(),
        "ready": ready,
        "server": field(server, "name"),
        "model": field(model, "name"),
        "together": [reply.as_numpy("y")[0].tolist() for reply in replies],
        "stream": await _stream(client, x) if wire == "grpc" else None,
        "counted": int(field(field(field(counted, "inference_stats"), "success"), "count")) >= 16,
        "index": {
            f"{field(item, 'name')} {field(item, 'version')}": field(item, "state")
            for item in listed
            if field(item, "name") in ("affine", "digits")
        },
        "unloaded": [gone, await client.is_model_ready("plane")],
        "refused": refused,
    }


async def _stream(client: Any, x: Any) -> list[str]:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        for index, model in enumerate(["affine", "affine", "nothing", "affine"]):
            yield {"model_name": model, "inputs": x(index), "request_id": str(index)}

    replies = [reply async for reply in client.stream_infer(requests())]
    return [error.message()[:25] if error else result.get_response().id for result, error in replies]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(*sys.argv[1:]))))
