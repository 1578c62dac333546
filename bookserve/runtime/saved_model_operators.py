"""Find which operators a SavedModel's signatures reach, in its graph and in the functions that the graph calls.

An external model is judged by this before it is loaded: what would read or write files, and which signatures change
variables. Source: the deny list of ``saved_model_cli scan``, and the names of operators in TensorFlow 2.21.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bookserve.runtime.base import GraphHints
from bookserve.runtime.parsed_features import made_up_examples, parsed_features

#: Operators that read or write files, or call Python.
_OUTSIDE = re.compile(
    r"ReadFile|WriteFile|MatchingFiles|PyFunc|PyFuncStateless|EagerPyFunc|Save|SaveSlices|SaveV2|Restore|RestoreSlice"
    r"|RestoreV2|MergeV2Checkpoints|\w*Reader|\w*ReaderV2|FixedLengthRecordDataset\w*|TextLineDataset|TFRecordDataset\w*"
    r"|AudioSummary\w*|\w*SummaryWriter|Write\w*Summary|ImmutableConst|LoadDataset\w*|SaveDataset\w*|DebugIdentity\w*"
)
#: Operators that fill a table from a file when the model is loaded; its path must be one of the model's assets.
_TABLE_FROM_FILE = re.compile(r"InitializeTableFromTextFile(V2)?")
#: Operators that change the variable or table that is their first input.
_WRITES = re.compile(
    r"Assign(Add|Sub)?(VariableOp)?|ResourceScatter\w+|Scatter(Nd)?(Update|Add|Sub|Mul|Div|Min|Max)"
    r"|(Resource)?StridedSliceAssign|(Resource)?(Sparse)?Apply\w+|LookupTable(Insert|Remove|Import)(V2)?"
)
_VARIABLES = re.compile(r"VarHandleOp|Variable(V2)?|TemporaryVariable|\w*HashTable(V2)?")
#: Operators whose output is their input's variable.
_PASSES_ON = ("Identity", "Enter", "Switch", "RefEnter", "RefSwitch", "RefIdentity")
#: The initializers that TensorFlow runs when it loads a model.
_INIT_SIGNATURE = "__saved_model_init_op"
_RESERVED = "__saved_model_"
#: Operators that pass numbers on or convert them, as a weight that is stored in half precision.
_COMPUTES_NOTHING = re.compile(r"Cast|Const|Identity|Placeholder|ReadVariableOp|VarHandleOp|Variable(V2)?")
#: float16 and bfloat16 in the attributes of operators (tensorflow/core/framework/types.proto).
_HALF_TYPES = (19, 14)
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")
#: Where standard output and the log are meant; anything else is the name of a file.
_CONSOLE = ("stdout", "stderr", "log(info)", "log(warning)", "log(error)")


class GraphOperators:
    """The operators of one ``MetaGraphDef``."""

    def __init__(self, meta: Any) -> None:
        self._meta = meta
        self._nodes = {node.name: node for node in meta.graph_def.node}
        self._functions = {function.signature.name: function for function in meta.graph_def.library.function}
        self._written_arguments: dict[str, frozenset[int]] = {}

    def outside(self, signature: str) -> str:
        """The first operator of a signature that reads or writes files or calls Python; '' if there is none."""
        return next(_outside(self._operators(self._signature_nodes(signature))), "")

    def outside_at_load(self) -> str:
        """The first operator that would reach outside the model's directory when the model is loaded; '' if none."""
        signatures, collections = self._meta.signature_def, self._meta.collection_def
        roots = [i.name for i in signatures[_INIT_SIGNATURE].outputs.values()] if _INIT_SIGNATURE in signatures else []
        for name in _INIT_COLLECTIONS:
            roots += collections[name].node_list.value if name in collections else []
        nodes = self._reachable(roots)
        assets = {_node_name(asset.tensor_info.name) for asset in self._meta.asset_file_def}
        operators = list(self._operators(nodes))
        for node, constants in operators:
            if _TABLE_FROM_FILE.fullmatch(node.op) and node.input[1:]:
                name = _node_name(node.input[1])
                source = constants.get(name)
                if source is not None and source.op == "Const" and name not in assets:
                    return str(node.op)
        return next(_outside(operators), "")

    def variables(self, signature: str) -> list[Any]:
        """The nodes of the variables that a signature uses, each once."""
        return [node for node in self._signature_nodes(signature) if _VARIABLES.fullmatch(node.op)]

    def has_state(self, signature: str) -> bool:
        """Whether it uses a variable or table that any signature of the model changes, so that answers depend on it."""
        others = (other for other in self._meta.signature_def if not other.startswith(_RESERVED))
        changed = {name for other in others for name in self._written(other)}
        return any(node.name in changed for node in self.variables(signature))

    def hints(self, signature: str) -> GraphHints:
        """What the operators of a signature show about the inputs that it takes."""
        operators = list(self._operators(self._signature_nodes(signature)))
        found = {feature.name: feature for node, beside in operators for feature in parsed_features(node, beside)}
        shapes = [node.attr["shape"].shape.dim for node, _ in operators if _VARIABLES.fullmatch(node.op)]
        shapes += [node.attr["value"].tensor.tensor_shape.dim for node, _ in operators if node.op == "Const"]
        sizes = {int(shape[0].size) for shape in shapes if len(shape) > 1 and shape[0].size > 1}
        return GraphHints(
            has_state=self.has_state(signature),
            texts=made_up_examples(list(found.values())),
            table_sizes=sorted(sizes, reverse=True),
            half=any(_computes_half(node) for node, _ in operators),
        )

    def called(self, signature: str) -> list[str]:
        """The functions that the functions of a signature call; two signatures that call the same are twins."""
        names = [name for node in self._signature_nodes(signature) for name in function_names(node)]
        bodies = (self._functions[name].node_def for name in names if name in self._functions)
        return [name for body in bodies for node in body for name in function_names(node)]

    def _signature_nodes(self, signature: str) -> list[Any]:
        return self._reachable(info.name for info in self._meta.signature_def[signature].outputs.values())

    def _reachable(self, tensors: Iterable[str]) -> list[Any]:
        waiting, seen = [_node_name(name) for name in tensors], dict[str, Any]()
        while waiting:
            name = waiting.pop()
            if name in seen or name not in self._nodes:
                continue
            seen[name] = node = self._nodes[name]
            waiting += [_node_name(source) for source in node.input]
        return list(seen.values())

    def _operators(self, nodes: Iterable[Any]) -> Iterator[tuple[Any, Mapping[str, Any]]]:
        """The nodes, and those of all functions that they call; each with the nodes beside it by name."""
        calls: dict[str, None] = {}
        for node in nodes:
            calls.update(dict.fromkeys(function_names(node)))
            yield node, self._nodes
        waiting, seen = list(calls), set[str]()
        while waiting:
            name = waiting.pop()
            if name in seen or name not in self._functions:
                continue
            seen.add(name)
            beside = {node.name: node for node in self._functions[name].node_def}
            for node in beside.values():
                waiting += function_names(node)
                yield node, beside

    def _written(self, signature: str) -> set[str]:
        """The names of the variables that a signature changes."""
        written = set()
        for node in self._signature_nodes(signature):
            for place in self._written_places(node):
                source = self._origin(_node_name(node.input[place]), self._nodes)
                if source in self._nodes and _VARIABLES.fullmatch(self._nodes[source].op):
                    written.add(source)
        return written

    def _written_places(self, node: Any) -> set[int]:
        """Which inputs of a node are variables that it changes."""
        if _WRITES.fullmatch(node.op):
            return {0}
        places = set[int]()
        shift = 1 if node.op in ("If", "StatelessIf", "Case", "StatelessCase") else 0  # the first one is the condition
        for name in function_names(node):
            places |= {place + shift for place in self._arguments_written_by(name)}
        return {place for place in places if place < len(node.input)}

    def _arguments_written_by(self, name: str) -> frozenset[int]:
        if name not in self._written_arguments:
            self._written_arguments[name] = frozenset()  # a function that calls itself adds nothing
            function = self._functions.get(name)
            if function:
                arguments = {argument.name: place for place, argument in enumerate(function.signature.input_arg)}
                beside = {node.name: node for node in function.node_def}
                sources = (
                    self._origin(_node_name(node.input[place]), beside)
                    for node in function.node_def
                    for place in self._written_places(node)
                )
                self._written_arguments[name] = frozenset(arguments[s] for s in sources if s in arguments)
        return self._written_arguments[name]

    def _origin(self, name: str, nodes: Mapping[str, Any]) -> str:
        """The variable or argument that the node ``name`` passes on."""
        for _ in range(len(nodes)):
            node = nodes.get(name)
            if node is None or node.op not in _PASSES_ON or not node.input:
                break
            name = _node_name(node.input[0])
        return name


def _outside(operators: Iterable[tuple[Any, Mapping[str, Any]]]) -> Iterator[str]:
    for node, _ in operators:
        if _OUTSIDE.fullmatch(node.op):
            yield str(node.op)
        elif node.op == "PrintV2" and node.attr["output_stream"].s.decode() not in ("", *_CONSOLE):
            yield "PrintV2"


def _computes_half(node: Any) -> bool:
    if _COMPUTES_NOTHING.fullmatch(node.op):
        return False
    return any(attribute.type in _HALF_TYPES for attribute in node.attr.values())


def _node_name(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]


def function_names(node: Any) -> list[str]:
    """The functions that a node calls."""
    names = []
    for attribute in node.attr.values():
        if attribute.func.name:
            names.append(attribute.func.name)
        names += [function.name for function in attribute.list.func]
    return names
