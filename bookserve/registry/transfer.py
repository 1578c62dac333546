"""Transfer: one version of a bundle, from a place to a directory or from a directory to a place.

A version arrives whole or not at all, under the number it had, and is never changed: here it is put together in
``.arriving-<version>/`` and renamed; elsewhere its manifest is sent last. Every file is compared with its checksum
where it arrived. What an interrupted transfer brought is kept, and the next one goes on from there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bookserve import bundle as bundle_
from bookserve.bundle import Bundle
from bookserve.bundle.manifest import MANIFEST, MODEL_NAME, File, list_files
from bookserve.bundle.publication import lock_directory, move_into_place, sha256
from bookserve.errors import Failed, InvalidInput, NotFound, NotReady
from bookserve.formats import triton
from bookserve.registry.location import Location

#: Told how many bytes more are where they should be, and how many there are in all.
Progress = Callable[[int, int], object]
Advance = Callable[[int], object]


class Transfer(NamedTuple):
    """What a transfer did: ``sent`` of ``size`` bytes; the others were there already."""

    name: str
    version: int
    files: int
    size: int
    sent: int
    where: str


def newest_version(source: Location, name: str) -> int:
    """The number of the newest whole version there.

    Raises:
        NotFound: no such model there.
    """
    if not MODEL_NAME.fullmatch(name):
        raise NotFound(f"'{name}' is no model name.")
    found = source.newest(name)
    if found is None:
        raise NotFound(f"there is no whole version of '{name}' at {source.address}.", "Is a push still under way?")
    return found


def pull_all(source: Location, models: Path, progress: Progress) -> list[Transfer]:
    """Bring the newest whole version of every model there; see ``pull``."""
    moved = []
    for name in source.names():
        try:
            version = source.newest(name)
        except NotFound:  # a file beside the models
            continue
        if version is not None:
            moved.append(pull(source, name, version, models, progress))
    return moved


def pull(source: Location, name: str, version: int, models: Path, progress: Progress) -> Transfer:
    """Bring one version to ``models/<name>/<version>``.

    Raises:
        NotFound: it is not there.
        InvalidInput: another bundle has that number here.
        NotReady: the place cannot be reached (any more), or another transfer brings the same version.
        Failed: what came is not what the manifest lists, or no bundle can hold it.
    """
    content = source.manifest(name, version)
    if content is None:
        raise NotFound(f"there is no version {version} of '{name}' at {source.address}.", "Check address and number.")
    files = list_files(content, source.path(name, version, MANIFEST)).files
    moved = Transfer(name, version, len(files), sum(file.size for file in files.values()), 0, str(models / name))

    def advance(more: int) -> None:
        progress(more, moved.size)

    target = models / name / str(version)
    if target.exists():
        _refuse_other(target, content, str(models))
        advance(moved.size)
        return moved
    with lock_directory(target.with_name(f".arriving-{version}"), wait=False) as mine:
        staging = target.with_name(f".arriving-{version}")
        if not mine:
            raise NotReady(f"another transfer brings {name}/{version} to {models} already.", "Wait for it to end.")
        for stray in [path for path in staging.rglob("*") if path.is_file() or path.is_symlink()]:
            if stray.is_symlink() or stray.relative_to(staging).as_posix() not in files:
                stray.unlink()
        sent = 0
        for relative, listed in files.items():
            sent += _fetch(source, (name, version, relative), staging / relative, listed, advance)
        (staging / MANIFEST).write_bytes(content)
        Bundle.open(staging).check_files()
        if not move_into_place(staging, target):
            _refuse_other(target, content, str(models))
        triton.write_config(models, name)
    return moved._replace(sent=sent)


def push(bundle: Bundle, target: Location, progress: Progress) -> Transfer:
    """Send a bundle to ``<address>/<name>/<version>``.

    Raises:
        InvalidInput: nothing can be written there, or another bundle has that number there.
        NotReady: the place cannot be reached (any more).
        Failed: the bundle is damaged, or what arrived is not what was sent.
    """
    name, version = bundle.name, bundle.version
    if not target.writable:
        raise InvalidInput(
            f"nothing can be written to {target.address}: a web site only gives.",
            "Push to the directory or bucket that it shows; pull works from here.",
        )
    bundle.check_files()
    if target.local is not None:
        return pull(Location(str(bundle.path.parent.parent.resolve())), name, version, target.local, progress)
    files = bundle.manifest.files
    moved = Transfer(name, version, len(files), bundle.size, 0, target.path(name))

    def advance(more: int) -> None:
        progress(more, moved.size)

    content = (bundle.path / MANIFEST).read_bytes()
    there = target.manifest(name, version)
    if there is not None and there != content:
        raise _other(name, version, target.address)
    if there == content:
        advance(moved.size)
        return moved
    sent = sum(
        _send(bundle.path / relative, target, (name, version, relative), listed, advance)
        for relative, listed in files.items()
    )
    for _ in target.append(name, version, MANIFEST, bundle.path / MANIFEST, 0):
        pass
    return moved._replace(sent=sent)


def _fetch(source: Location, path: tuple[str, int, str], target: Path, listed: File, advance: Advance) -> int:
    """Bring one file, or the rest of it, and compare it; how many bytes that took."""
    target.parent.mkdir(parents=True, exist_ok=True)
    have = target.stat().st_size if target.is_file() else 0
    if have == listed.size and target.is_file() and sha256(target) == listed.sha256:
        advance(listed.size)
        return 0
    start = have if have < listed.size else 0
    advance(start)
    _receive(source, path, target, start, listed.size, advance)
    if start and sha256(target) != listed.sha256:  # the beginning was of something else
        advance(-listed.size)
        start = 0
        _receive(source, path, target, 0, listed.size, advance)
    if sha256(target) != listed.sha256:
        target.unlink()
        raise Failed(
            f"{source.path(*path)} is not the file that its manifest lists.", "It is damaged there: push it again."
        )
    return listed.size - start


def _receive(
    source: Location, path: tuple[str, int, str], target: Path, start: int, size: int, advance: Advance
) -> None:
    """Write bytes ``start`` to ``size`` of a file; after a cut go on, until two tries in a row brought nothing."""
    idle = 0
    with target.open("r+b" if start else "wb") as file:
        file.seek(start)
        file.truncate()
        while start < size:
            before = start
            try:
                for piece in source.read(*path, start, size - start):
                    file.write(piece)
                    start += len(piece)
                    advance(len(piece))
            except NotReady:
                idle = idle + 1 if start == before else 0
                if idle == 2:
                    raise
                continue
            if start < size:
                raise Failed(
                    f"{source.path(*path)} ends after {start:,} bytes; its manifest lists {size:,}.",
                    "It is not there whole: push it again.",
                )


def _send(source: Path, target: Location, path: tuple[str, int, str], listed: File, advance: Advance) -> int:
    """Send one file, or the rest of it, and read it back; how many bytes that took."""
    have = target.size(*path)
    if have == listed.size and _there(target, path, have) == listed.sha256:
        advance(listed.size)
        return 0
    start = have if have and have < listed.size and _there(target, path, have) == _beginning(source, have) else 0
    advance(start)
    try:
        for size in target.append(*path, source, start):
            advance(size)
    except NotImplementedError:
        if not start:
            raise InvalidInput(f"nothing can be written to {target.address}.", "It can only be read.") from None
        advance(-start)
        start = 0
        for size in target.append(*path, source, 0):
            advance(size)
    if _there(target, path, listed.size + 1) != listed.sha256:
        raise Failed(f"{target.path(*path)} is not what was sent.", "Push again.")
    return listed.size - start


def _there(target: Location, path: tuple[str, int, str], size: int) -> str:
    """SHA-256 of the first ``size`` bytes of a file at a place."""
    digest = hashlib.sha256()
    for piece in target.read(*path, 0, size):
        digest.update(piece)
    return digest.hexdigest()


def _beginning(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size and (piece := file.read(min(size, 1 << 20))):
            digest.update(piece)
            size -= len(piece)
    return digest.hexdigest()


def _refuse_other(target: Path, content: bytes, where: str) -> None:
    """Do nothing if the version in ``target`` is the one of that manifest.

    Raises:
        InvalidInput: it is another one.
        Failed: it is the same one, damaged.
    """
    manifest = target / MANIFEST
    if not manifest.is_file() or manifest.read_bytes() != content:
        raise _other(target.parent.name, int(target.name), where)
    bundle_.Bundle.open(target).check_files()


def _other(name: str, version: int, where: str) -> InvalidInput:
    return InvalidInput(
        f"{where} has another {name}/{version}, and a version never changes.",
        "Export again to make the next version, or pull into another directory.",
    )
