"""ONNX Runtime: runs ONNX files. Exporter, server and local client open a file here, and so run it alike.

onnxruntime is imported when the first session is opened.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bookserve.errors import Failed, InvalidInput
from bookserve.graph import Arrays
from bookserve.runtime.base import DEFAULT_GRAPH, Declarations, Session, TensorDeclaration

#: ONNX Runtime's execution providers, by device.
_PROVIDERS = {"cpu": ["CPUExecutionProvider"]}
#: ONNX's names of element types that are not NumPy's.
_DTYPES = {"float": "float32", "double": "float64"}
#: Log level at which ONNX Runtime prints nothing: what goes wrong is raised.
_SILENT = 4


class OnnxSession:
    """One ONNX file in an ONNX Runtime session; see ``Session``.

    One intra-op thread by default: at small batches a second thread is slower and burns more than twice the CPU;
    several cores are used by several processes.
    """

    def __init__(self, path: Path, *, device: str = "cpu", threads: int = 1) -> None:
        """
        Raises:
            Failed: the file is damaged, or holds operators that ONNX Runtime does not have.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _SILENT
        # Threads that spin between runs take the CPU from the rest of the server.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = _inference_session(path, options, device)
        self._outputs = [output.name for output in self._session.get_outputs()]

    def declared(self) -> tuple[Declarations, Declarations]:
        """Inputs and outputs as the file declares them; see ``DeclaringSession``."""
        inputs, outputs = (
            {tensor.name: _declaration(tensor) for tensor in side}
            for side in (self._session.get_inputs(), self._session.get_outputs())
        )
        return inputs, outputs

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Run the graph; see ``Session.run``."""
        feeds = {name: _decoded(name, array) if array.dtype == object else array for name, array in feeds.items()}
        try:
            arrays = self._session.run(self._outputs, feeds)
        except Exception as error:  # as above
            reason = _first_line(error)
            if type(error).__name__ == "InvalidArgument":
                raise InvalidInput(f"the model refused the input: {reason.rpartition(': ')[2]}.") from error
            raise Failed(f"the model could not be run: {reason}.") from error
        return {
            name: _encoded(array) if array.dtype == object else array
            for name, array in zip(self._outputs, arrays, strict=True)
        }


class OnnxRuntime:
    """Opens ONNX files in ONNX Runtime; see ``Runtime``."""

    name = "onnxruntime"
    model_file = "model.onnx"
    devices = tuple(_PROVIDERS)

    def opens(self, path: Path) -> bool:
        """Whether the name ends in ``.onnx``."""
        return path.suffix == ".onnx"

    def open_sessions(
        self, path: Path, graphs: Collection[str] | None = None, *, device: str = "cpu", threads: int = 1
    ) -> dict[str, Session]:
        """Open the only graph of an ONNX file; see ``Runtime.open_sessions``."""
        return dict.fromkeys(graphs or (DEFAULT_GRAPH,), OnnxSession(path, device=device, threads=threads))


def write_optimised(source: Path, target: Path) -> None:
    """Write ``source`` to ``target`` as ONNX Runtime's graph optimiser rewrites it.

    The optimiser's last level is left out: its memory layouts fit only the processor at hand.

    Raises:
        Failed: the file cannot be loaded or written.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.log_severity_level = _SILENT
    _inference_session(source, options, "cpu")


def _inference_session(path: Path, options: Any, device: str) -> Any:
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(path, options, providers=_PROVIDERS[device])
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
