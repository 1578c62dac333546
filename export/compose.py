# ruff: noqa: TID253
"""Compose: models that lie side by side, as one composite model that gives the weighted mean of what they give.

The members stay where they are and what they are: a server shares each with those who ask it directly. Where they read
rows of different lengths, as ``imdb_embedding`` reads the last 20 words of a review and ``imdb_lstm`` the last 500, the
composite takes the longest, and the others get its end. Source: section 7.3.3 of the book (ensembles).

Import this module only inside functions: it imports onnx.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from bookserve.bundle import Bundle, Manifest, new_version, open_bundle, publish_bundle, seal
from bookserve.bundle.examples import Example, Examples
from bookserve.errors import Failed, InvalidInput
from bookserve.graph import Arrays, Graph, Member, TensorSpec, numpy_dtype
from bookserve.runtime.onnx import OnnxSession, open_graph
from bookserve.steps import Rows
from bookserve.verb import Predict
from export.card.model_card import write_card
from export.package_versions import ONNX, package_versions
from export.verify import parity

#: The composite's own graphs: what cuts rows to the members' lengths, and what takes the mean.
CUT, MEAN = "cut", "mean"
_OPSET, _IR = 18, 9


class Candidate(NamedTuple):
    """A member before it is one: a bundle, its verb and default graph, and how much it counts."""

    bundle: Bundle
    verb: Predict
    graph_name: str
    graph: Graph
    share: float

    @property
    def name(self) -> str:
        """Which version it is."""
        return f"{self.bundle.name}/{self.bundle.version}"

    @property
    def input(self) -> tuple[str, TensorSpec]:
        """Its only input."""
        return next(iter(self.graph.inputs.items()))

    def encode(self, rows: Rows) -> np.ndarray:
        """What its own Steps make of raw rows."""
        return self.verb.encode(rows)[self.input[0]]


def compose_models(models: Path, name: str, members: Sequence[tuple[str, int | None, float]]) -> tuple[Bundle, float]:
    """Write, prove and publish the next version of ``name``; also the largest difference that the proof met.

    ``members`` are names, versions (None: the newest) and shares, which are brought to a sum of 1.

    Raises:
        NotFound: no such model or version.
        InvalidInput: fewer than two members, a share that is not positive, or models that no mean can be taken of.
        Failed: the composite does not answer as its members do.
    """
    if len(members) < 2:
        raise InvalidInput("a composite has two members or more.", "Name them: bookserve compose NAME A B")
    if any(not 0 < share < float("inf") for _, _, share in members):
        raise InvalidInput("a share is a positive number.", "Leave a member out that is not to count.")
    total = sum(share for _, _, share in members)
    parts = [_candidate(open_bundle(models, model, version), share / total) for model, version, share in members]
    if len({part.name for part in parts}) < len(parts):
        raise InvalidInput("a member is named twice.", "Give it a larger share instead: MODEL=SHARE")
    first = max(parts, key=lambda part: part.input[1].sizes()[1:])
    examples, lengths = _expected_examples(parts, first)
    with new_version(models, name) as directory:
        manifest = _composite_manifest(name, parts, first, lengths)
        _save_checked(directory / f"{MEAN}.onnx", _mean_model(parts, manifest.graphs[MEAN]))
        if CUT in manifest.graphs:
            _save_checked(directory / f"{CUT}.onnx", _tails_model(manifest.graphs[CUT]))
        opened = Bundle(directory, manifest, name)
        whole = open_graph(opened, "", partial(open_bundle, models))
        found = parity.replay(manifest.graphs[manifest.default], examples.graphs[manifest.default], whole.run)
        if found.problem:
            raise Failed(f"the composite answers otherwise than its members: {found.problem}.")
        examples.save(directory / "examples.npz")
        (directory / "README.md").write_text(write_card(manifest, examples, {}, directory), "utf-8")
        seal(directory, manifest)
        return publish_bundle(directory), found.difference


def _candidate(bundle: Bundle, share: float) -> Candidate:
    name, graph = bundle.graph(bundle.verb(Predict).graph)
    if graph.members:
        raise InvalidInput(f"'{bundle.name}' is made of other models itself.", "Name those.")
    if len(graph.inputs) != 1 or not graph.batched or graph.onnx is None:
        raise InvalidInput(
            f"'{bundle.name}' cannot be a member.", "Members have one input, answer row by row, and have an ONNX form."
        )
    return Candidate(bundle, bundle.verb(Predict), name, graph, share)


def _expected_examples(parts: Sequence[Candidate], first: Candidate) -> tuple[Examples, dict[str, int]]:
    """The first's rows, and the mean of what each member gives for them by its own Steps; by member the length that it
    reads of the first's input, where that is not all."""
    rows = first.bundle.examples().rows
    raw = rows.tolist() if rows.dtype.kind == "U" else rows
    if not len(raw):
        raise InvalidInput(f"'{first.bundle.name}' brings no rows that show how it reads.", "Export it from its run.")
    whole, lengths = first.encode(raw), {}
    given: Arrays = {}
    means = {name: np.zeros((), np.float64) for name in first.graph.outputs}
    for part in parts:
        if part.graph.outputs != first.graph.outputs or part.verb.outputs != first.verb.outputs:
            raise InvalidInput(f"'{part.name}' does not give what '{first.name}' gives.", _requirements_hint(first))
        if any(spec.dtype not in ("float32", "float64") for spec in part.graph.outputs.values()):
            raise InvalidInput(f"'{part.name}' gives something else than numbers.", "There is no mean of it.")
        read = part.encode(raw)
        if read.shape != whole.shape and read.ndim == 2:
            lengths[part.name] = read.shape[1]
        if not np.array_equal(read, whole[:, -read.shape[1] :] if read.ndim == whole.ndim == 2 else whole):
            raise InvalidInput(f"'{part.name}' reads rows otherwise than '{first.name}'.", _requirements_hint(first))
        outputs = OnnxSession(part.bundle.path / str(part.graph.onnx)).run({part.input[0]: read})
        given |= {f"{part.name}/{name}": array for name, array in outputs.items()}
        means = {name: mean + part.share * outputs[name].astype(np.float64) for name, mean in means.items()}
    mean = {name: means[name].astype(spec.dtype) for name, spec in first.graph.outputs.items()}
    graphs = {"serving_default": Example({first.input[0]: whole}, mean), MEAN: Example(given, mean)}
    if lengths:
        cuts = {_tail_name(size): whole[:, -size:] for size in set(lengths.values())}
        graphs[CUT] = Example({first.input[0]: whole}, cuts)
    return Examples(graphs, rows), lengths


def _requirements_hint(first: Candidate) -> str:
    return f"Members take {first.input[1]} or an end of it, by the same Steps, and have the same outputs."


def _composite_manifest(name: str, parts: Sequence[Candidate], first: Candidate, lengths: dict[str, int]) -> Manifest:
    source, spec = first.input
    outputs = first.graph.outputs
    members, graphs = [], {}
    if lengths:
        sizes = sorted(set(lengths.values()))
        cuts = {_tail_name(size): TensorSpec(spec.dtype, ("batch", size)) for size in sizes}
        graphs[CUT] = Graph(inputs={source: spec}, outputs=cuts, onnx=f"{CUT}.onnx")
        members.append(Member(graph=CUT, inputs={source: source}, outputs={cut: f"{CUT}/{cut}" for cut in cuts}))
    for part in parts:
        tensor = f"{CUT}/{_tail_name(lengths[part.name])}" if part.name in lengths else source
        members.append(
            Member(
                model=part.bundle.name,
                version=part.bundle.version,
                graph=part.graph_name,
                inputs={part.input[0]: tensor},
                outputs={output: f"{part.name}/{output}" for output in outputs},
            )
        )
    voted = {f"{part.name}/{output}": spec for part in parts for output, spec in outputs.items()}
    graphs[MEAN] = Graph(inputs=voted, outputs=outputs, onnx=f"{MEAN}.onnx")
    members.append(Member(graph=MEAN, inputs={key: key for key in voted}, outputs={key: key for key in outputs}))
    composite = Graph(inputs={source: spec}, outputs=outputs, members=tuple(members))
    return Manifest(
        name=name,
        verb=Predict(inputs=first.verb.inputs, outputs=first.verb.outputs),
        graphs={"serving_default": composite, **graphs},
        summary="the weighted mean of " + ", ".join(f"{part.name} ({part.share:.3g})" for part in parts),
        parameters=sum(part.bundle.manifest.parameters for part in parts),
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        versions=package_versions(ONNX),
    )


def _tail_name(size: int) -> str:
    return f"last_{size}"


def _tails_model(graph: Graph) -> onnx.ModelProto:
    """The ends of rows, each of the length of its output."""
    (source,) = graph.inputs
    nodes = []
    numbers = [numpy_helper.from_array(np.array([value]), name) for name, value in (("axis", 1), ("end", 2**62))]
    for name, spec in graph.outputs.items():
        numbers.append(numpy_helper.from_array(np.array([-spec.sizes()[1]]), f"{name}/start"))
        nodes.append(helper.make_node("Slice", [source, f"{name}/start", "end", "axis"], [name]))
    return _onnx_model(graph, nodes, numbers)


def _mean_model(parts: Sequence[Candidate], graph: Graph) -> onnx.ModelProto:
    """The sum of the members' outputs, each times its share."""
    nodes, numbers = [], []
    for output, spec in graph.outputs.items():
        for part in parts:
            share = f"{part.name}/{output}/share"
            numbers.append(numpy_helper.from_array(np.array(part.share, spec.dtype), share))
            nodes.append(helper.make_node("Mul", [f"{part.name}/{output}", share], [f"{part.name}/{output}/part"]))
        nodes.append(helper.make_node("Sum", [f"{part.name}/{output}/part" for part in parts], [output]))
    return _onnx_model(graph, nodes, numbers)


def _onnx_model(graph: Graph, nodes: list[onnx.NodeProto], numbers: list[onnx.TensorProto]) -> onnx.ModelProto:
    def described(side: dict[str, TensorSpec]) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(numpy_dtype(spec.dtype)), spec.shape)
            for name, spec in side.items()
        ]

    made: onnx.ModelProto = helper.make_model(
        helper.make_graph(nodes, "composite", described(graph.inputs), described(graph.outputs), numbers),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
        producer_name="bookserve",
    )
    return made


def _save_checked(path: Path, model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
