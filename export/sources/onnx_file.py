"""Check an external ONNX file and copy it into a bundle; refuse what cannot be served or trusted.

Weights may be in files of their own (external data), which must be in the model's directory. They are put into the ONNX
file, or copied beside it where the file would become larger than Protocol Buffers allow.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bookserve.bundle.external_data import external_data_locations
from bookserve.bundle.manifest import MANIFEST, path_problem
from bookserve.errors import Failed, InvalidInput
from bookserve.graph import Arrays
from bookserve.runtime import TensorDeclaration, open_session
from bookserve.runtime.base import Declarations, GraphHints
from export.sources.sklearn_onnx import UNICODE_LOCALE, locales, replace_zip_maps, use_unicode_locale

#: The name of the file in the bundle, and the name of its only graph.
FILE = "model.onnx"
GRAPH = "serving_default"
#: External weights up to this size are put into the ONNX file; a Protocol Buffers message is limited to 2 GiB.
_MAX_EMBEDDED_BYTES = 1 << 30
#: Domains of operators that the package ``onnx`` knows, and domains that only ONNX Runtime knows. For the latter,
#: opening the session shows whether an operator exists.
_STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_RUNTIME_DOMAINS = ("com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc")


class OnnxFile:
    """An ONNX file: its graph in memory, without external weights, and a session that runs it."""

    def __init__(
        self, path: Path, labels: Mapping[str, tuple[str, ...]] | None = None, notes: Sequence[str] = ()
    ) -> None:
        """Load the file ``path``; ``labels`` and ``notes`` are what was found out when it was copied.

        Raises:
            InvalidInput: it has no inputs, or inputs or outputs that cannot be served.
            Failed: ONNX Runtime cannot load it.
        """
        import onnx

        self.proto = onnx.load(path, load_external_data=False)
        self._backend = open_session(path)
        self._tensors = _declared_tensors(self.proto.graph)
        self.signatures: dict[str, Any] = {GRAPH: self.proto}
        #: The labels of outputs that the file names itself, and sentences about what was changed.
        self.labels = dict(labels or {})
        self.notes = list(notes)

    def tensors(self, name: str) -> tuple[Declarations, Declarations]:
        """See ``external_model.Model``."""
        return self._tensors

    def run(self, name: str, feeds: Arrays) -> Arrays:
        """See ``external_model.Model``."""
        return self._backend.run(feeds)

    def hints(self, name: str) -> GraphHints:
        """See ``external_model.Model``."""
        sizes = {int(tensor.dims[0]) for tensor in self.proto.graph.initializer if len(tensor.dims) > 1}
        return GraphHints(table_sizes=sorted(sizes, reverse=True), half=_computes_half(self.proto.graph))

    def parameters(self) -> int:
        """Return the number of floating-point weights in its initializers."""
        import onnx

        sizes = (
            int(np.prod(tensor.dims))
            for tensor in self.proto.graph.initializer
            if np.issubdtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type), np.floating)
        )
        return sum(sizes)


def read_onnx(source: Path, directory: Path) -> OnnxFile:
    """Check ``source`` and copy it to ``directory/model.onnx``, with its external weights.

    Raises:
        InvalidInput: it is not valid ONNX, or has parts that cannot be served or trusted; the message names them.
        Failed: ONNX Runtime cannot load it.
    """
    import onnx

    locations = _external_files(source)
    try:
        proto = onnx.load(source, load_external_data=False)
    except Exception as error:  # protobuf's errors share no public base
        raise InvalidInput(f"{source} is not an ONNX file: {_first_line(error)}.") from error
    _refuse_versions(proto, source)
    _refuse_operators(proto, source)
    labels, notes = replace_zip_maps(proto), _with_known_locale(proto, source)
    changed = _free_axes_without_size(proto) or bool(labels or notes)
    target = directory / FILE
    size = sum((source.parent / location).stat().st_size for location in locations)
    if locations and size <= _MAX_EMBEDDED_BYTES:
        try:
            onnx.load_external_data_for_model(proto, str(source.parent))
        except Exception as error:  # among others, offsets beyond the end of a file
            raise InvalidInput(
                f"the external data of {source} cannot be read: {_first_line(error)}.", "Write or copy it again."
            ) from error
        target.write_bytes(proto.SerializeToString())
    else:
        if changed:
            target.write_bytes(proto.SerializeToString(deterministic=True))
        else:
            shutil.copy(source, target)
        for location in locations:
            (directory / location).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source.parent / location, directory / location)
    try:
        onnx.checker.check_model(str(target))
    except Exception as error:  # the checker and the file system have unrelated error classes
        raise InvalidInput(f"{source} is not valid ONNX: {_first_line(error)}.") from error
    try:
        return OnnxFile(target, labels, notes)
    except Failed as error:
        reason = error.message.replace(str(target), str(source))
        raise Failed(reason, "Convert the model to operators that ONNX Runtime supports.") from error


def _external_files(source: Path) -> list[str]:
    """Return the names of the files with external weights; all are plain files in the model's directory."""
    try:
        locations = external_data_locations(source)
    except Failed as error:
        raise InvalidInput(f"{source} is not a complete ONNX file.", "Write or copy it again.") from error
    parent = source.resolve().parent
    for location in locations:
        path = parent / location
        if path_problem(location) or not path.resolve().is_relative_to(parent) or path.resolve() != path:
            raise InvalidInput(
                f"{source} keeps weights in {location!r}, which is not a plain file in its own directory.",
                "Write the model with its weights in the ONNX file: onnx.save(model, path)",
            )
        if not path.is_file():
            raise InvalidInput(
                f"{source} keeps weights in '{location}', which does not exist.", "Copy this file to the model, too."
            )
        if location in (FILE, MANIFEST, "README.md", "examples.npz", "saved_model.pb") or location.startswith(
            "assets/"
        ):
            raise InvalidInput(
                f"{source} keeps weights in '{location}', a file name that bundles use for something else.",
                "Write the model with its weights in the ONNX file: onnx.save(model, path)",
            )
    return locations


def _free_axes_without_size(proto: Any) -> bool:
    """Declare the axes of inputs and outputs free that have no size; return whether there was one.

    ONNX writes a free axis without a number. Some exporters write -1, or 0 for the rows.
    """
    found = False
    for value in [*proto.graph.input, *proto.graph.output]:
        for place, axis in enumerate(value.type.tensor_type.shape.dim):
            least = 1 if place == 0 and len(value.type.tensor_type.shape.dim) > 1 else 0
            if axis.HasField("dim_value") and axis.dim_value < least:
                axis.ClearField("dim_value")
                found = True
    return found


def _with_known_locale(proto: Any, source: Path) -> list[str]:
    """Use another locale where the machine lacks the one that the model names; return a note about it.

    Raises:
        InvalidInput: the machine has no locale for the model's texts.
    """
    named = locales(proto)
    if not named or all(_has_locale(name) for name in named):
        return []
    missing = next(name for name in sorted(named) if not _has_locale(name)) or "en_US.UTF-8"
    if not _has_locale(UNICODE_LOCALE):
        raise InvalidInput(
            f"{source} normalises texts by the locale '{missing}', which this machine does not have.",
            f"Install it (locale-gen {missing}), or convert the model with the locale '{UNICODE_LOCALE}'.",
        )
    use_unicode_locale(proto)
    return [f"texts are normalised by the locale '{UNICODE_LOCALE}', because this machine has no '{missing}'."]


def _has_locale(name: str) -> bool:
    """Whether ONNX Runtime can normalise texts by a locale: it is tried, since there is no list that it goes by."""
    import onnx

    node = onnx.helper.make_node("StringNormalizer", ["x"], ["y"], case_change_action="LOWER")
    if name:
        node.attribute.append(onnx.helper.make_attribute("locale", name))
    tensors = [onnx.helper.make_tensor_value_info(key, onnx.TensorProto.STRING, ["n"]) for key in ("x", "y")]
    graph = onnx.helper.make_graph([node], "locale", tensors[:1], tensors[1:])
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 10)], ir_version=8)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / FILE
        path.write_bytes(proto.SerializeToString())
        try:
            open_session(path)
        except Failed:
            return False
    return True


def _refuse_versions(proto: Any, source: Path) -> None:
    import onnx

    if proto.ir_version > onnx.IR_VERSION or proto.ir_version < 3:
        raise InvalidInput(
            f"{source} has the IR version {proto.ir_version}; versions 3 to {onnx.IR_VERSION} can be read.",
            "Write it with another version of the package onnx.",
        )
    newest = onnx.defs.onnx_opset_version()
    for imported in proto.opset_import:
        if imported.domain in ("", "ai.onnx") and imported.version > newest:
            raise InvalidInput(
                f"{source} needs operator set {imported.version}; the newest that can be run is {newest}.",
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
        where = f" of the domain '{node.domain}'" if node.domain else ""
        raise InvalidInput(
            f"{source} has the operator '{node.op_type}'{where}, which ONNX Runtime does not know.",
            "Custom operators are not loaded: use standard operators, or define it as a function in the model.",
        )


def _all_nodes(nodes: Any) -> Iterator[Any]:
    """Yield all nodes, also those of the graphs in their attributes (loops and branches)."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in [attribute.g, *attribute.graphs]:
                yield from _all_nodes(graph.node)


def _computes_half(graph: Any) -> bool:
    """Whether an operator takes numbers in half precision; to convert a stored weight from it is no computation."""
    import onnx

    halves = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    stored = {tensor.name for tensor in graph.initializer if tensor.data_type in halves}
    stored |= {value.name for value in graph.input if value.type.tensor_type.elem_type in halves}
    return any(
        any(attribute.name == "to" and attribute.i in halves for attribute in node.attribute)
        if node.op_type == "Cast"
        else not stored.isdisjoint(node.input)
        for node in graph.node
    )


def _declared_tensors(graph: Any) -> tuple[Declarations, Declarations]:
    constants = {tensor.name for tensor in graph.initializer} | {s.values.name for s in graph.sparse_initializer}
    inputs = {value.name: _tensor(value) for value in graph.input if value.name not in constants}
    if not inputs:
        raise InvalidInput("the model has no inputs, so it cannot be served.")
    return inputs, {value.name: _tensor(value) for value in graph.output}


def _tensor(value: Any) -> TensorDeclaration:
    import onnx

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise InvalidInput(
            f"'{value.name}' is a {str(kind).removesuffix('_type')}; only tensors can be served.",
            "For scikit-learn, convert a model whose inputs are columns: skl2onnx.to_onnx(model, rows)",
        )
    tensor = value.type.tensor_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    if not tensor.HasField("shape"):
        return TensorDeclaration(_dtype_name(dtype), None)
    axes = (dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in tensor.shape.dim)
    return TensorDeclaration(_dtype_name(dtype), tuple(axes))


def _dtype_name(dtype: np.dtype) -> str:
    return "string" if dtype.kind == "O" else dtype.name


def _first_line(error: Exception) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__).rstrip(".")
