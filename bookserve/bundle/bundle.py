"""Open bundles: directories ``models/<name>/<version>/`` that bookserve, TensorFlow Serving and Triton can read.

``bundle.json`` describes the model and lists every other file with its size and SHA-256. Versions are published
atomically (``bookserve/bundle/publication.py``) and never changed afterwards.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import msgspec

from bookserve.bundle.examples import Examples
from bookserve.bundle.external_data import external_data_locations
from bookserve.bundle.manifest import MANIFEST as MANIFEST
from bookserve.bundle.manifest import MODEL_NAME, load_manifest, path_problem
from bookserve.bundle.manifest import File as File
from bookserve.bundle.manifest import Manifest as Manifest
from bookserve.bundle.publication import new_version as new_version
from bookserve.bundle.publication import publish_version
from bookserve.bundle.publication import seal as seal
from bookserve.bundle.publication import sha256 as sha256
from bookserve.bundle.publication import versions as versions
from bookserve.errors import Failed, InvalidInput, NotFound, did_you_mean
from bookserve.graph import Graph
from bookserve.verb import Generate, Predict, Sample, Transform, verb_name

#: Name of the graph that generates several characters in one run. It is not a signature; requests cannot name it.
MULTI_STEP = "ahead"
#: File with the metrics of each epoch of the training, if the bundle was made from a Run.
HISTORY = "assets/history.csv"

AVerb = TypeVar("AVerb", Predict, Generate, Sample, Transform)

#: Files that only a SavedModel is run from, and files that no graph is run from.
_OF_SAVED_MODEL = ("saved_model.pb", "fingerprint.pb", "variables/", "assets.extra/")
_OF_NO_GRAPH = ("README.md", "assets/model.keras", HISTORY)


class Bundle:
    """One version of a model on disk, with its manifest."""

    def __init__(self, path: Path, manifest: Manifest, name: str = "") -> None:
        self.path = path
        self.manifest = manifest
        #: Name of the model; by default that of the directory that holds its versions.
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
        """Find a graph; return its name and the graph. '' and ``serving_default`` mean the default graph.

        Raises:
            NotFound: there is no such graph; the hint lists the graphs.
        """
        graphs = self.manifest.graphs
        if name not in graphs and name in ("", "serving_default"):
            name = self.manifest.default
        if name not in graphs:
            raise NotFound(f"model '{self.name}' has no graph '{name}'.", f"It has: {', '.join(graphs)}.")
        return name, graphs[name]

    def with_variant(self, name: str) -> Bundle:
        """The same bundle with the ONNX files of a variant, for the graphs that have it."""
        graphs = dict(self.manifest.graphs)
        for graph, variant in self.manifest.variants.get(name, {}).items():
            graphs[graph] = msgspec.structs.replace(graphs[graph], onnx=variant.file)
        return Bundle(self.path, msgspec.structs.replace(self.manifest, graphs=graphs), self.name)

    @property
    def runnable(self) -> dict[str, Graph]:
        """All graphs that can be run: those of the manifest, and the multi-step decoder if there is one."""
        graphs, verb = self.manifest.graphs, self.manifest.verb
        if isinstance(verb, Generate) and verb.ahead:
            ahead = verb.ahead.graph(graphs[verb.graph], len(verb.characters.vocabulary))
            return {**graphs, MULTI_STEP: ahead}
        return graphs

    def verb(self, kind: type[AVerb]) -> AVerb:
        """The verb of this model, which must be of type ``kind``.

        Raises:
            InvalidInput: the model has another verb; the hint names it.
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
        """Check every file against the manifest: path, size and checksum.

        With ``everything=False`` the checksums of files that will not be run are skipped: the model card, Keras's file
        and, if every graph has an ONNX file, the SavedModel. Reading takes about one second per gigabyte.

        Raises:
            Failed: a file is missing, has another size or checksum, or lies outside the bundle.
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
                raise Failed(f"{path} is missing.", "The bundle was not copied completely: copy or export it again.")
            changed = path.stat().st_size != listed.size
            if changed or (not relative.startswith(unread) and sha256(path) != listed.sha256):
                raise Failed(f"{path} is not the file that was exported.", "It is damaged: copy or export it again.")
        onnx_files = {graph.onnx for graph in self.manifest.graphs.values() if graph.onnx}
        if everything:
            onnx_files |= {relative for relative in self.manifest.files if relative.endswith(".onnx")}
        for onnx in sorted(onnx_files):
            self._check_external(onnx)

    def _check_external(self, onnx: str) -> None:
        """Check that the ONNX file refers only to files of the bundle, since those have checksums."""
        for location in external_data_locations(self.path / onnx):
            relative = str(PurePosixPath(onnx).parent / location)
            if path_problem(location) or relative not in self.manifest.files:
                raise Failed(
                    f"{self.path / onnx} keeps tensors in {location!r}, which is not a file of the bundle.",
                    "Do not use this bundle.",
                )

    @classmethod
    def open(cls, path: Path, name: str = "") -> Bundle:
        """Open one version directory. ``name`` is the model's name if its directory has another one.

        Raises:
            NotFound: there is no bundle.
            Failed: its manifest is damaged, or has a format that this version of bookserve does not know.
        """
        return cls(path, load_manifest(path / MANIFEST), name)


def model_names(models: Path) -> list[str]:
    """Names of the models under ``models`` that have at least one version, sorted."""
    return sorted(
        path.name for path in models.glob("*") if MODEL_NAME.fullmatch(path.name) and versions(models, path.name)
    )


def open_bundle(models: Path, name: str, version: int | None = None) -> Bundle:
    """Open a version of a model, by default the newest.

    Raises:
        NotFound: there is no such model or version; the error lists those there are.
    """
    have = versions(models, name)
    if not have:
        listed = ", ".join(model_names(models)) or "none"
        hint = did_you_mean(name, model_names(models)) or "See: bookserve export"
        raise NotFound(f"there is no model '{name}' in {models} (models there: {listed}).", hint.strip())
    if version is not None and version not in have:
        raise NotFound(f"model '{name}' has no version {version}.", f"It has: {', '.join(map(str, have))}.")
    return Bundle.open(models / name / str(version or have[-1]))


def publish_bundle(partial: Path) -> Bundle:
    """Publish the directory of ``new_version`` as the next version, and open it."""
    return Bundle.open(partial.parent / str(publish_version(partial)))


def summarise_bundle(bundle: Bundle) -> dict[str, Any]:
    """The entry of a model in lists of models: name, version, verb, description, size, metrics."""
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
