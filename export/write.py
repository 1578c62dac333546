# ruff: noqa: TID253
"""Write: one Source → the next version of its bundle, after proof that every form of it answers alike.

Import this module only inside functions: it imports TensorFlow.
"""

from __future__ import annotations

import re
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import onnx

from bookserve.bundle import Bundle, Manifest, new_version, publish_bundle, seal
from bookserve.bundle.examples import Example, Examples
from bookserve.errors import Failed
from bookserve.formats import tf_example as tfexample
from bookserve.formats import triton
from bookserve.formats.tf_example import Classify, Regress
from bookserve.generation.explain import FILTERS
from bookserve.graph import Graph
from bookserve.run import Run
from bookserve.runtime.onnx import OnnxSession
from bookserve.verb import Generate, Transform
from export.card.model_card import write_card
from export.convert import example_signatures as signatures
from export.convert import multi_step_decoder as ahead
from export.convert import warmup
from export.convert.saved_model_to_onnx import to_onnx
from export.package_versions import CONVERTERS, ONNX, package_versions
from export.sources import external_model as foreign
from export.sources import onnx_file
from export.sources.keras_file import KerasFile
from export.sources.onnx_file import OnnxFile
from export.sources.saved_model import SavedModel, refuse_file_access
from export.sources.source import Source
from export.verify import parity
from export.verify.preprocessing import find_skew

#: What a SavedModel consists of; anything else in its directory stays there.
_PARTS = ("saved_model.pb", "fingerprint.pb", "variables", "assets", "assets.extra")


class Written(NamedTuple):
    """A published bundle, the largest difference that its proof met, and what there is to say about it."""

    bundle: Bundle
    difference: float
    seconds: float
    notes: list[str]


class _Onnx(NamedTuple):
    """What became of one graph: its file in the bundle, how often each operator stands there, the difference met."""

    file: str
    operators: dict[str, int]
    difference: float


def write_bundle(source: Source, models: Path, variants: Sequence[str] = ()) -> Written:
    """Write, prove and publish one bundle; nothing appears under ``models`` unless all of it succeeds.

    ``variants`` names further forms (``bookserve/bundle/variant.py``); the notes say which of them could not be had.

    Raises:
        Failed: the SavedModel does not load or, coming from a Run, does not convert or answers otherwise than Keras.
        InvalidInput: the name is not one a model can have, or a foreign SavedModel has nothing to serve.
    """
    start = time.perf_counter()
    with new_version(models, source.name) as directory:
        answer: Classify | Regress | None = None
        notes: list[str] = []
        difference = 0.0
        model: foreign.Model
        if source.run:
            _copy(source.path, directory)
            model = saved = SavedModel(directory)  # the copy: what is proved is what is shipped
            manifest, examples = _of_run(source, source.run)
            _copy_keras(source.run.path / "model.keras", directory)
            if (source.run.path / FILTERS).is_dir():
                shutil.copytree(source.run.path / FILTERS, directory / "assets" / FILTERS)
            answer = tfexample.example_signatures_of(manifest.verb, manifest.graphs)
            if answer:
                saved = signatures.add_example_signatures(directory, saved, answer)
            onnx_forms = _convert_run(directory, saved, manifest, examples, notes)
            if (
                answer
                and (
                    found := signatures.replay_example_signatures(saved, answer, examples.graphs[answer.graph])
                ).problem
            ):
                raise Failed(f"{source.name}: its signature over tf.Example differs: {found.problem}.")
        elif source.kind == "onnx":
            model = file = onnx_file.read_onnx(source.path, directory)
            manifest, examples, notes = _of_foreign(source, model)
            onnx_forms = {name: _replay(file, name, manifest, examples, notes) for name in manifest.graphs}
        else:
            made = _import(source, directory)
            model = saved = SavedModel(directory)
            manifest, examples, notes = _of_foreign(source, model)
            difference = (
                max((made.prove(example) for example in examples.graphs.values()), default=0.0) if made else 0.0
            )
            onnx_forms = _convert_foreign(directory, saved, manifest, examples, notes)
        manifest = msgspec.structs.replace(
            manifest,
            graphs={
                name: msgspec.structs.replace(graph, onnx=onnx_forms[name].file if name in onnx_forms else None)
                for name, graph in manifest.graphs.items()
            },
            parameters=model.parameters(),
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            versions=package_versions(ONNX if source.kind == "onnx" else (*ONNX, *CONVERTERS)),
        )
        if variants:
            from export.variants import variants as forms

            written, refused = forms.write_variants(directory, manifest, examples, variants)
            manifest = msgspec.structs.replace(manifest, variants=written)
            notes += refused
        manifest = _with_ahead(directory, manifest, notes)
        examples.save(directory / "examples.npz")
        # A foreign model may bring requests of its own.
        if source.kind != "onnx" and not (directory / warmup.PATH).exists():
            warmup.write_warmup(directory / warmup.PATH, source.name, examples.graphs, answer)
        operators = {name: form.operators for name, form in onnx_forms.items()}
        (directory / "README.md").write_text(write_card(manifest, examples, operators, directory), "utf-8")
        if isinstance(answer, Classify):
            (directory / "assets").mkdir(exist_ok=True)
            (directory / triton.LABELS).write_text("".join(f"{label}\n" for label in answer.labels), "utf-8")
        seal(directory, manifest)
        bundle = publish_bundle(directory)
    triton.write_config(models, source.name)
    difference = max([difference, *(form.difference for form in onnx_forms.values())])
    return Written(bundle, difference, time.perf_counter() - start, notes)


def _copy(saved_model: Path, directory: Path) -> None:
    for part in _PARTS:
        path = saved_model / part
        if path.is_dir():
            shutil.copytree(path, directory / part)
        elif path.is_file():
            shutil.copy(path, directory / part)


def _copy_keras(path: Path, directory: Path) -> None:
    """The model as Keras saves it: ``bookserve inside`` needs layers and gradients, which no other form has."""
    if path.is_file():
        (directory / "assets").mkdir(exist_ok=True)
        shutil.copy(path, directory / "assets" / "model.keras")


def _import(source: Source, directory: Path) -> KerasFile | None:
    """Fill ``directory`` with a SavedModel from elsewhere; what Keras read, where it comes from Keras."""
    if source.kind == "saved_model":
        refuse_file_access(source.path)
        _copy(source.path, directory)
        return None
    model = KerasFile(source.path)
    model.save(directory)
    _copy_keras(source.path, directory)
    return model


def _of_foreign(source: Source, model: foreign.Model) -> tuple[Manifest, Examples, list[str]]:
    described = foreign.describe_model(model, source.config)
    manifest = Manifest(
        name=source.name,
        verb=described.verb,
        graphs=described.graphs,
        summary=source.config.summary,
        licence=source.config.licence,
    )
    return manifest, described.examples, described.notes


def _replay(file: OnnxFile, name: str, manifest: Manifest, examples: Examples, notes: list[str]) -> _Onnx:
    """What there is to say of a graph that came as ONNX: it must give its answers again, in batches of any size."""
    difference = 0.0
    if name in examples.graphs:
        found = parity.replay(manifest.graphs[name], examples.graphs[name], partial(file.run, name))
        if found.problem:
            raise Failed(f"the model differs from itself: {found.problem}.")
        difference = found.difference
    return _Onnx(onnx_file.FILE, _count(file.proto.graph), difference)


def _of_run(source: Source, run: Run) -> tuple[Manifest, Examples]:
    recipe = run.recipe
    manifest = Manifest(
        name=source.name, verb=recipe.verb, graphs=recipe.graphs, origin=recipe.origin, metrics=run.figures
    )
    return manifest, Examples.load(run.path / "examples.npz")


def _convert_run(
    directory: Path, saved: SavedModel, manifest: Manifest, examples: Examples, notes: list[str]
) -> dict[str, _Onnx]:
    """Every form of a graph must answer as Keras did, and every graph must convert.

    Graphs of gradients may have operators for which ``export/gradients/operators.py`` has none: those stay with
    TensorFlow, and ``notes`` says why.
    """
    if problem := find_skew(manifest, examples):
        raise Failed(f"{manifest.name}: {problem}.", "The Steps changed since the run: train again.")
    forms: dict[str, _Onnx] = {}
    for name, graph in manifest.graphs.items():
        try:
            saved.check(name, graph)
            if name not in examples.graphs:
                raise Failed("the run has no example of it.", "Train again.")
            graph.check(examples.graphs[name].inputs)
            found = parity.replay(graph, examples.graphs[name], partial(saved.run, name))
            if found.problem:
                raise Failed(f"the SavedModel differs from Keras: {found.problem}.", "Train again.")
            try:
                form = _convert(directory, saved, name, graph, examples.graphs[name], "" if forms else "model")
            except Failed as error:
                if not isinstance(manifest.verb, Transform):
                    raise
                notes.append(f"graph '{name}' runs on TensorFlow only: {error.message.rstrip('.')}.")
                continue
            forms[name] = form._replace(difference=max(form.difference, found.difference))
        except Failed as error:
            raise Failed(f"{manifest.name}, graph '{name}': {error.message}", error.hint) from error
    return forms


def _with_ahead(directory: Path, manifest: Manifest, notes: list[str]) -> Manifest:
    """The manifest with a graph that draws several characters in one run, where the model writes and one can be had."""
    verb = manifest.verb
    if not isinstance(verb, Generate) or manifest.graphs[verb.graph].onnx is None:
        return manifest
    try:
        return msgspec.structs.replace(
            manifest, verb=ahead.write_multi_step_decoder(directory, verb, manifest.graphs[verb.graph])
        )
    except Failed as error:
        notes.append(f"every character costs a run: {error.message.rstrip('.')}.")
        return manifest


def _convert_foreign(
    directory: Path, saved: SavedModel, manifest: Manifest, examples: Examples, notes: list[str]
) -> dict[str, _Onnx]:
    """The graphs that convert; the others stay with TensorFlow, and ``notes`` says why."""
    forms: dict[str, _Onnx] = {}
    for name, graph in manifest.graphs.items():
        twin = next((other for other in forms if saved.is_alias(name, other)), None)
        if twin:
            forms[name] = forms[twin]
            continue
        if name not in examples.graphs:
            continue  # nothing to prove it with; a note says why
        try:
            stem = "model" if name == manifest.default else ""
            forms[name] = _convert(directory, saved, name, graph, examples.graphs[name], stem)
        except Failed as error:
            notes.append(f"graph '{name}' runs on TensorFlow only: {error.message.rstrip('.')}.")
    return forms


def _convert(directory: Path, saved: SavedModel, name: str, graph: Graph, example: Example, stem: str) -> _Onnx:
    """Write the ONNX file of one graph and prove it; where that fails no file is left.

    Raises:
        Failed: it does not convert, does not load, or its outputs differ past tolerance.
    """
    path = directory / f"{stem or re.sub(r'[^A-Za-z0-9._-]', '_', name)}.onnx"
    if path.exists():
        path = path.with_stem(f"{path.stem}_")
    proto = to_onnx(saved, name, graph)
    path.write_bytes(proto.SerializeToString(deterministic=True))
    try:
        return _Onnx(path.name, _count(proto.graph), _prove(path, saved, name, graph, example))
    except Failed:
        path.unlink()
        raise


def _prove(path: Path, saved: SavedModel, name: str, graph: Graph, example: Example) -> float:
    """Compare an ONNX file, run as the server will run it, with Keras and at other lengths with the SavedModel."""
    try:
        backend = OnnxSession(path)
    except Failed as error:
        raise Failed(error.message.replace(f" {path}:", " it:")) from error
    found = parity.replay(graph, example, backend.run)
    for length, feeds in parity.other_lengths(graph, example.inputs):
        if found.problem:
            break
        try:
            expected = saved.run(name, feeds)
        except Failed:
            continue  # a length that the model itself does not take
        problem = parity.compare(expected, backend.run(feeds)).problem
        found = found._replace(problem=f"with {length}, {problem}" if problem else "")
    if found.problem:
        raise Failed(f"the ONNX form differs: {found.problem}.", "Report it: the converter wrote something else.")
    return found.difference


def _count(graph: onnx.GraphProto) -> dict[str, int]:
    """How often each operator stands in a graph, the most frequent first."""
    return dict(Counter(node.op_type for node in graph.node).most_common())
