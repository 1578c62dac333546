"""Triton, started by pytriton, that runs the bundles' ONNX files: MODELS HTTP_PORT GRPC_PORT."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

NUMBERS = {"tensor(float)": np.float32, "tensor(int32)": np.int32, "tensor(int64)": np.int64}
#: A limit that the tests exceed, so that the client has to cut its requests.
MOST = 8


def run(session: onnxruntime.InferenceSession) -> Callable[..., Any]:
    names = [tensor.name for tensor in session.get_outputs()]

    @batch
    def infer(**feeds: np.ndarray) -> dict[str, np.ndarray]:
        flat = {tensor.name for tensor in session.get_inputs() if len(tensor.shape) == 1}
        feeds = {name: array.reshape(-1) if name in flat else array for name, array in feeds.items()}
        return dict(zip(names, session.run(None, feeds), strict=True))

    return infer


def tensors(found: list[Any]) -> list[Tensor]:
    return [
        Tensor(
            name=tensor.name,
            dtype=NUMBERS[tensor.type],
            shape=tuple(size if isinstance(size, int) else -1 for size in tensor.shape[1:]),
        )
        for tensor in found
    ]


if __name__ == "__main__":
    models, http, rpc = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    config = TritonConfig(http_port=http, grpc_port=rpc, metrics_port=rpc + 1, http_address="127.0.0.1")
    with Triton(config=config) as triton:
        for directory in models.glob("*"):
            newest = max(directory.glob("*/model.onnx"), key=lambda file: int(file.parent.name), default=None)
            if newest is None:
                continue
            session = onnxruntime.InferenceSession(newest)
            if any(len(tensor.shape) < 2 for tensor in [*session.get_inputs(), *session.get_outputs()]):
                continue  # pytriton has no tensors of one number for each row
            triton.bind(
                model_name=directory.name,
                model_version=int(newest.parent.name),
                infer_func=run(session),
                inputs=tensors(session.get_inputs()),
                outputs=tensors(session.get_outputs()),
                config=ModelConfig(max_batch_size=MOST),
            )
        triton.serve()
