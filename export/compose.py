# ruff: noqa: TID253
"""Write a composite: one model that answers with the weighted mean of other models' answers.

The composite refers to its member models by name and version; they are not copied. Members may read rows of different
lengths: ``imdb_embedding`` reads the last 20 words of a review, ``imdb_lstm`` the last 500. The composite then reads
the longest row, and each other member gets the end (tail) of it. Source: section 7.3.3 of the book (ensembles).

Import this module only inside functions: it imports onnx.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import onnx
from onnx import helper, numpy_helper

from bookserve.bundle import Bundle, Manifest, new_version, open_bundle, parity, publish_bundle, seal
from bookserve.bundle.examples import Example, Examples
from bookserve.errors import Failed, InvalidInput
from bookserve.graph import Arrays, Graph, Member, Precision, TensorSpec, numpy_dtype
from bookserve.runtime import open_graph, open_session
from bookserve.steps import Rows
from bookserve.verb import Predict
from export.card.model_card import write_card
from export.package_versions import ONNX, package_versions

#: The composite's own graphs: one cuts rows to the lengths that the members read, one takes the weighted mean.
CUT, MEAN = "cut", "mean"
_OPSET, _IR = 18, 9


class Candidate(NamedTuple):
    """A model that shall become a member: its bundle, verb and default graph, and its share (all shares sum to 1)."""

    bundle: Bundle
    verb: Predict
    graph_name: str
    graph: Graph
    share: float

    @property
    def name(self) -> str:
        """``MODEL/VERSION``."""
        return f"{self.bundle.name}/{self.bundle.version}"

    @property
    def input(self) -> tuple[str, TensorSpec]:
        """The name and the spec of its only input."""
        return next(iter(self.graph.inputs.items()))

    def encode(self, rows: Rows) -> np.ndarray:
        """Apply its own Steps to raw rows."""
        return self.verb.encode(rows)[self.input[0]]


def compose_models(models: Path, name: str, members: Sequence[tuple[str, int | None, float]]) -> tuple[Bundle, float]:
    """Write, compare and publish the next version of ``name``; return it with the largest difference found.

    The composite is run on rows of the member with the longest input, and compared with the mean of all members'
    own answers.
    ``members`` are names, versions (None: the newest) and shares, which are scaled to a sum of 1.

    Raises:
        NotFound: no such model or version.
        InvalidInput: fewer than two members, a share that is not positive, or models whose answers have no mean.
        Failed: the composite's answers are not the mean of its members' answers.
    """
    if len(members) < 2:
        raise InvalidInput(
            "a composite needs two members or more.", "Name at least two models: bookserve compose NAME MODEL MODEL"
        )
    if any(not 0 < share < float("inf") for _, _, share in members):
        raise InvalidInput("a share must be a positive number.", "To exclude a model, do not name it as a member.")
    total = sum(share for _, _, share in members)
    parts = [_candidate(open_bundle(models, model, version), share / total) for model, version, share in members]
    if len({part.name for part in parts}) < len(parts):
        raise InvalidInput("a member is named twice.", "Name it once with a larger share: MODEL=SHARE")
    first = max(parts, key=lambda part: part.input[1].sizes()[1:])
    examples, lengths = _expected_examples(parts, first)
    with new_version(models, name) as directory:
        manifest = _composite_manifest(name, parts, first, lengths)
        _save_checked(directory / f"{MEAN}.onnx", _mean_model(parts, manifest.graphs[MEAN]))
        if CUT in manifest.graphs:
            _save_checked(directory / f"{CUT}.onnx", _tails_model(manifest.graphs[CUT]))
        unsealed = Bundle(directory, manifest, name)
        composite = open_graph(unsealed, "", partial(open_bundle, models))
        found = parity.replay(manifest.graphs[manifest.default], examples.graphs[manifest.default], composite.run)
        if found.problem:
            raise Failed(f"the composite's answers are not the mean of its members' answers: {found.problem}.")
        examples.save(directory / "examples.npz")
        (directory / "README.md").write_text(write_card(manifest, examples, {}, directory), "utf-8")
        seal(directory, manifest)
        return publish_bundle(directory), found.difference


def _candidate(bundle: Bundle, share: float) -> Candidate:
    name, graph = bundle.graph(bundle.verb(Predict).graph)
    if graph.members:
        raise InvalidInput(f"'{bundle.name}' is a composite itself, which cannot be a member.", "Name its members.")
    if len(graph.inputs) != 1 or not graph.batched or graph.onnx is None:
        raise InvalidInput(
            f"'{bundle.name}' cannot be a member of a composite.",
            "A member needs exactly one input, a batch axis and an ONNX form.",
        )
    return Candidate(bundle, bundle.verb(Predict), name, graph, share)


def _expected_examples(parts: Sequence[Candidate], first: Candidate) -> tuple[Examples, dict[str, int]]:
    """Run every member on the rows of ``first`` and return the expected examples of the composite's graphs.

    Each member encodes the rows by its own Steps. Also returns, for each member that reads only the end of ``first``'s
    input, the length that it reads.

    Raises:
        InvalidInput: there are no rows, or a member reads them or answers them in another way than ``first``.
    """
    rows = first.bundle.examples().rows
    raw = rows.tolist() if rows.dtype.kind == "U" else rows
    if not len(raw):
        raise InvalidInput(
            f"the bundle of '{first.bundle.name}' has no raw rows, which are needed to compare the members.",
            "Export it from its run.",
        )
    longest, lengths = first.encode(raw), {}
    member_arrays: Arrays = {}
    means = {name: np.zeros((), np.float64) for name in first.graph.outputs}
    for part in parts:
        if part.graph.outputs != first.graph.outputs or part.verb.outputs != first.verb.outputs:
            raise InvalidInput(
                f"the outputs of '{part.name}' differ from those of '{first.name}'.", _requirements_hint(first)
            )
        if any(spec.dtype not in ("float32", "float64") for spec in part.graph.outputs.values()):
            raise InvalidInput(
                f"an output of '{part.name}' is not of dtype float32 or float64, so it has no mean.",
                _requirements_hint(first),
            )
        encoded = part.encode(raw)
        if encoded.shape != longest.shape and encoded.ndim == 2:
            lengths[part.name] = encoded.shape[1]
        if not np.array_equal(
            encoded, longest[:, -encoded.shape[1] :] if encoded.ndim == longest.ndim == 2 else longest
        ):
            raise InvalidInput(
                f"the Steps of '{part.name}' encode rows differently from those of '{first.name}'.",
                _requirements_hint(first),
            )
        outputs = open_session(part.bundle.path / str(part.graph.onnx)).run({part.input[0]: encoded})
        member_arrays |= {f"{part.name}/{name}": array for name, array in outputs.items()}
        means = {name: mean + part.share * outputs[name].astype(np.float64) for name, mean in means.items()}
    mean = {name: means[name].astype(spec.dtype) for name, spec in first.graph.outputs.items()}
    graphs = {"serving_default": Example({first.input[0]: longest}, mean), MEAN: Example(member_arrays, mean)}
    if lengths:
        cuts = {_tail_name(size): longest[:, -size:] for size in set(lengths.values())}
        graphs[CUT] = Example({first.input[0]: longest}, cuts)
    return Examples(graphs, rows), lengths


def _requirements_hint(first: Candidate) -> str:
    return f"All members need the input {first.input[1]} or the end of it, the same Steps, and the same outputs."


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
    member_outputs = {f"{part.name}/{output}": spec for part in parts for output, spec in outputs.items()}
    graphs[MEAN] = Graph(inputs=member_outputs, outputs=outputs, onnx=f"{MEAN}.onnx")
    members.append(
        Member(graph=MEAN, inputs={key: key for key in member_outputs}, outputs={key: key for key in outputs})
    )
    precision: Precision = "half" if any(part.graph.half for part in parts) else msgspec.UNSET
    composite = Graph(inputs={source: spec}, outputs=outputs, members=tuple(members), precision=precision)
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
    """Return a model that cuts the ends off its rows; each output has another length."""
    (source,) = graph.inputs
    nodes = []
    numbers = [numpy_helper.from_array(np.array([value]), name) for name, value in (("axis", 1), ("end", 2**62))]
    for name, spec in graph.outputs.items():
        numbers.append(numpy_helper.from_array(np.array([-spec.sizes()[1]]), f"{name}/start"))
        nodes.append(helper.make_node("Slice", [source, f"{name}/start", "end", "axis"], [name]))
    return _onnx_model(graph, nodes, numbers)


def _mean_model(parts: Sequence[Candidate], graph: Graph) -> onnx.ModelProto:
    """Return a model that sums the members' outputs, each multiplied by its share."""
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

    model: onnx.ModelProto = helper.make_model(
        helper.make_graph(nodes, "composite", described(graph.inputs), described(graph.outputs), numbers),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
        producer_name="bookserve",
    )
    return model


def _save_checked(path: Path, model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
