"""Bundle: ``models/<name>/<version>/``, one directory that bookserve, TensorFlow Serving and Triton can read.

``bundle.json`` says what the model is and lists every other file with its size and SHA-256. A version appears whole or
not at all: it is written beside its place and renamed into it, and is never changed afterwards.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import msgspec

from bookserve.bundle import external_data as external
from bookserve.bundle import manifest as manifest_
from bookserve.bundle import publication as version_
from bookserve.bundle.examples import Examples
from bookserve.bundle.manifest import MANIFEST as MANIFEST
from bookserve.bundle.manifest import MODEL_NAME
from bookserve.bundle.manifest import File as File
from bookserve.bundle.manifest import Manifest as Manifest
from bookserve.bundle.publication import new_version as new_version
from bookserve.bundle.publication import seal as seal
from bookserve.bundle.publication import sha256 as sha256
from bookserve.bundle.publication import versions as versions
from bookserve.errors import Failed, InvalidInput, NotFound
from bookserve.graph import Graph
from bookserve.verb import Generate, Predict, Sample, Transform, verb_name

#: Name of the graph that draws several characters in one run; no signature, and not to be asked for by name.
MULTI_STEP = "ahead"

AVerb = TypeVar("AVerb", Predict, Generate, Sample, Transform)

#: What no graph is run from but the SavedModel, and what no graph at all is run from.
_OF_SAVED_MODEL = ("saved_model.pb", "fingerprint.pb", "variables/", "assets.extra/")
_OF_NO_GRAPH = ("README.md", "assets/model.keras")


class Bundle:
    """One version of one model on disk, opened by its manifest."""

    def __init__(self, path: Path, manifest: Manifest, name: str = "") -> None:
        self.path = path
        self.manifest = manifest
        #: Name of the model: where nobody gave another, that of the directory that holds its versions.
        self.name = name or path.parent.name

    @property
    def version(self) -> int:
        """Number of this version."""
        return int(self.path.name)

    @property
    def size(self) -> int:
        """Bytes of all files that the manifest lists."""
        return sum(file.size for file in self.manifest.files.values())

    def graph(self, name: str = "") -> tuple[str, Graph]:
        """The graph of that name with its proper name; '' and ``serving_default`` mean the default one.

        Raises:
            NotFound: no such graph; the message lists those there are.
        """
        graphs = self.manifest.graphs
        if name not in graphs and name in ("", "serving_default"):
            name = self.manifest.default
        if name not in graphs:
            raise NotFound(f"model '{self.name}' has no graph '{name}'.", f"It has: {', '.join(graphs)}.")
        return name, graphs[name]

    def with_variant(self, name: str) -> Bundle:
        """This version with the ONNX files of a variant in place of those that it has them for."""
        graphs = dict(self.manifest.graphs)
        for graph, variant in self.manifest.variants.get(name, {}).items():
            graphs[graph] = msgspec.structs.replace(graphs[graph], onnx=variant.file)
        return Bundle(self.path, msgspec.structs.replace(self.manifest, graphs=graphs), self.name)

    @property
    def runnable(self) -> dict[str, Graph]:
        """All that can be run: the graphs of the manifest, and the one that writes ahead, where there is one."""
        graphs, verb = self.manifest.graphs, self.manifest.verb
        if isinstance(verb, Generate) and verb.ahead:
            ahead = verb.ahead.graph(graphs[verb.graph], len(verb.characters.vocabulary))
            return {**graphs, MULTI_STEP: ahead}
        return graphs

    def verb(self, kind: type[AVerb]) -> AVerb:
        """What is done with this model, as a verb of that kind.

        Raises:
            InvalidInput: it is another; the message says which.
        """
        verb = self.manifest.verb
        if not isinstance(verb, kind):
            does = verb_name(verb)
            raise InvalidInput(
                f"model '{self.name}' does not {kind.__name__.lower()}.", f"It can {does}: use '{does}'."
            )
        return verb

    def examples(self) -> Examples:
        """The rows and tensors that ``bookserve verify`` replays."""
        return Examples.load(self.path / "examples.npz")

    def check_files(self, *, everything: bool = True) -> None:
        """Compare every file with the manifest: place, size and content.

        With ``everything=False`` content is compared only where something is about to run it: neither the SavedModel,
        where every graph has an ONNX file, nor Keras's own file. Reading costs about a second for each gigabyte.

        Raises:
            Failed: a file is missing, of another size or content, or would lead outside the bundle.
        """
        unread: tuple[str, ...] = ()
        if not everything:
            onnx_alone = all(graph.onnx for graph in self.manifest.graphs.values())
            unread = _OF_NO_GRAPH + (_OF_SAVED_MODEL if onnx_alone else ())
        root = self.path.resolve()
        for relative, listed in self.manifest.files.items():
            path = self.path / relative
            if not path.resolve().is_relative_to(root):
                raise Failed(f"{self.path} lists '{relative}', which lies outside it.", "Do not use this bundle.")
            if not path.is_file():
                raise Failed(f"{path} is missing.", "The bundle was not copied whole: copy or export it again.")
            changed = path.stat().st_size != listed.size
            if changed or (not relative.startswith(unread) and sha256(path) != listed.sha256):
                raise Failed(f"{path} is not the file that was exported.", "It is damaged: copy or export it again.")
        onnx_files = {graph.onnx for graph in self.manifest.graphs.values() if graph.onnx}
        if everything:
            onnx_files |= {relative for relative in self.manifest.files if relative.endswith(".onnx")}
        for onnx in sorted(onnx_files):
            self._check_external(onnx)

    def _check_external(self, onnx: str) -> None:
        """An ONNX file may read other files; each must be one of the bundle's own, and so one with a checksum."""
        for location in external.external_data_locations(self.path / onnx):
            relative = str(PurePosixPath(onnx).parent / location)
            if manifest_.path_problem(location) or relative not in self.manifest.files:
                raise Failed(
                    f"{self.path / onnx} keeps tensors in {location!r}, which is no file of the bundle.",
                    "Do not use this bundle.",
                )

    @classmethod
    def open(cls, path: Path, name: str = "") -> Bundle:
        """Open one version directory (see ``bookserve.bundle.manifest.load``); ``name`` is the model's where its
        directory is called otherwise.

        Raises:
            NotFound: no bundle there.
            Failed: its manifest is damaged, or of a format that this bookserve does not know.
        """
        return cls(path, manifest_.load_manifest(path / MANIFEST), name)


def model_names(models: Path) -> list[str]:
    """Names of the models under ``models`` that have at least one version, sorted."""
    return sorted(
        path.name for path in models.glob("*") if MODEL_NAME.fullmatch(path.name) and versions(models, path.name)
    )


def open_bundle(models: Path, name: str, version: int | None = None) -> Bundle:
    """Open a model's version, the newest where none is given.

    Raises:
        NotFound: no such model or version; the message lists those there are.
    """
    have = versions(models, name)
    if not have:
        listed = ", ".join(model_names(models)) or "none"
        raise NotFound(f"there is no model '{name}' in {models} (models there: {listed}).", "See: bookserve export")
    if version is not None and version not in have:
        raise NotFound(f"model '{name}' has no version {version}.", f"It has: {', '.join(map(str, have))}.")
    return Bundle.open(models / name / str(version or have[-1]))


def publish_bundle(partial: Path) -> Bundle:
    """Open what ``bookserve.bundle.publication.publish`` makes the next version."""
    return Bundle.open(partial.parent / str(version_.publish_version(partial)))


def summarise_bundle(bundle: Bundle) -> dict[str, Any]:
    """What lists of models show of one: name, version, verb, what it is, size, figures."""
    manifest = bundle.manifest
    return {
        "name": bundle.name,
        "version": bundle.version,
        "verb": verb_name(manifest.verb),
        "summary": manifest.origin.summary if manifest.origin else manifest.summary,
        "data": manifest.origin.data if manifest.origin else "",
        "graphs": list(manifest.graphs),
        "parameters": manifest.parameters,
        "bytes": bundle.size,
        "metrics": manifest.metrics,
        "metric": manifest.origin.metric if manifest.origin else "",
    }
