"""Bundle: ``models/<name>/<version>/``, one directory that bookserve, TensorFlow Serving and Triton can read.

``bundle.json`` says what the model is and lists every other file with its size and SHA-256. A version appears whole or
not at all: it is written beside its place and renamed into it, and is never changed afterwards.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bookserve import vocabulary
from bookserve.errors import Failed, InvalidInput, NotFound
from bookserve.examples import Examples
from bookserve.graph import Graph
from bookserve.run import Origin
from bookserve.verb import Generate, Predict, Sample, Verb, verb_name

MANIFEST = "bundle.json"

AVerb = TypeVar("AVerb", Predict, Generate, Sample)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


class File(msgspec.Struct, frozen=True):
    """Size in bytes and SHA-256 of one file of a bundle."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Content of ``bundle.json``."""

    format: int = 1
    name: str
    verb: Verb
    #: By signature name of the SavedModel; the first is the one that ``serving_default`` means.
    graphs: dict[str, Graph]
    #: None for a model that bookserve did not train.
    origin: Origin | None = None
    metrics: dict[str, float] = {}
    parameters: int = 0
    created: str = ""
    versions: dict[str, str] = {}
    #: Relative path → ``sha256:<hex>``, ``size`` bytes.
    files: dict[str, File] = {}

    @property
    def default(self) -> str:
        """Name of the graph that runs where a request names none."""
        return next(iter(self.graphs))


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

    def check_files(self) -> None:
        """Compare every file with the manifest.

        Raises:
            Failed: a file is missing, of another size, or of other content.
        """
        for relative, listed in self.manifest.files.items():
            path = self.path / relative
            if not path.resolve().is_relative_to(self.path.resolve()):
                raise Failed(f"{self.path} lists '{relative}', which lies outside it.", "Do not use this bundle.")
            if not path.is_file():
                raise Failed(f"{path} is missing.", "The bundle was not copied whole: copy or export it again.")
            if path.stat().st_size != listed.size or _sha256(path) != listed.sha256:
                raise Failed(f"{path} is not the file that was exported.", "It is damaged: copy or export it again.")

    @classmethod
    def open(cls, path: Path, name: str = "") -> Bundle:
        """Open one version directory; ``name`` is the model's where its directory is called otherwise.

        Raises:
            NotFound: no bundle there.
            Failed: its manifest is damaged, or of a format that this bookserve does not know.
        """
        if not (path / MANIFEST).is_file():
            raise NotFound(f"{path} holds no {MANIFEST}.", "Write a bundle with: bookserve export")
        manifest = vocabulary.load(path / MANIFEST, Manifest)
        if manifest.format != 1:
            raise Failed(f"{path} is of bundle format {manifest.format}; this bookserve reads 1.", "Upgrade bookserve.")
        return cls(path, manifest, name)


def names(models: Path) -> list[str]:
    """Names of the models under ``models`` that have at least one version, sorted."""
    return sorted(path.name for path in models.glob("*") if _NAME.fullmatch(path.name) and versions(models, path.name))


def versions(models: Path, name: str) -> list[int]:
    """Version numbers of one model, ascending; empty where there is no such model."""
    if not _NAME.fullmatch(name):
        return []
    found = (models / name).glob("*") if (models / name).is_dir() else ()
    return sorted(int(path.name) for path in found if _VERSION.fullmatch(path.name) and path.is_dir())


def find(models: Path, name: str, version: int | None = None) -> Bundle:
    """Open a model's version, the newest where none is given.

    Raises:
        NotFound: no such model or version; the message lists those there are.
    """
    have = versions(models, name)
    if not have:
        listed = ", ".join(names(models)) or "none"
        raise NotFound(f"there is no model '{name}' in {models} (models there: {listed}).", "See: bookserve export")
    if version is not None and version not in have:
        raise NotFound(f"model '{name}' has no version {version}.", f"It has: {', '.join(map(str, have))}.")
    return Bundle.open(models / name / str(version or have[-1]))


@contextmanager
def new_version(models: Path, name: str) -> Iterator[Path]:
    """Yield an empty directory to fill; on leaving, it becomes the next version of ``name`` (see ``publish``).

    The file that ``seal`` writes must be among its content. If the body raises, nothing is left behind.

    Raises:
        InvalidInput: the name has characters that are not letters, digits, ``.``, ``_`` or ``-``.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"'{name}' is no model name.", "Use letters, digits, '.', '_' and '-'.")
    home = models / name
    home.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".writing-", dir=home))
    try:
        partial.chmod(0o755)
        yield partial
        if partial.exists():
            publish(partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if not any(home.iterdir()):
            home.rmdir()


def seal(directory: Path, manifest: Manifest) -> None:
    """Write ``bundle.json`` with the size and checksum of every other file in ``directory``."""
    vocabulary.save(manifest, directory / MANIFEST)  # also writes the vocabularies, which are listed below
    files = {
        path.relative_to(directory).as_posix(): File(path.stat().st_size, _sha256(path))
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    vocabulary.save(msgspec.structs.replace(manifest, files=files), directory / MANIFEST)


def publish(partial: Path) -> Bundle:
    """Rename the directory of ``new_version`` to the next free version: atomic, and safe beside another exporter.

    Leaving ``new_version`` does it, too; call this as the last thing in its body to have the bundle.
    """
    home = partial.parent
    while True:
        version = max(versions(home.parent, home.name), default=0) + 1
        try:
            os.rename(partial, home / str(version))  # noqa: PTH104 - Path.rename has the same words for another promise
        except OSError:
            if not (home / str(version)).exists():
                raise
            continue
        return Bundle.open(home / str(version))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def summary(bundle: Bundle) -> dict[str, Any]:
    """What lists of models show of one: name, version, verb, what it is, size, figures."""
    manifest = bundle.manifest
    return {
        "name": bundle.name,
        "version": bundle.version,
        "verb": verb_name(manifest.verb),
        "summary": manifest.origin.summary if manifest.origin else "",
        "data": manifest.origin.data if manifest.origin else "",
        "graphs": list(manifest.graphs),
        "parameters": manifest.parameters,
        "bytes": bundle.size,
        "metrics": manifest.metrics,
        "metric": manifest.origin.metric if manifest.origin else "",
    }
