"""OnnxFile: an ONNX model that somebody else wrote, with everything refused that could not be served or trusted.

Where it keeps its weights in files of their own, those must lie in its own directory; they are put into the one file,
or copied beside it where that would become larger than an ONNX file can be.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bookserve.bundle.external_data import external_data_locations
from bookserve.bundle.manifest import MANIFEST, path_problem
from bookserve.errors import Failed, InvalidInput
from bookserve.graph import Arrays
from bookserve.runtime.onnx import OnnxSession
from export.sources.external_model import Tensor

#: Its name in the bundle, and that of its only graph.
FILE = "model.onnx"
GRAPH = "serving_default"
#: Bytes of external weights that are still put into the one file; Protocol Buffers end at two gigabytes.
_MAX_EMBEDDED_BYTES = 1 << 30
#: Operators of these sets are known to ``onnx`` itself; those of ``com.microsoft`` to ONNX Runtime, which is asked.
_STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_RUNTIME_DOMAINS = ("com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc")


class OnnxFile:
    """One ONNX file in memory, without its weights, and open in ONNX Runtime."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            InvalidInput: it has tensors that cannot be served.
            Failed: ONNX Runtime cannot load it.
        """
        import onnx

        self.proto = onnx.load(path, load_external_data=False)
        self._backend = OnnxSession(path)
        self._tensors = _declared_tensors(self.proto.graph)
        self.signatures: dict[str, Any] = {GRAPH: self.proto}

    def tensors(self, name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """See ``external_model.Model``."""
        return self._tensors

    def run(self, name: str, feeds: Arrays) -> Arrays:
        """See ``external_model.Model``."""
        return self._backend.run(feeds)

    def parameters(self) -> int:
        """How many floating-point numbers its initializers hold."""
        import onnx

        sizes = (
            int(np.prod(tensor.dims))
            for tensor in self.proto.graph.initializer
            if np.issubdtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type), np.floating)
        )
        return sum(sizes)


def read_onnx(source: Path, directory: Path) -> OnnxFile:
    """Check ``source`` and copy it to ``directory/model.onnx``, its weights with it.

    Raises:
        InvalidInput: it is no ONNX, or has what cannot be served or trusted; the message says what.
        Failed: ONNX Runtime cannot load it.
    """
    import onnx

    locations = _external_files(source)
    try:
        proto = onnx.load(source, load_external_data=False)
    except Exception as error:  # protobuf's errors share no public base
        raise InvalidInput(f"{source} is no ONNX file: {_first_line(error)}.") from error
    _refuse_versions(proto, source)
    _refuse_operators(proto, source)
    target = directory / FILE
    size = sum((source.parent / location).stat().st_size for location in locations)
    if locations and size <= _MAX_EMBEDDED_BYTES:
        try:
            onnx.load_external_data_for_model(proto, str(source.parent))
        except Exception as error:  # positions beyond the end of a file, and more
            raise InvalidInput(f"{source} does not fit its external data: {_first_line(error)}.") from error
        target.write_bytes(proto.SerializeToString())
    else:
        shutil.copy(source, target)
        for location in locations:
            (directory / location).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source.parent / location, directory / location)
    try:
        onnx.checker.check_model(str(target))
    except Exception as error:  # the checker and the file system have unrelated error classes
        raise InvalidInput(f"{source} breaks the rules of ONNX: {_first_line(error)}.") from error
    try:
        return OnnxFile(target)
    except Failed as error:
        reason = error.message.replace(str(target), str(source))
        raise Failed(reason, "Convert it to operators that ONNX Runtime has; see its list of operator sets.") from error


def _external_files(source: Path) -> list[str]:
    """The files of external weights, all of them plain ones in the model's own directory."""
    try:
        locations = external_data_locations(source)
    except Failed as error:
        raise InvalidInput(f"{source} is no whole ONNX file.", "Write or copy it again.") from error
    home = source.resolve().parent
    for location in locations:
        path = home / location
        if path_problem(location) or not path.resolve().is_relative_to(home) or path.resolve() != path:
            raise InvalidInput(
                f"{source} keeps weights in {location!r}, which is not in its own directory.",
                "Only plain files beside the model are read; write it with its weights inside: onnx.save(model, path)",
            )
        if not path.is_file():
            raise InvalidInput(f"{source} keeps weights in '{location}', which is not there.", "Copy it, too.")
        if location in (FILE, MANIFEST, "README.md", "examples.npz", "saved_model.pb") or location.startswith(
            "assets/"
        ):
            raise InvalidInput(f"{source} keeps weights in '{location}', a name that a bundle needs.", "Rename it.")
    return locations


def _refuse_versions(proto: Any, source: Path) -> None:
    import onnx

    if proto.ir_version > onnx.IR_VERSION or proto.ir_version < 3:
        raise InvalidInput(
            f"{source} is of IR version {proto.ir_version}; 3 to {onnx.IR_VERSION} can be read.",
            "Write it with another version of onnx.",
        )
    newest = onnx.defs.onnx_opset_version()
    for imported in proto.opset_import:
        if imported.domain in ("", "ai.onnx") and imported.version > newest:
            raise InvalidInput(
                f"{source} needs operator set {imported.version}; {newest} is the newest that can be run.",
                f"Convert it: onnx.version_converter.convert_version(model, {newest})",
            )


def _refuse_operators(proto: Any, source: Path) -> None:
    import onnx

    own = {(function.domain, function.name) for function in proto.functions}
    opsets = {imported.domain: imported.version for imported in proto.opset_import}
    graphs = [proto.graph.node, *(function.node for function in proto.functions)]
    for node in (node for nodes in graphs for node in _all_nodes(nodes)):
        if (node.domain, node.op_type) in own or node.domain in _RUNTIME_DOMAINS:
            continue
        if node.domain in _STANDARD_DOMAINS:
            domain = "" if node.domain == "ai.onnx" else node.domain
            version = opsets.get(domain, opsets.get("ai.onnx", onnx.defs.onnx_opset_version()))
            if onnx.defs.has(node.op_type, version, domain):
                continue
        where = f" of the set '{node.domain}'" if node.domain else ""
        raise InvalidInput(
            f"{source} has the operator '{node.op_type}'{where}, which ONNX Runtime does not know.",
            "Custom operators are not loaded: express it by standard ones, or as a function of the model.",
        )


def _all_nodes(nodes: Any) -> Iterator[Any]:
    """All nodes, and those of graphs within them."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in [attribute.g, *attribute.graphs]:
                yield from _all_nodes(graph.node)


def _declared_tensors(graph: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    constants = {tensor.name for tensor in graph.initializer} | {s.values.name for s in graph.sparse_initializer}
    inputs = {value.name: _tensor(value) for value in graph.input if value.name not in constants}
    if not inputs:
        raise InvalidInput("the model takes no input: there is nothing to ask it.")
    return inputs, {value.name: _tensor(value) for value in graph.output}


def _tensor(value: Any) -> Tensor:
    import onnx

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise InvalidInput(
            f"'{value.name}' is a {str(kind).removesuffix('_type')}; only tensors can be served.",
            "From scikit-learn: skl2onnx.to_onnx(…, options={'zipmap': False})",
        )
    tensor = value.type.tensor_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    if not tensor.HasField("shape"):
        return Tensor(_dtype_name(dtype), None)
    axes = (dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in tensor.shape.dim)
    return Tensor(_dtype_name(dtype), tuple(axes))


def _dtype_name(dtype: np.dtype) -> str:
    return "string" if dtype.kind == "O" else dtype.name


def _first_line(error: Exception) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__).rstrip(".")
