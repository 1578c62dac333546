"""Check: what ``bookserve verify`` finds out about one bundle – files, SavedModel, ONNX and Steps, graph by graph."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bookserve.bundle import MULTI_STEP, Bundle, open_bundle
from bookserve.bundle.examples import Example
from bookserve.errors import BookserveError
from bookserve.formats import tf_example as tfexample
from bookserve.graph import Graph
from bookserve.runtime.onnx import OnnxSession, open_graph
from bookserve.verb import Generate, MultiStepDecoder
from export.variants import accuracy as loss
from export.verify import parity
from export.verify.preprocessing import find_skew

if TYPE_CHECKING:
    from export.sources.saved_model import SavedModel


class Check(NamedTuple):
    """One line of the report. A difference is None where the bundle has no such form of the graph."""

    model: str
    version: int
    graph: str
    rows: int = 0
    saved_model_difference: float | None = None
    onnx_difference: float | None = None
    tolerance: str = ""
    #: In words, what is wrong; '' if nothing is.
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem


def verify_bundle(bundle: Bundle) -> Iterator[Check]:
    """Check a bundle: one line for each graph, or a single one if its files are not those that were exported."""
    line = Check(bundle.name, bundle.version, "–")
    try:
        bundle.check_files()
        examples = bundle.examples()
        saved = _open(bundle)
    except BookserveError as error:
        yield line._replace(problem=error.message.rstrip("."))
        return
    if skew := find_skew(bundle.manifest, examples):
        yield line._replace(problem=skew)
    for name, graph in bundle.manifest.graphs.items():
        yield _check(line._replace(graph=name), bundle, saved, graph, examples.graphs.get(name))
    verb = bundle.manifest.verb
    if isinstance(verb, Generate) and verb.ahead:
        yield _check_ahead(line._replace(graph=MULTI_STEP), bundle, verb, verb.ahead)


def _check_ahead(line: Check, bundle: Bundle, verb: Generate, ahead: MultiStepDecoder) -> Check:
    """Whether the graph that writes ahead still writes what the step graph does."""
    from export.convert.multi_step_decoder import TEXTS, prove_multi_step_decoder

    line = line._replace(rows=TEXTS, tolerance="the same texts")
    try:
        prove_multi_step_decoder(bundle.path, verb, bundle.manifest.graphs[verb.graph], ahead)
    except BookserveError as error:
        return line._replace(problem=error.message.rstrip("."))
    return line._replace(onnx_difference=0.0)


def _check(line: Check, bundle: Bundle, saved: SavedModel | None, graph: Graph, example: Example | None) -> Check:
    if example is None:
        # Nothing converted without an example: such a graph is foreign, and runs in the one form that it came in.
        unproved = "the bundle has no example of it" if graph.onnx and saved else ""
        return line._replace(problem=unproved)
    line = line._replace(
        rows=len(next(iter(example.inputs.values()), ())) if graph.batched else 1, tolerance=parity.tolerance(graph)
    )
    problems = []
    try:
        if saved:
            found = parity.replay(graph, example, partial(saved.run, line.graph))
            line = line._replace(saved_model_difference=found.difference)
            problems.append(found.problem and f"SavedModel: {found.problem}")
            problems.append(_check_signature(saved, bundle, line.graph, example))
        if graph.onnx or graph.members:
            found = parity.replay(
                graph, example, open_graph(bundle, line.graph, partial(open_bundle, _models(bundle))).run
            )
            line = line._replace(onnx_difference=found.difference)
            problems.append(found.problem and f"ONNX: {found.problem}")
        problems += _check_variants(bundle, line.graph, example)
    except BookserveError as error:
        problems.append(error.message.rstrip("."))
    return line._replace(problem="; ".join(filter(None, problems)))


def _models(bundle: Bundle) -> Path:
    """The directory that a composite's other models lie in, too."""
    return bundle.path.resolve().parent.parent


def _check_signature(saved: SavedModel, bundle: Bundle, graph: str, example: Example) -> str:
    """What is wrong with the graph's signature over ``tf.Example``, where it has one; '' if nothing is."""
    answer = tfexample.example_signatures_of(bundle.manifest.verb, bundle.manifest.graphs)
    if not answer or answer.graph != graph or tfexample.signature_name(answer) not in saved.signatures:
        return ""
    from export.convert import example_signatures as signatures

    found = signatures.replay_example_signatures(saved, answer, example)
    return found.problem and f"{tfexample.signature_name(answer)}: {found.problem}"


def _check_variants(bundle: Bundle, graph: str, example: Example) -> Iterator[str]:
    """What is wrong with the graph's smaller and faster forms."""
    for name, variants in bundle.manifest.variants.items():
        if graph in variants:
            outputs = OnnxSession(bundle.path / variants[graph].file).run(example.inputs)
            found = loss.accuracy_problem(name, loss.compare_variant(bundle.manifest.verb, example.outputs, outputs))
            if found:
                yield f"{name}: {found}"


def _open(bundle: Bundle) -> SavedModel | None:
    """The bundle's SavedModel, loaded afresh; None where it has none."""
    if "saved_model.pb" not in bundle.manifest.files:
        return None
    from export.sources.saved_model import SavedModel

    return SavedModel(bundle.path)
