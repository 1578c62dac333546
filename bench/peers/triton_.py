"""Triton Inference Server with a Python model, as NVIDIA's pytriton starts it: HTTP, binary tensors, gRPC."""

from __future__ import annotations

import os

import numpy as np
from model import Model
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

served = Model()


@batch
def infer(**arrays: np.ndarray) -> dict[str, np.ndarray]:
    """Run a batch."""
    return {served.output.name: served.run(arrays[served.input.name])}


if __name__ == "__main__":
    http, grpc = int(os.environ["HTTP_PORT"]), int(os.environ["GRPC_PORT"])
    config = TritonConfig(http_address="127.0.0.1", http_port=http, grpc_address="127.0.0.1", grpc_port=grpc)
    config.metrics_port = grpc + 1
    with Triton(config=config) as triton:
        triton.bind(
            model_name=os.environ["NAME"],
            infer_func=infer,
            inputs=[Tensor(name=served.input.name, dtype=served.dtype, shape=tuple(served.input.shape[1:]))],
            outputs=[Tensor(name=served.output.name, dtype=np.float32, shape=tuple(served.output.shape[1:]))],
            config=ModelConfig(max_batch_size=256, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
            strict=False,
        )
        triton.serve()
