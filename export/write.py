# ruff: noqa: TID253
"""Write a bundle: one Source becomes the next version of a model.

The graphs are written first, as SavedModel and as ONNX, and both forms are run on the examples and compared. Only then
the manifest, the model card and the other files follow, and the version is published.

Import this module only inside functions: it imports TensorFlow.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import onnx

from bookserve.bundle import Bundle, Manifest, new_version, parity, publish_bundle, seal
from bookserve.bundle.bundle import HISTORY
from bookserve.bundle.examples import Example, Examples
from bookserve.errors import BookserveError, Failed, InvalidInput
from bookserve.formats import triton
from bookserve.formats.tf_example import Classify, Regress, example_signatures_of
from bookserve.generation.explain import FILTERS
from bookserve.graph import Graph
from bookserve.run import Run
from bookserve.verb import Generate, Transform
from export.card.model_card import write_card
from export.convert import warmup
from export.convert.example_signatures import add_example_signatures, replay_example_signatures
from export.convert.multi_step_decoder import write_multi_step_decoder
from export.convert.saved_model_to_onnx import to_onnx
from export.package_versions import CONVERTERS, ONNX, package_versions
from export.sources import onnx_file
from export.sources.external_model import Model, describe_model
from export.sources.old_keras.rebuilt import KerasModel, check_file, open_rebuilt
from export.sources.saved_model import Order, SavedModel, prepare_saved_model, refuse_file_access
from export.sources.source import Source
from export.sources.trusted_module import open_trusted
from export.verify.onnx_proof import prove_onnx
from export.verify.preprocessing import find_skew

#: The files and directories of a SavedModel; anything else beside them is not copied.
_SAVED_MODEL_PARTS = ("saved_model.pb", "saved_model.pbtxt", "fingerprint.pb", "variables", "assets", "assets.extra")


class WrittenBundle(NamedTuple):
    """A published bundle.

    ``difference`` is the largest absolute difference between the forms of a graph, over all graphs; ``notes`` are
    sentences for the user: what was concluded, and what could not be written and why.
    """

    bundle: Bundle
    difference: float
    seconds: float
    notes: list[str]


class _OnnxForm(NamedTuple):
    """The ONNX form of one graph: its file in the bundle, operators by number, and the largest difference found."""

    file: str
    operators: dict[str, int]
    difference: float


class _Draft(NamedTuple):
    """A bundle whose graphs are written and compared; the manifest is not complete yet."""

    manifest: Manifest
    examples: Examples
    #: By graph; a graph without one runs on TensorFlow only.
    onnx_forms: dict[str, _OnnxForm]
    #: How many floating-point weights the model has.
    parameters: int
    notes: list[str]
    #: The signature over ``tf.Example`` that was added to the SavedModel.
    example_signature: Classify | Regress | None = None
    #: The largest difference between Keras and the SavedModel written from a ``.keras`` file.
    difference: float = 0.0


def write_bundle(source: Source, models: Path, variants: Sequence[str] = ()) -> WrittenBundle:
    """Write, compare and publish one bundle; nothing appears under ``models`` unless all of it succeeds.

    ``variants`` names the smaller or faster forms to write too (``bookserve/bundle/variant.py``); a variant that
    cannot be written is a note, not an error.

    Raises:
        Failed: the SavedModel does not load or, coming from a Run, does not convert or answers differently from Keras.
        InvalidInput: the name is not a valid model name, or an external model has nothing that can be served.
    """
    start = time.perf_counter()
    with new_version(models, source.name) as directory, _errors_that_name(source.path, directory):
        if source.run:
            draft = _write_run(source, source.run, directory)
        elif source.kind == "onnx":
            draft = _write_onnx_file(source, directory)
        elif source.kind == "saved_model":
            draft = _write_saved_model(source, directory)
        else:
            draft = _write_keras_model(source, directory)
        manifest = _complete_manifest(source, directory, draft, variants)
        _write_other_files(source, directory, draft, manifest)
        seal(directory, manifest)
        bundle = publish_bundle(directory)
    triton.write_config(models, source.name)
    difference = max([draft.difference, *(form.difference for form in draft.onnx_forms.values())])
    notes = [note.replace(str(directory), str(source.path)) for note in draft.notes]
    return WrittenBundle(bundle, difference, time.perf_counter() - start, notes)


@contextmanager
def _errors_that_name(given: Path, directory: Path) -> Iterator[None]:
    """Let errors name what the user gave, where they name the unfinished bundle that it was copied into."""
    try:
        yield
    except BookserveError as error:
        message, hint = (text.replace(str(directory), str(given)) for text in (error.message, error.hint))
        if (message, hint) == (error.message, error.hint):
            raise
        raise type(error)(message, hint) from error


def _write_run(source: Source, run: Run, directory: Path) -> _Draft:
    """Copy a Run's SavedModel, add its signature over ``tf.Example``, and convert every graph."""
    _copy_saved_model(source.path, directory)
    saved = SavedModel(directory)  # the copy: what is compared is what is shipped
    parameters = saved.parameters()
    recipe, examples, notes = run.recipe, Examples.load(run.path / "examples.npz"), list[str]()
    manifest = Manifest(
        name=source.name, verb=recipe.verb, graphs=recipe.graphs, origin=recipe.origin, metrics=run.figures
    )
    _copy_keras_model(run.path / "model.keras", directory)
    if (run.path / "history.csv").is_file():
        (directory / HISTORY).parent.mkdir(exist_ok=True)
        shutil.copyfile(run.path / "history.csv", directory / HISTORY)
    if (run.path / FILTERS).is_dir():
        shutil.copytree(run.path / FILTERS, directory / "assets" / FILTERS)
    signature = example_signatures_of(manifest.verb, manifest.graphs)
    if signature:
        saved = add_example_signatures(directory, signature)
    onnx_forms = _convert_run(directory, saved, manifest, examples, notes)
    if signature:
        found = replay_example_signatures(saved, signature, examples.graphs[signature.graph])
        if found.problem:
            raise Failed(f"{source.name}: its signature over tf.Example differs: {found.problem}.")
    return _Draft(manifest, examples, onnx_forms, parameters, notes, signature)


def _write_onnx_file(source: Source, directory: Path) -> _Draft:
    """Copy an ONNX file. It must give the same answers when it is run again, in batches of any size."""
    file = onnx_file.read_onnx(source.path, directory)
    source = source._replace(config=source.config.with_labels(file.labels))
    manifest, examples, notes = _describe_external(source, file)
    onnx_forms = {}
    for name, graph in manifest.graphs.items():
        difference = 0.0
        if name in examples.graphs:
            found = parity.replay(graph, examples.graphs[name], partial(file.run, name))
            if found.problem:
                raise Failed(f"the model gives other answers when it is run again: {found.problem}.")
            difference = found.difference
        onnx_forms[name] = _OnnxForm(onnx_file.FILE, _count_operators(file.proto.graph), difference)
    return _Draft(manifest, examples, onnx_forms, file.parameters(), file.notes + notes)


def _write_saved_model(source: Source, directory: Path) -> _Draft:
    """Copy an external SavedModel, and convert the graphs that can be converted."""
    refuse_file_access(source.path)
    _copy_saved_model(source.path, directory)
    prepare_saved_model(directory)
    return _describe_saved_model(source, directory)


def _write_keras_model(source: Source, directory: Path) -> _Draft:
    """Write a SavedModel from the file of a Keras model, compare it with Keras, and convert its graphs."""
    with _keras_model(source, directory) as (model, maker, notes):
        model.save(directory)
        order = {"serving_default": (model.names["inputs"], model.names["outputs"])}
        draft = _describe_saved_model(source, directory, order)
        differences = [
            _compare_with_keras(model, draft.manifest.graphs[name], example)
            for name, example in draft.examples.graphs.items()
        ]
    manifest = msgspec.structs.replace(draft.manifest, maker=maker)
    return draft._replace(manifest=manifest, notes=notes + draft.notes, difference=max(differences, default=0.0))


def _compare_with_keras(model: KerasModel, graph: Graph, example: Example) -> float:
    """The largest difference between Keras's answers and the SavedModel's."""
    found = parity.compare(model.run(example.inputs), example.outputs, graph.half)
    if found.problem:
        raise Failed(f"the SavedModel differs from Keras: {found.problem}.")
    return found.difference


@contextmanager
def _keras_model(source: Source, directory: Path) -> Iterator[tuple[KerasModel, dict[str, str], list[str]]]:
    """The model in a file of any version of Keras, who wrote it, and notes."""
    if source.kind == "keras":
        from export.sources.keras_file import KerasFile, keras_version

        _copy_keras_model(source.path, directory)
        maker = {"keras": keras_version(source.path)}
        if source.trusted_module is None:
            yield KerasFile(source.path), maker, []
            return
        with open_trusted(source.path, source.trusted_module) as trusted:
            yield trusted, maker, []
        return
    plan = check_file(source.path, source.weights, source.config.backend)
    with open_rebuilt(plan) as rebuilt:
        yield rebuilt, plan.maker, plan.notes


def _describe_saved_model(source: Source, directory: Path, order: Order | None = None) -> _Draft:
    saved = SavedModel(directory, order)
    manifest, examples, notes = _describe_external(source, saved)
    onnx_forms = _convert_external(directory, saved, manifest, examples, notes)
    return _Draft(manifest, examples, onnx_forms, saved.parameters(), notes)


def _describe_external(source: Source, model: Model) -> tuple[Manifest, Examples, list[str]]:
    described = describe_model(model, source.config)
    manifest = Manifest(
        name=source.name,
        verb=described.verb,
        graphs=described.graphs,
        summary=source.config.summary,
        licence=source.config.licence,
    )
    return manifest, described.examples, described.notes


def _complete_manifest(source: Source, directory: Path, draft: _Draft, variants: Sequence[str]) -> Manifest:
    """Write the variants and the multi-step decoder; enter them, the ONNX files and the versions in the manifest."""
    manifest = draft.manifest
    manifest = msgspec.structs.replace(
        manifest,
        graphs={
            name: msgspec.structs.replace(graph, onnx=draft.onnx_forms[name].file if name in draft.onnx_forms else None)
            for name, graph in manifest.graphs.items()
        },
        parameters=draft.parameters,
        created=datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH") or time.time()), UTC).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        ),
        versions=package_versions(ONNX if source.kind == "onnx" else (*ONNX, *CONVERTERS)),
    )
    if variants:
        from export.variants.variants import write_variants

        written, refused = write_variants(directory, manifest, draft.examples, variants)
        manifest = msgspec.structs.replace(manifest, variants=written)
        draft.notes.extend(refused)
    verb = manifest.verb
    if isinstance(verb, Generate) and manifest.graphs[verb.graph].onnx is not None:
        try:
            verb = write_multi_step_decoder(directory, verb, manifest.graphs[verb.graph])
            manifest = msgspec.structs.replace(manifest, verb=verb)
        except Failed as error:
            draft.notes.append(f"texts are written one character a run: {error.message.rstrip('.')}.")
    return manifest


def _write_other_files(source: Source, directory: Path, draft: _Draft, manifest: Manifest) -> None:
    """Write the examples, the warm-up requests, the model card, and the labels as Triton reads them."""
    draft.examples.save(directory / "examples.npz")
    # An external SavedModel may bring warm-up requests of its own.
    if source.kind != "onnx" and not (directory / warmup.PATH).exists():
        warmup.write_warmup(directory / warmup.PATH, source.name, draft.examples.graphs, draft.example_signature)
    operators = {name: form.operators for name, form in draft.onnx_forms.items()}
    (directory / "README.md").write_text(write_card(manifest, draft.examples, operators, directory), "utf-8")
    if isinstance(draft.example_signature, Classify):
        (directory / "assets").mkdir(exist_ok=True)
        labels = "".join(f"{label}\n" for label in draft.example_signature.labels)
        (directory / triton.LABELS).write_text(labels, "utf-8")


def _copy_saved_model(saved_model: Path, directory: Path) -> None:
    for part in _SAVED_MODEL_PARTS:
        path = saved_model / part
        if path.is_dir():
            shutil.copytree(path, directory / part)
        elif path.is_file():
            shutil.copy(path, directory / part)


def _copy_keras_model(path: Path, directory: Path) -> None:
    """Copy the model as Keras saved it: ``bookserve inside`` needs its layers and gradients."""
    if path.is_file():
        (directory / "assets").mkdir(exist_ok=True)
        shutil.copy(path, directory / "assets" / "model.keras")


def _convert_run(
    directory: Path, saved: SavedModel, manifest: Manifest, examples: Examples, notes: list[str]
) -> dict[str, _OnnxForm]:
    """Convert the graphs of a Run; every form of a graph must answer as Keras did, and every graph must convert.

    The exception are graphs of the verb ``transform``: their gradients may have operators that
    ``export/gradients/operators.py`` does not know. Such a graph runs on TensorFlow only; a note says why.
    """
    if problem := find_skew(manifest, examples):
        raise Failed(f"{manifest.name}: {problem}.", "The Steps changed since the run: train again.")
    forms: dict[str, _OnnxForm] = {}
    for name, graph in manifest.graphs.items():
        try:
            saved.check_signature(name, graph)
            if name not in examples.graphs:
                raise Failed("the run has no example of it.", "Train again.")
            graph.check(examples.graphs[name].inputs)
            found = parity.replay(graph, examples.graphs[name], partial(saved.run, name))
            if found.problem:
                raise Failed(f"the SavedModel differs from Keras: {found.problem}.", "Train again.")
            try:
                form = _convert_graph(directory, saved, name, graph, examples.graphs[name], "" if forms else "model")
            except Failed as error:
                if not isinstance(manifest.verb, Transform):
                    raise
                notes.append(f"graph '{name}' runs on TensorFlow only: {error.message.rstrip('.')}.")
                continue
            forms[name] = form._replace(difference=max(form.difference, found.difference))
        except Failed as error:
            raise Failed(f"{manifest.name}, graph '{name}': {error.message}", error.hint) from error
    return forms


def _convert_external(
    directory: Path, saved: SavedModel, manifest: Manifest, examples: Examples, notes: list[str]
) -> dict[str, _OnnxForm]:
    """Convert the graphs of an external SavedModel; a graph that does not convert runs on TensorFlow only (a note)."""
    forms: dict[str, _OnnxForm] = {}
    for name, graph in manifest.graphs.items():
        twin = next((other for other in forms if saved.is_alias(name, other)), None)
        if twin:
            forms[name] = forms[twin]
            continue
        if name not in examples.graphs:
            continue  # there is no example to compare with; a note says why
        try:
            stem = "model" if name == manifest.default else ""
            forms[name] = _convert_graph(directory, saved, name, graph, examples.graphs[name], stem)
        except (Failed, InvalidInput) as error:
            notes.append(f"graph '{name}' runs on TensorFlow only: {error.message.rstrip('.')}.")
            continue
        if any(operator in forms[name].operators for operator in ("Loop", "Scan")):
            notes.append(
                f"graph '{name}' keeps a loop in its ONNX form: ONNX has no operator for what it repeats, as for "
                "ConvLSTM layers. It answers the same, but slower than an LSTM or GRU operator."
            )
    return forms


def _convert_graph(
    directory: Path, saved: SavedModel, name: str, graph: Graph, example: Example, stem: str
) -> _OnnxForm:
    """Write the ONNX file of one graph and compare it; where that fails the file is removed.

    Raises:
        Failed: it does not convert, does not load, or its outputs differ past tolerance.
    """
    path = directory / f"{stem or re.sub(r'[^A-Za-z0-9._-]', '_', name)}.onnx"
    if path.exists():
        path = path.with_stem(f"{path.stem}_")
    proto = to_onnx(saved, name, graph)
    path.write_bytes(proto.SerializeToString(deterministic=True))
    try:
        sizes = saved.hints(name).table_sizes
        difference = prove_onnx(path, partial(saved.run, name), graph, example, sizes)
        return _OnnxForm(path.name, _count_operators(proto.graph), difference)
    except (Failed, InvalidInput):
        path.unlink()
        raise


def _count_operators(graph: onnx.GraphProto) -> dict[str, int]:
    """Count the operators of a graph, the most frequent first."""
    return dict(Counter(node.op_type for node in graph.node).most_common())
