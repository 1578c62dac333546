"""ONNX Runtime: runs ONNX files. Exporter, server and local client open a file here, and so run it alike.

onnxruntime is imported when the first session is opened.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bookserve.environment import turn_off_telemetry
from bookserve.errors import Failed, InvalidInput
from bookserve.graph import Arrays, Graph
from bookserve.runtime import cuda
from bookserve.runtime.base import DEFAULT_GRAPH, Declarations, Session, TensorDeclaration, refuse_empty
from bookserve.runtime.devices import CPU, DeviceConfig, DeviceUnavailable, Gpu, gpu_number

#: ONNX Runtime's execution providers.
_ON_CPU, _ON_CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
#: ONNX's names of element types that are not NumPy's.
_DTYPES = {"float": "float32", "double": "float64"}
#: Log level at which ONNX Runtime prints nothing: what goes wrong is raised.
_SILENT = 4


class OnnxSession:
    """One ONNX file in an ONNX Runtime session; see ``Session``.

    One intra-op thread by default: at small batches a second thread is slower and burns more than twice the CPU;
    several cores are used by several processes.
    """

    def __init__(self, path: Path, *, threads: int = 1, providers: list[Any] | None = None) -> None:
        """``providers`` are ONNX Runtime's execution providers; without any, the CPU's.

        Raises:
            Failed: the file is damaged, or holds operators that ONNX Runtime does not have.
        """
        onnxruntime = load_onnxruntime()

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _SILENT
        # Threads that spin between runs take the CPU from the rest of the server.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        #: ONNX Runtime's own session.
        self.session = _inference_session(path, options, providers or [_ON_CPU])
        self._outputs = [output.name for output in self.session.get_outputs()]

    def declared(self) -> tuple[Declarations, Declarations]:
        """Inputs and outputs as the file declares them; see ``DeclaringSession``."""
        inputs, outputs = (
            {tensor.name: _declaration(tensor) for tensor in side}
            for side in (self.session.get_inputs(), self.session.get_outputs())
        )
        return inputs, outputs

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Run the graph; see ``Session.run``."""
        feeds = {name: _decoded(name, array) if array.dtype == object else array for name, array in feeds.items()}
        for array in feeds.values():
            if not array.size:  # without rows its recurrent operators end the whole process
                refuse_empty(feeds, self.declared()[0])
        try:
            arrays = self.session.run(self._outputs, feeds)
        except Exception as error:  # as above
            reason = _first_line(error)
            if type(error).__name__ == "InvalidArgument":
                raise InvalidInput(f"the model refused the input: {reason.rpartition(': ')[2]}.") from error
            raise Failed(f"the model could not be run: {reason}.") from error
        return {
            name: _encoded(array) if array.dtype == object else array
            for name, array in zip(self._outputs, arrays, strict=True)
        }


class OnnxCudaSession(OnnxSession):
    """One ONNX file in an ONNX Runtime session on a GPU, with a stream of its own; see ``Session``."""

    def __init__(
        self, path: Path, device: str, config: DeviceConfig, *, threads: int = 1, record: bool = False
    ) -> None:
        """With ``record`` runs are recorded as CUDA graphs: only ``bookserve/runtime/onnx_bound.py`` runs it then.

        Raises:
            OutOfMemory: the graph does not fit.
            DeviceUnavailable: ONNX Runtime cannot use the GPU.
            Failed: see ``OnnxSession``; with ``record`` also if a node would run on the CPU.
        """
        options = {
            "device_id": str(gpu_number(device) or 0),
            # The thorough search would time every algorithm again for each new number of rows.
            "cudnn_conv_algo_search": "HEURISTIC",
            "use_tf32": str(int(config.tf32)),
            "arena_extend_strategy": "kSameAsRequested",
        }
        if record:
            options["enable_cuda_graph"] = "1"
        if config.gpu_memory:
            options["gpu_mem_limit"] = str(config.gpu_memory)
        self._device = device
        try:
            super().__init__(path, threads=threads, providers=[(_ON_CUDA, options), _ON_CPU])
        except Failed as error:
            raise cuda.gpu_error(error, self._device) from error
        if _ON_CUDA not in self.session.get_providers():
            raise DeviceUnavailable(
                f"ONNX Runtime cannot use {device}, and does not say why.", "bookserve doctor shows what it finds."
            )
        self.session.disable_fallback()  # it would print, and open the graph again on the CPU

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Run the graph; see ``Session.run``.

        Raises:
            OutOfMemory, DeviceLost: that is why the run failed.
        """
        try:
            return super().run(feeds)
        except Failed as error:
            raise cuda.gpu_error(error, self._device) from error


class OnnxRuntime:
    """Opens ONNX files in ONNX Runtime; see ``GpuRuntime``."""

    name = "onnxruntime"
    model_file = "model.onnx"
    devices = (CPU,)
    clock = staticmethod(time.perf_counter)

    @property
    def version(self) -> str:
        """The version of the wheel that is installed."""
        from importlib.metadata import PackageNotFoundError, version

        for package in ("onnxruntime-gpu", "onnxruntime"):
            with contextlib.suppress(PackageNotFoundError):
                return f"{self.name} {version(package)}"
        return self.name

    def gpus(self) -> list[Gpu]:
        """See ``GpuRuntime.gpus``: the driver is asked each time, the libraries once."""
        driver = cuda.read_driver()
        if self._cuda_problem:
            raise self._cuda_problem
        if problem := cuda.driver_problem(driver, _built_for()):
            raise problem
        return driver.gpus

    def open_on_gpu(self, path: Path, graph: str, device: str, config: DeviceConfig, threads: int) -> Session:
        """See ``GpuRuntime.open_on_gpu``."""
        return OnnxCudaSession(path, device, config, threads=threads)

    def open_fixed_sizes(
        self, path: Path, graph: Graph, sizes: Sequence[int], device: str, config: DeviceConfig, threads: int
    ) -> Session:
        """See ``FixedSizeRuntime.open_fixed_sizes``."""
        from bookserve.runtime.onnx_bound import BoundOnnxSession

        opened = OnnxCudaSession(path, device, config, threads=threads, record=True)
        return BoundOnnxSession(opened.session, graph, sizes, device)

    @cached_property
    def _cuda_problem(self) -> DeviceUnavailable | None:
        """Why ONNX Runtime cannot use CUDA here, whatever GPUs there are. Loads CUDA's libraries."""
        onnxruntime = load_onnxruntime()

        if _ON_CUDA not in onnxruntime.get_available_providers():
            return DeviceUnavailable(
                f"{self.version} is built for CPUs only.",
                f"pip uninstall onnxruntime, then {cuda.INSTALL}: both packages would overwrite each other.",
            )
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
            onnxruntime.preload_dlls()  # finds the libraries of the nvidia-* wheels without LD_LIBRARY_PATH
        return cuda.libraries_problem(int(_built_for().partition(".")[0]))

    def opens(self, path: Path) -> bool:
        """Whether the name ends in ``.onnx``."""
        return path.suffix == ".onnx"

    def open_sessions(
        self, path: Path, graphs: Collection[str] | None = None, *, device: str = "cpu", threads: int = 1
    ) -> dict[str, Session]:
        """Open the only graph of an ONNX file; see ``Runtime.open_sessions``."""
        return dict.fromkeys(graphs or (DEFAULT_GRAPH,), OnnxSession(path, threads=threads))


def load_onnxruntime() -> Any:
    """The package ``onnxruntime``, imported when it is needed; it reports nothing to its maker."""
    turn_off_telemetry()
    import onnxruntime

    return onnxruntime


def write_optimised(source: Path, target: Path) -> None:
    """Write ``source`` to ``target`` as ONNX Runtime's graph optimiser rewrites it.

    The optimiser's last level is left out: its memory layouts fit only the processor at hand.

    Raises:
        Failed: the file cannot be loaded or written.
    """
    onnxruntime = load_onnxruntime()

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.log_severity_level = _SILENT
    _inference_session(source, options, [_ON_CPU])


def _built_for() -> str:
    """The version of CUDA that the installed ONNX Runtime is built for."""
    onnxruntime = load_onnxruntime()

    return str(onnxruntime.cuda_version or "0")


def _inference_session(path: Path, options: Any, providers: list[Any]) -> Any:
    onnxruntime = load_onnxruntime()

    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # the runtime's own exceptions share no public base
        raise Failed(f"ONNX Runtime cannot load {path}: {_first_line(error)}.", "Export the model again.") from error


def _declaration(tensor: Any) -> TensorDeclaration:
    """``tensor(float)`` is float32; free axes are None, '' or a name."""
    kind = tensor.type.removeprefix("tensor(").rstrip(")")
    return TensorDeclaration(_DTYPES.get(kind, kind), tuple(None if axis == "" else axis for axis in tensor.shape))


def _decoded(name: str, strings: np.ndarray) -> np.ndarray:
    """Strings as ONNX Runtime takes them: it would write bytes as Python shows them."""
    try:
        return np.array([item.decode() for item in strings.ravel()], object).reshape(strings.shape)
    except UnicodeDecodeError as error:
        raise InvalidInput(f"input '{name}' holds bytes that are not UTF-8 text.") from error


def _encoded(texts: np.ndarray) -> np.ndarray:
    return np.array([item.encode() for item in texts.ravel()], object).reshape(texts.shape)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
