"""Backend: what runs one Graph. ONNX Runtime's is here, since exporter, server and local client must run a file alike.

onnxruntime is imported when the first session is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from bookserve.bundle.composite import execution_rounds
from bookserve.errors import Failed, InvalidInput
from bookserve.graph import Arrays, Graph

if TYPE_CHECKING:
    from bookserve.bundle import Bundle


class Session(Protocol):
    """Runs one graph: arrays by input name in, arrays by output name out. One thread at a time may call it."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Run the graph on checked feeds.

        Raises:
            InvalidInput: the runtime refused their values, such as an index beyond the end of a table.
            Failed: it broke.
        """


class OnnxSession:
    """One ONNX file in an ONNX Runtime session on the CPU.

    One intra-op thread by default: at small batches a second thread is slower and burns more than twice the CPU;
    several cores are used by several processes.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        """
        Raises:
            Failed: the file is damaged, or holds operators that ONNX Runtime does not have.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what goes wrong is raised; the runtime need not print it, too
        # Threads that spin between runs take the CPU from the rest of the server.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's own exceptions share no public base
            raise Failed(
                f"ONNX Runtime cannot load {path}: {_first_line(error)}.", "Export the model again."
            ) from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def declared(self) -> tuple[dict[str, tuple[str, list[Any]]], dict[str, tuple[str, list[Any]]]]:
        """Inputs and outputs as the file declares them: ONNX's name of the type (``tensor(float)``), and the shape with
        numbers, names, and None for what is unknown."""
        sides = self._session.get_inputs(), self._session.get_outputs()
        inputs, outputs = ({tensor.name: (tensor.type, list(tensor.shape)) for tensor in side} for side in sides)
        return inputs, outputs

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Run the graph; see ``Backend.run``."""
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


class CompositeSession:
    """A composite graph, whose members are run one after the other."""

    def __init__(self, graph: Graph, members: Mapping[tuple[str, int, str], Session]) -> None:
        """``members`` by model, version and graph."""
        self._graph = graph
        self._members = members

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Run the graph; see ``Backend.run``."""
        tensors = dict(feeds)
        for member in chain(*execution_rounds(self._graph)):
            tensors |= member.give(self._members[member.model, member.version, member.graph].run(member.take(tensors)))
        return {name: tensors[name] for name in self._graph.outputs}


def open_graph(
    bundle: Bundle, name: str, find: Callable[[str, int], Bundle], session: Callable[[Path], Session] = OnnxSession
) -> Session:
    """What runs a graph of a bundle that has an ONNX form, or whose members have; ``find`` opens other models.

    Raises:
        NotFound: a model or graph is not there.
        Failed: a graph has no ONNX form, or cannot be loaded.
    """
    name, graph = bundle.graph(name)
    if graph.members:
        members = {}
        for member in graph.members:
            whose = find(member.model, member.version) if member.model else bundle
            if whose.graph(member.graph)[1].members:
                raise Failed(f"model '{bundle.name}' is made of {member}, which is made of others itself.")
            members[member.model, member.version, member.graph] = open_graph(whose, member.graph, find, session)
        return CompositeSession(graph, members)
    if graph.onnx is None:
        raise Failed(f"graph '{name}' of model '{bundle.name}' has no ONNX form and needs TensorFlow.")
    return session(bundle.path / graph.onnx)


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
