"""BentoML: JSON rows over HTTP, with its adaptive batching."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bentoml
import numpy as np
from model import Model


@bentoml.service(workers=1, traffic={"timeout": 30}, logging={"access": {"enabled": False}})
class Served:
    """One worker."""

    def __init__(self) -> None:
        self.model = Model()

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=256, max_latency_ms=5000)
    def predict(self, instances: np.ndarray) -> np.ndarray:
        return self.model.run(instances.astype(self.model.dtype))


if __name__ == "__main__":
    os.environ |= {"BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": str(Path(__file__).parent)}
    command = str(Path(sys.executable).parent / "bentoml")
    os.execv(  # noqa: S606 - becomes the server
        command, [command, "serve", "bentoml_:Served", "--host", "127.0.0.1", "--port", os.environ["HTTP_PORT"]]
    )
