"""Manifest: what ``bundle.json`` says, and what must be true of one before anything that it names is opened.

A bundle may come from anywhere. Nothing in its manifest is believed that could lead outside the bundle's directory.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import msgspec

from bookserve.bundle import composite
from bookserve.bundle.variant import Variant
from bookserve.errors import Failed, NotFound
from bookserve.graph import DTYPES, Graph
from bookserve.run import Origin
from bookserve.steps import vocabulary
from bookserve.verb import Verb

MANIFEST = "bundle.json"
#: The format that this bookserve writes and reads.
FORMAT = 1
#: Bytes; the largest manifest of the catalogue has 40 kB, since vocabularies are files of their own.
MAX_BYTES = 8 << 20
#: What a model may be called; it names a directory and stands in addresses.
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
#: How a version's directory is called.
VERSION_NAME = re.compile(r"[1-9][0-9]{0,17}")


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Size in bytes and SHA-256 (hexadecimal) of one file of a bundle."""

    size: Annotated[int, msgspec.Meta(ge=0)]
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Content of ``bundle.json``."""

    format: int = FORMAT
    name: str
    verb: Verb
    #: By signature name of the SavedModel; the first is the one that ``serving_default`` means.
    graphs: dict[str, Graph]
    #: None for a model that bookserve did not train.
    origin: Origin | None = None
    #: What a model that bookserve did not train is, and under which licence, where its exporter said so.
    summary: str = ""
    licence: str = ""
    metrics: dict[str, float] = {}
    parameters: int = 0
    created: str = ""
    versions: dict[str, str] = {}
    #: By name (``bookserve/bundle/variant.py``) and graph: smaller or faster forms of the graphs' ONNX files.
    variants: dict[str, dict[str, Variant]] = {}
    #: By path inside the bundle, with ``/`` between its parts.
    files: dict[str, File] = {}

    @property
    def default(self) -> str:
        """Name of the graph that runs where a request names none; '' where there is no graph at all."""
        return next(iter(self.graphs), "")


class Listing(msgspec.Struct, frozen=True):
    """The part of a manifest that can be read before the bundle's other files are there."""

    format: int
    name: str
    files: dict[str, File]


def load_manifest(path: Path) -> Manifest:
    """Read a version's ``bundle.json`` and the vocabularies beside it.

    Raises:
        NotFound: it is not there.
        Failed: it is damaged, of a format that this bookserve does not know, or names what no bundle may hold.
    """
    if not path.is_file():
        raise NotFound(f"{path.parent} holds no {MANIFEST}.", "Write a bundle with: bookserve export")
    if path.stat().st_size > MAX_BYTES:
        raise Failed(f"{path} is larger than {MAX_BYTES >> 20} MiB, as no manifest is.", "Do not use this bundle.")
    try:
        manifest = vocabulary.load_vocabularies(path, Manifest)
    except Failed:
        _refuse_format(path)  # another format explains every other trouble
        raise
    if manifest.format != FORMAT:
        raise _other_format(path, manifest.format)
    if problem := manifest_problem(manifest):
        raise Failed(f"{path}: {problem}.", "Do not use this bundle: no exporter writes such a manifest.")
    return manifest


def list_files(content: bytes, where: str) -> Listing:
    """Read only which files a manifest lists; ``where`` is its address, for the message.

    Raises:
        Failed: as ``load``.
    """
    try:
        found = msgspec.json.decode(content, type=Listing)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failed(f"{where} cannot be read: {error}.", "It is damaged: send the bundle again.") from error
    if found.format != FORMAT:
        raise _other_format(where, found.format)
    problem = _name_problem(found.name) or next(filter(None, map(path_problem, found.files)), "")
    if problem:
        raise Failed(f"{where}: {problem}.", "Do not use this bundle: no exporter writes such a manifest.")
    return found


def manifest_problem(manifest: Manifest) -> str:
    """In words, what a manifest says that no bundle can hold; '' if nothing."""
    problems = [_name_problem(manifest.name), *map(path_problem, manifest.files)]
    for name, graph in manifest.graphs.items():
        problems.append(_graph_problem(name, graph))
        if graph.members:
            problems += [_name_problem(member.model) for member in graph.members if member.model]
            problem = composite.composite_problem(graph, manifest.graphs)
            problems.append(problem and f"graph '{name}' {problem}")
            continue
        if graph.onnx is not None and graph.onnx not in manifest.files:
            problems.append(f"graph '{name}' is in the file {graph.onnx!r}, which is not listed")
        if graph.onnx is None and "saved_model.pb" not in manifest.files:
            problems.append(f"graph '{name}' has no ONNX file, and no SavedModel is listed")
    for name, forms in manifest.variants.items():
        for of, form in forms.items():
            if of not in manifest.graphs or form.file not in manifest.files:
                problems.append(f"variant '{name}' has graph '{of}' in {form.file!r}; one of the two is not listed")
    return next(filter(None, problems), "")


def path_problem(relative: str) -> str:
    """In words, why a path cannot be that of a file inside a bundle; '' if it can.

    The rules hold on every system: what is a plain name here may be a way out elsewhere.
    """
    parts = relative.split("/")
    if not relative.isprintable() or any(mark in relative for mark in '\\:*?"<>|'):
        return f"it lists {relative!r}, which has characters that no file of a bundle has"
    if any(part in ("", ".", "..") for part in parts):
        return f"it lists {relative!r}, which lies outside the bundle or is no plain path"
    return f"it lists {relative!r}, which is itself" if relative == MANIFEST else ""


def _name_problem(name: str) -> str:
    return "" if MODEL_NAME.fullmatch(name) else f"{name[:200]!r} is no model name"


def _graph_problem(name: str, graph: Graph) -> str:
    if not name or not name.isprintable() or "/" in name or "\\" in name:
        return f"{name!r} is no name of a graph"
    for tensor, spec in {**graph.inputs, **graph.outputs}.items():
        if spec.dtype not in DTYPES:
            return f"graph '{name}' has '{tensor}' of the unknown dtype {spec.dtype!r}"
        if any(isinstance(axis, int) and axis < 0 for axis in spec.shape):
            return f"graph '{name}' has '{tensor}' with an axis of negative size"
    return ""


def _refuse_format(path: Path) -> None:
    """Raise the better error where a manifest cannot be read because it is of another format."""

    class Format(msgspec.Struct):
        format: int

    try:
        found = msgspec.json.decode(path.read_bytes(), type=Format).format
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if found != FORMAT:
        raise _other_format(path, found)


def _other_format(where: object, found: int) -> Failed:
    return Failed(f"{where} is of bundle format {found}; this bookserve reads {FORMAT}.", "Upgrade bookserve.")
