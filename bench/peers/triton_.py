"""Triton Inference Server with a Python model, as NVIDIA's pytriton starts it: HTTP, binary tensors, gRPC."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from model import Model
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

served = Model()


def declared(found: Any, dtype: Any) -> Tensor:
    """A tensor of the file as Triton declares it: without the batch axis, -1 for a length that varies."""
    shape = tuple(length if isinstance(length, int) else -1 for length in found.shape[1:])
    return Tensor(name=found.name, dtype=dtype, shape=shape)


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
            inputs=[declared(served.input, served.dtype)],
            outputs=[declared(served.output, served.output_dtype)],
            config=ModelConfig(max_batch_size=256, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
            strict=False,
        )
        triton.serve()
