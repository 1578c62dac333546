# ruff: noqa: TID253
"""Load a SavedModel, read what its signatures declare, run them, and give them as functions for conversion.

Import this module only inside functions: it imports TensorFlow.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from bookserve.errors import Failed, InvalidInput
from bookserve.graph import UNKNOWN_RANK, Arrays, Graph, TensorSpec
from bookserve.runtime.base import Declarations, GraphHints, TensorDeclaration
from bookserve.runtime.saved_model_operators import GraphOperators, function_names
from bookserve.runtime.tensorflow import (
    SavedModelGraph,
    TensorflowSession,
    first_line,
    read_saved_model,
    signatures_of,
    tags_to_serve,
    without_deprecation_warnings,
)
from export.convert.operators import Table
from export.sources.assigned_variables import drop_unread_assignments
from export.sources.gathered_variables import read_before_gathering
from export.sources.unsigned_module import add_signatures

#: Marks of functions and calls that are compiled or kept apart.
_NOT_INLINED = ("_XlaMustCompile", "_noinline", "_XlaCompile", "_XlaScope", "_XlaSeparateCompiledGradients")
#: The names of functions while a graph is converted: their place, and a mark of the model.
FUNCTION = "function_{}_{}"
_PREDICT = "tensorflow/serving/predict"
#: By signature: the names of its inputs and of its outputs, in order.
Order = Mapping[str, tuple[Sequence[str], Sequence[str]]]


class FrozenGraph(NamedTuple):
    """A graph without variables: a ``GraphDef``, and the names of the tensors that it takes and gives."""

    graph_def: Any
    inputs: list[str]
    outputs: list[str]

    def function(self) -> Any:
        """The graph as a ``ConcreteFunction``, which maps the inputs to a list of the outputs."""
        wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(self.graph_def, name=""), [])
        given, fetched = (
            [wrapped.graph.get_tensor_by_name(name) for name in side] for side in (self.inputs, self.outputs)
        )
        return wrapped.prune(given, fetched)

    @property
    def has_frames(self) -> bool:
        """Whether it has loops as TensorFlow 1 wrote them, which are no functions."""
        return any(node.op in ("Enter", "RefEnter") for node in self.graph_def.node)


class SavedModel:
    """A SavedModel in memory."""

    def __init__(self, path: Path, order: Order | None = None) -> None:
        """Load the SavedModel in the directory ``path``.

        A SavedModel does not keep the order of its tensors: ``order`` gives it, otherwise it is that of their names.

        Raises:
            Failed: TensorFlow cannot load it.
            InvalidInput: it needs a custom operator.
        """
        self._graph = SavedModelGraph(path)
        self._operators = self._graph.operators
        self._order = order or {}
        self._sessions: dict[str, TensorflowSession] = {}
        #: The signatures by name, those for prediction first, not those for classification or regression.
        self.signatures: dict[str, Any] = dict(
            sorted(self._graph.signatures.items(), key=lambda item: item[1].method_name not in ("", _PREDICT))
        )

    def tensors(self, name: str) -> tuple[Declarations, Declarations]:
        """See ``external_model.Model``.

        Raises:
            Failed: a tensor is sparse or ragged, or the signature reads or writes files.
        """
        if operator := self._operators.outside(name):
            raise Failed(f"it has the operator '{operator}', which can read or write files or call Python.")
        sides = self._graph.declared(name)
        if name not in self._order:
            return sides
        inputs, outputs = (
            {key: side[key] for key in keys} for side, keys in zip(sides, self._order[name], strict=True)
        )
        return inputs, outputs

    def run(self, name: str, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Run a signature on arrays.

        Raises:
            Failed, InvalidInput: TensorFlow cannot run it on them.
        """
        if name not in self._sessions:
            self._sessions[name] = self._graph.open(name)
        return self._sessions[name].run(feeds)

    def check_signature(self, name: str, graph: Graph) -> None:
        """Check that the graph ``name`` declares the tensors that the signature of this name has.

        Raises:
            Failed: there is no such signature, or its tensors differ.
        """
        if name not in self.signatures:
            have = ", ".join(self.signatures) or "none"
            raise Failed(f"the SavedModel has no signature '{name}' (it has: {have}).", "Train again.")
        for side, declared, found in zip(
            ("input", "output"), (graph.inputs, graph.outputs), self._graph.declared(name), strict=True
        ):
            if declared.keys() != found.keys():
                raise Failed(
                    f"graph '{name}' declares the {side}s {sorted(declared)}; its signature has {sorted(found)}."
                )
            for tensor, spec in declared.items():
                if not _is_compatible(spec, found[tensor], exactly=side == "input"):
                    raise Failed(
                        f"graph '{name}' declares {side} '{tensor}' as {spec}; its signature has {found[tensor]}."
                    )

    def parameters(self) -> int:
        """Return the number of floating-point weights in the variables that the signatures read."""
        nodes = {node.name: node for name in self.signatures for node in self._operators.variables(name)}
        shapes = (
            [dim.size for dim in node.attr["shape"].shape.dim]
            for node in nodes.values()
            if "dtype" in node.attr and tf.as_dtype(node.attr["dtype"].type).is_floating
        )
        return sum(int(np.prod(shape)) for shape in shapes)

    def hints(self, name: str) -> GraphHints:
        """See ``external_model.Model``."""
        return self._operators.hints(name)

    def is_alias(self, name: str, other: str) -> bool:
        """Whether two signatures call the same function, as ``serve`` and ``serving_default`` of Keras do."""
        same = self._graph.declared(name) == self._graph.declared(other)
        return same and self._operators.called(name) == self._operators.called(other) != []

    def frozen(self, name: str, inputs: Sequence[str], outputs: Sequence[str]) -> FrozenGraph:
        """The graph of a signature, with its weights as constants and its inputs and outputs in the order given.

        Raises:
            Failed: its weights cannot become constants.
        """
        signature = self.signatures[name]
        cut, feeds = self._with_placeholders([signature.inputs[key].name for key in inputs])
        fetches = [feeds.get(signature.outputs[key].name, signature.outputs[key].name) for key in outputs]
        try:
            nodes = [tensor.partition(":")[0] for tensor in [*fetches, *feeds.values()]]
            with without_deprecation_warnings():
                cut = _needed_part(cut, nodes)
                drop_unread_assignments(cut, nodes)
                read_before_gathering(cut)
                frozen = tf.compat.v1.graph_util.convert_variables_to_constants(self._graph.session, cut, nodes)
        except Exception as error:  # TensorFlow's errors share no base that is public in all versions
            raise Failed(f"its weights cannot become constants: {first_line(error)}.") from error
        frozen.versions.CopyFrom(cut.versions)
        _rename_functions(frozen)
        return FrozenGraph(frozen, [feeds[signature.inputs[key].name] for key in inputs], fetches)

    def tables(self) -> dict[str, Table]:
        """The content of the lookup tables, by the name that the graph shares them under."""
        found = {}
        for node in self._graph.graph.get_operations():
            if node.type not in ("HashTable", "HashTableV2", "MutableHashTable", "MutableHashTableV2"):
                continue
            name = node.get_attr("shared_name").decode()
            try:
                with self._graph.graph.as_default():
                    keys, values = node.get_attr("key_dtype"), node.get_attr("value_dtype")
                    content = tf.raw_ops.LookupTableExportV2(table_handle=node.outputs[0], Tkeys=keys, Tvalues=values)
                found[name] = Table(*self._graph.session.run(list(content)))
            except Exception:  # noqa: S112 - a table that is not filled has no ONNX form
                continue
        return found

    def _with_placeholders(self, tensors: Sequence[str]) -> tuple[Any, dict[str, str]]:
        """A copy of the graph in which tensors are placeholders, so that what computes them is left out, and names."""
        cut = tf.compat.v1.GraphDef()
        cut.CopyFrom(self._graph.graph.as_graph_def())
        nodes = {node.name: node for node in cut.node}
        names: dict[str, str] = {}
        for place, tensor in enumerate(tensors):
            source, _, output = tensor.partition(":")
            if nodes[source].op == "Placeholder":
                names[tensor] = tensor
                continue
            made = cut.node.add(op="Placeholder", name=f"bookserve_input_{place}")
            found = self._graph.graph.get_tensor_by_name(tensor)
            made.attr["dtype"].type = found.dtype.base_dtype.as_datatype_enum
            made.attr["shape"].shape.CopyFrom(found.shape.as_proto())
            names[tensor] = f"{made.name}:0"
            written = {tensor, source} if output == "0" else {tensor}
            for node in cut.node:
                node.input[:] = [made.name if name in written else name for name in node.input]
        return cut, names


def refuse_file_access(path: Path) -> None:
    """Refuse an external SavedModel, before it is loaded, if loading it would reach outside its directory.

    A signature that would do so when it runs is left out by ``SavedModel.tensors``.

    Raises:
        InvalidInput: it has an operator that does; the message names it.
        Failed: it is damaged.
    """
    _refuse_links(path)
    saved, tags = read_saved_model(path), tags_to_serve(path)
    meta = next(meta for meta in saved.meta_graphs if list(meta.meta_info_def.tags) == tags)
    assets = [asset.filename for asset in meta.asset_file_def]
    if outside := next((name for name in assets if name.startswith("/") or ".." in re.split(r"[/\\]", name)), ""):
        raise InvalidInput(
            f"{path} names the file '{outside}' as one of its assets, which lies outside its folder 'assets'.",
            "TensorFlow writes no such name. Save the model again where it came from.",
        )
    if operator := GraphOperators(meta).outside_at_load():
        raise InvalidInput(
            f"{path} has the operator '{operator}', which would read or write files outside the model, or call "
            "Python, as soon as the model is loaded.",
            "Save the model without it: a served model may only compute.",
        )


def _refuse_links(path: Path) -> None:
    """Refuse links to elsewhere: what they point to would go into the bundle, and to everyone who gets it."""
    home = path.resolve()
    for file in sorted(path.rglob("*")):
        if file.is_symlink() and not file.resolve().is_relative_to(home):
            raise InvalidInput(
                f"{file} is a link to {file.resolve()}, outside the directory of the model.",
                f"If you trust it, copy the model with what its links point to: cp -rL {path} my_model",
            )


def prepare_saved_model(directory: Path) -> None:
    """Bring a copy of an external SavedModel into the form that servers read: binary, with signatures.

    Raises:
        InvalidInput: it has no signatures and no functions that could become signatures.
        Failed: it is damaged, or has no signatures and cannot be written again.
    """
    saved, text = read_saved_model(directory), directory / "saved_model.pbtxt"
    if text.is_file():
        (directory / "saved_model.pb").write_bytes(saved.SerializeToString(deterministic=True))
        text.unlink()
    if not any(signatures_of(meta) for meta in saved.meta_graphs):
        add_signatures(directory)


def _needed_part(graph_def: Any, nodes: Sequence[str]) -> Any:
    """The part of a graph that ``nodes`` need, with the functions that it calls and no others.

    A function that nothing calls may call one whose weights become constants, and no longer fit it.
    """
    part = tf.compat.v1.graph_util.extract_sub_graph(graph_def, list(dict.fromkeys(nodes)))
    functions = {function.signature.name: function for function in part.library.function}
    waiting, needed = list(part.node), dict[str, None]()
    while waiting:
        for name in function_names(waiting.pop()):
            if name in functions and name not in needed:
                needed[name] = None
                waiting += functions[name].node_def
    del part.library.function[:]
    part.library.function.extend(functions[name] for name in needed)
    del part.library.gradient[:]
    part.versions.CopyFrom(graph_def.versions)
    return part


def _rename_functions(graph_def: Any) -> None:
    """Give the functions names that no other model in this process has: TensorFlow keeps one table for all.

    What keeps a function from being inlined, which the converter needs, is removed.
    """
    digest = hashlib.sha256(graph_def.library.SerializeToString(deterministic=True)).hexdigest()[:16]
    names = {
        function.signature.name: FUNCTION.format(place, digest)
        for place, function in enumerate(graph_def.library.function)
    }
    for function in graph_def.library.function:
        function.signature.name = names[function.signature.name]
        for mark in _NOT_INLINED:
            function.attr.pop(mark, None)
    for node in chain(graph_def.node, *(function.node_def for function in graph_def.library.function)):
        for mark in _NOT_INLINED:
            node.attr.pop(mark, None)
        for attribute in node.attr.values():
            for called in chain([attribute.func] if attribute.func.name else [], attribute.list.func):
                called.name = names.get(called.name, called.name)


def _is_compatible(spec: TensorSpec, found: TensorDeclaration, *, exactly: bool) -> bool:
    if found.shape is None:
        return found.dtype == spec.dtype and (spec.shape == UNKNOWN_RANK or not exactly)
    sizes = [None if isinstance(axis, str) else axis for axis in spec.shape]
    same = sizes == list(found.shape) or (
        not exactly
        and len(sizes) == len(found.shape)
        and all(a is None or b is None or a == b for a, b in zip(sizes, found.shape, strict=True))
    )
    return found.dtype == spec.dtype and same
