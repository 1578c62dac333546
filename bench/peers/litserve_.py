"""LitServe: JSON rows over HTTP, with its own batching."""

from __future__ import annotations

import os
from typing import Any

import litserve
import numpy as np
from model import Model


class Served(litserve.LitAPI):
    """One worker; requests that arrive within a millisecond run together."""

    def setup(self, device: str) -> None:
        self.model = Model()

    def decode_request(self, request):  # without a type, which FastAPI would take for a query parameter
        return np.asarray(request["instances"], self.model.dtype)

    def batch(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return inputs

    def predict(self, x: list[np.ndarray]) -> list[np.ndarray]:
        answer = self.model.run(np.concatenate(x))
        return np.split(answer, np.cumsum([len(part) for part in x])[:-1])

    def unbatch(self, output: list[np.ndarray]) -> list[np.ndarray]:
        return output

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    api = Served(max_batch_size=64, batch_timeout=0.001)
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1).run(
        host="127.0.0.1", port=int(os.environ["HTTP_PORT"]), generate_client_file=False, log_level="warning"
    )
