"""ONNX Runtime through I/O binding: a graph whose inputs and outputs have buffers of their own, for a few batch sizes.

On a GPU the buffers lie in its memory, and each is filled from a host buffer that is pinned where CUDA allows that: a
copy from pinned memory needs no detour. Since addresses and sizes never change, CUDA records each size as one graph.
On the CPU the same code runs without recording; the tests use that.

Source: ONNX Runtime's documentation of I/O binding and of ``enable_cuda_graph``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bookserve.errors import Failed
from bookserve.graph import Arrays, Graph, numpy_dtype
from bookserve.runtime import cuda
from bookserve.runtime.devices import CPU, CUDA, gpu_number


class _Buffers(NamedTuple):
    """What one batch size has: host arrays by input, tensors on the device, the binding, and how a run is started."""

    host: Arrays
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    binding: Any
    options: Any


class BoundOnnxSession:
    """One ONNX file that takes batches of some sizes only; see ``Session``."""

    def __init__(self, session: Any, graph: Graph, sizes: Sequence[int], device: str = CPU) -> None:
        """``session`` is ONNX Runtime's own on that device; with a GPU, one that records its runs. ``graph`` has fixed
        sizes behind the rows. Buffers are made at the first run of a size."""
        self._session, self._graph, self._sizes, self._device = session, graph, sizes, device
        self._buffers: dict[int, _Buffers] = {}

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Run the graph on as many rows as one of the sizes has; see ``Session.run``.

        Raises:
            OutOfMemory, DeviceLost: that is why the run failed.
        """
        rows = len(next(iter(feeds.values())))
        try:
            buffers = self._buffers.get(rows) or self._make_buffers(rows)
            for name, array in feeds.items():
                np.copyto(buffers.host[name], array)
                buffers.inputs[name].update_inplace(buffers.host[name])
            self._session.run_with_iobinding(buffers.binding, buffers.options)
            # On the CPU this is the buffer itself, which the next run overwrites.
            return {name: np.array(tensor.numpy()) for name, tensor in buffers.outputs.items()}
        except Failed:
            raise
        except Exception as error:  # the runtime's own exceptions share no public base
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            failed = Failed(f"the model could not be run: {reason}.")
            raise (failed if self._device == CPU else cuda.gpu_error(failed, self._device)) from error

    def _make_buffers(self, rows: int) -> _Buffers:
        import onnxruntime

        if rows not in self._sizes:
            raise Failed(f"there are no buffers for {rows} rows.")
        kind, number = (CPU, 0) if self._device == CPU else (CUDA, gpu_number(self._device) or 0)
        inputs, outputs = (
            {
                name: onnxruntime.OrtValue.ortvalue_from_shape_and_type(
                    list(spec.sizes(rows)), numpy_dtype(spec.dtype), kind, number
                )
                for name, spec in side.items()
            }
            for side in (self._graph.inputs, self._graph.outputs)
        )
        host = {name: np.zeros(spec.sizes(rows), numpy_dtype(spec.dtype)) for name, spec in self._graph.inputs.items()}
        if self._device != CPU:
            for array in host.values():
                cuda.pin(array)
        binding = self._session.io_binding()
        for name, tensor in inputs.items():
            binding.bind_ortvalue_input(name, tensor)
        for name, tensor in outputs.items():
            binding.bind_ortvalue_output(name, tensor)
        options = onnxruntime.RunOptions()
        if self._device != CPU:
            options.add_run_config_entry("gpu_graph_id", str(self._sizes.index(rows) + 1))
        return self._buffers.setdefault(rows, _Buffers(host, inputs, outputs, binding, options))
