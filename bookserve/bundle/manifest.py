"""Read ``bundle.json`` and check it before any file that it names is opened.

A bundle may come from an untrusted source. A manifest that could lead outside the bundle's directory is refused.
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
#: The bundle format that this version of bookserve writes and reads.
FORMAT = 1
#: Maximum size in bytes. The largest manifest of the catalogue has 40 kB; vocabularies are separate files.
MAX_BYTES = 8 << 20
#: Allowed names of models; they are used as directory names and in URLs.
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
#: Allowed names of version directories.
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
    #: Graphs by signature name of the SavedModel; the first one is ``serving_default``.
    graphs: dict[str, Graph]
    #: None for a model that was not trained by bookserve.
    origin: Origin | None = None
    #: Description and licence of a model that was not trained by bookserve, if given at export.
    summary: str = ""
    licence: str = ""
    metrics: dict[str, float] = {}
    parameters: int = 0
    created: str = ""
    versions: dict[str, str] = {}
    #: What wrote the file that an external model was exported from, as far as the file says: program → version.
    maker: dict[str, str] = {}
    #: Variant name (``bookserve/bundle/variant.py``) → graph → smaller or faster ONNX file.
    variants: dict[str, dict[str, Variant]] = {}
    #: Files by path inside the bundle, with ``/`` as separator.
    files: dict[str, File] = {}

    @property
    def default(self) -> str:
        """Name of the graph for requests that name none; '' if the model has no graph."""
        return next(iter(self.graphs), "")


class Listing(msgspec.Struct, frozen=True):
    """The part of a manifest that can be read without the other files of the bundle."""

    format: int
    name: str
    files: dict[str, File]


def load_manifest(path: Path) -> Manifest:
    """Read a version's ``bundle.json`` and the vocabularies beside it.

    Raises:
        NotFound: it does not exist.
        Failed: it is damaged, has an unknown format, or contains something that a bundle must not contain.
    """
    if not path.is_file():
        raise NotFound(f"{path.parent} has no {MANIFEST}.", "Write a bundle with: bookserve export")
    if path.stat().st_size > MAX_BYTES:
        raise Failed(
            f"{path} is larger than {MAX_BYTES >> 20} MiB, too large for a manifest.", "Do not use this bundle."
        )
    try:
        manifest = vocabulary.load_vocabularies(path, Manifest)
    except Failed:
        _refuse_format(path)  # another format explains all other errors
        raise
    if manifest.format != FORMAT:
        raise _other_format(path, manifest.format)
    if problem := manifest_problem(manifest):
        raise Failed(f"{path}: {problem}.", "Do not use this bundle: bookserve does not write such manifests.")
    return manifest


def list_files(content: bytes, where: str) -> Listing:
    """Read only the list of files of a manifest; ``where`` is its address for error messages.

    Raises:
        Failed: as ``load_manifest``.
    """
    try:
        found = msgspec.json.decode(content, type=Listing)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failed(f"{where} cannot be read: {error}.", "It is damaged: push the bundle again.") from error
    if found.format != FORMAT:
        raise _other_format(where, found.format)
    problem = _name_problem(found.name) or next(filter(None, map(path_problem, found.files)), "")
    if problem:
        raise Failed(f"{where}: {problem}.", "Do not use this bundle: bookserve does not write such manifests.")
    return found


def manifest_problem(manifest: Manifest) -> str:
    """The first thing in a manifest that a bundle must not contain, as a sentence; '' if there is none."""
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
    """Why a path cannot be a file inside a bundle, as a sentence; '' if it can.

    The rules are the same on every system, because a path that is harmless here may leave the bundle on another one.
    """
    parts = relative.split("/")
    if not relative.isprintable() or any(mark in relative for mark in '\\:*?"<>|'):
        return f"it lists {relative!r}, which has characters that are not allowed in the name of a file"
    if any(part in ("", ".", "..") for part in parts):
        return f"it lists {relative!r}, which lies outside the bundle or is not a plain path"
    return f"it lists {relative!r}, which is the manifest itself" if relative == MANIFEST else ""


def _name_problem(name: str) -> str:
    return "" if MODEL_NAME.fullmatch(name) else f"{name[:200]!r} is not a model name"


def _graph_problem(name: str, graph: Graph) -> str:
    if not name or not name.isprintable() or "\\" in name:
        return f"{name!r} is not a name of a graph"
    for tensor, spec in {**graph.inputs, **graph.outputs}.items():
        if spec.dtype not in DTYPES:
            return f"graph '{name}' has '{tensor}' of the unknown dtype {spec.dtype!r}"
        if any(isinstance(axis, int) and axis < 0 for axis in spec.shape):
            return f"graph '{name}' has '{tensor}' with an axis of negative size"
    return ""


def _refuse_format(path: Path) -> None:
    """Raise the clearer error if a manifest cannot be read because it has another format."""

    class Format(msgspec.Struct):
        format: int

    try:
        found = msgspec.json.decode(path.read_bytes(), type=Format).format
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if found != FORMAT:
        raise _other_format(path, found)


def _other_format(where: object, found: int) -> Failed:
    return Failed(f"{where} has bundle format {found}; this version of bookserve reads {FORMAT}.", "Upgrade bookserve.")
