"""Verify one bundle: its files, and graph by graph its SavedModel, ONNX form and Steps (``bookserve verify``)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bookserve.bundle import MULTI_STEP, Bundle, open_bundle, parity
from bookserve.bundle.examples import Example
from bookserve.errors import BookserveError
from bookserve.formats import tf_example
from bookserve.graph import Graph
from bookserve.runtime import DeviceSession, Session, open_graph, open_session
from bookserve.verb import Generate, MultiStepDecoder
from export.variants import accuracy
from export.verify.onnx_proof import replay_onnx
from export.verify.preprocessing import find_skew

if TYPE_CHECKING:
    from export.sources.saved_model import SavedModel


class Check(NamedTuple):
    """One line of the report. A difference is None if the bundle does not have this form of the graph."""

    model: str
    version: int
    graph: str
    rows: int = 0
    saved_model_difference: float | None = None
    onnx_difference: float | None = None
    #: Of the ONNX form on a GPU; None if it was not run there.
    gpu_difference: float | None = None
    tolerance: str = ""
    #: A description of what is wrong, or ''.
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return not self.problem


def verify_bundle(bundle: Bundle, gpu: str = "") -> Iterator[Check]:
    """Verify a bundle; yield one line per graph, or a single line if its files are missing or changed.

    ``gpu`` names a GPU (``cuda`` or ``cuda:N``) on which ONNX is run, too; '' for none.
    """
    line = Check(bundle.name, bundle.version, "–")
    try:
        bundle.check_files()
        examples = bundle.examples()
        saved = _open_saved_model(bundle)
    except BookserveError as error:
        yield line._replace(problem=error.message.rstrip("."))
        return
    if skew := find_skew(bundle.manifest, examples):
        yield line._replace(problem=skew)
    for name, graph in bundle.manifest.graphs.items():
        yield _check_graph(line._replace(graph=name), bundle, saved, graph, examples.graphs.get(name), gpu)
    verb = bundle.manifest.verb
    if isinstance(verb, Generate) and verb.ahead:
        yield _check_multi_step_decoder(line._replace(graph=MULTI_STEP), bundle, verb, verb.ahead)


def _check_multi_step_decoder(line: Check, bundle: Bundle, verb: Generate, ahead: MultiStepDecoder) -> Check:
    """Check that the multi-step decoder still writes the same texts as the step graph."""
    from export.convert.multi_step_decoder import TEXTS, prove_multi_step_decoder

    line = line._replace(rows=TEXTS, tolerance="the same texts")
    try:
        prove_multi_step_decoder(bundle.path, verb, bundle.manifest.graphs[verb.graph], ahead)
    except BookserveError as error:
        return line._replace(problem=error.message.rstrip("."))
    return line._replace(onnx_difference=0.0)


def _check_graph(
    line: Check, bundle: Bundle, saved: SavedModel | None, graph: Graph, example: Example | None, gpu: str
) -> Check:
    if example is None:
        # Only graphs with an example are converted: a graph without one is external and has a single form.
        unproved = "the bundle has no example of it" if graph.onnx and saved else ""
        return line._replace(problem=unproved)
    line = line._replace(
        rows=len(next(iter(example.inputs.values()), ())) if graph.batched else 1,
        tolerance=parity.describe_tolerance(graph),
    )
    problems = []
    try:
        if saved:
            found = parity.replay(graph, example, partial(saved.run, line.graph))
            line = line._replace(saved_model_difference=found.difference)
            problems.append(found.problem and f"SavedModel: {found.problem}")
            problems.append(_check_example_signature(saved, bundle, line.graph, example))
        if graph.onnx or graph.members:
            opener = partial(open_graph, bundle, line.graph, partial(open_bundle, _models_directory(bundle)))
            if saved and graph.onnx:
                found = replay_onnx(bundle.path / graph.onnx, partial(saved.run, line.graph), graph, example)
            else:
                found = parity.replay(graph, example, opener().run)
            line = line._replace(onnx_difference=found.difference)
            problems.append(found.problem and f"ONNX: {found.problem}")
            if gpu:
                opened: dict[Path, Session] = {}
                found = parity.replay(graph, example, opener(device=gpu, opened=opened).run)
                line = line._replace(gpu_difference=found.difference)
                problem = found.problem or next(filter(None, map(_fallback, opened.values())), "")
                problems.append(problem and f"ONNX on {gpu}: {problem}")
        problems += _check_variants(bundle, line.graph, example)
    except BookserveError as error:
        problems.append(error.message.rstrip("."))
    return line._replace(problem="; ".join(filter(None, problems)))


def _fallback(session: Session) -> str:
    """Why a session on a GPU ran on the CPU in the end; '' if it did not."""
    if not isinstance(session, DeviceSession) or not session.fallbacks:
        return ""
    return session.problem.rstrip(".") or f"it ran on the CPU: {', '.join(session.fallbacks)}"


def _models_directory(bundle: Bundle) -> Path:
    """Return the directory of the models, which also contains the members of a composite."""
    return bundle.path.resolve().parent.parent


def _check_example_signature(saved: SavedModel, bundle: Bundle, graph: str, example: Example) -> str:
    """Describe how the graph's signature over ``tf.Example`` differs; '' if it does not or there is none."""
    answer = tf_example.example_signatures_of(bundle.manifest.verb, bundle.manifest.graphs)
    if not answer or answer.graph != graph or tf_example.signature_name(answer) not in saved.signatures:
        return ""
    from export.convert.example_signatures import replay_example_signatures

    found = replay_example_signatures(saved, answer, example)
    return found.problem and f"{tf_example.signature_name(answer)}: {found.problem}"


def _check_variants(bundle: Bundle, graph: str, example: Example) -> Iterator[str]:
    """Describe each variant of the graph that is not accurate enough."""
    for name, variants in bundle.manifest.variants.items():
        if graph in variants:
            outputs = open_session(bundle.path / variants[graph].file).run(example.inputs)
            found = accuracy.accuracy_problem(
                name, accuracy.compare_variant(bundle.manifest.verb, example.outputs, outputs)
            )
            if found:
                yield f"{name}: {found}"


def _open_saved_model(bundle: Bundle) -> SavedModel | None:
    """Load the bundle's SavedModel; None if it has none."""
    if "saved_model.pb" not in bundle.manifest.files:
        return None
    from export.sources.saved_model import SavedModel

    return SavedModel(bundle.path)
