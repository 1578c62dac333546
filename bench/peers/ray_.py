"""Ray Serve: JSON rows over HTTP, one replica with Ray Serve's batching."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import serve

HERE = str(Path(__file__).parent)


@serve.deployment(num_replicas=1, max_ongoing_requests=256, ray_actor_options={"num_cpus": 1})
class Served:
    """The replica."""

    def __init__(self) -> None:
        from model import Model

        self.model = Model()

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.001)
    async def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        answer = self.model.run(np.concatenate(arrays))
        return np.split(answer, np.cumsum([len(part) for part in arrays])[:-1])

    async def __call__(self, request: Any) -> dict[str, Any]:
        document = await request.json()
        return {"predictions": (await self.run(np.asarray(document["instances"], self.model.dtype))).tolist()}


if __name__ == "__main__":
    variables = {"PYTHONPATH": HERE, "MODEL": os.environ["MODEL"], "OMP_NUM_THREADS": "1"}
    ray.init(num_cpus=2, include_dashboard=False, logging_level="warning", runtime_env={"env_vars": variables})
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["HTTP_PORT"])})
    serve.run(Served.bind(), name="default", route_prefix="/")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    ray.shutdown()
