"""Copy versions of bundles: ``pull`` from a location to a directory, ``push`` from a directory to a location.

A version keeps its number and appears only when it is complete. In a local directory it is collected in
``.arriving-<version>/`` and renamed; elsewhere its manifest is sent last. The checksum of every file is
checked after it has arrived. An interrupted transfer can be continued by the next one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bookserve.bundle import Bundle
from bookserve.bundle.manifest import MANIFEST, MODEL_NAME, File, list_files
from bookserve.bundle.publication import lock_directory, move_into_place, sha256
from bookserve.errors import Failed, InvalidInput, NotFound, NotReady
from bookserve.formats import triton
from bookserve.registry.location import Location

#: Called with the number of bytes that have newly arrived, and the total number.
Progress = Callable[[int, int], object]
Advance = Callable[[int], object]


class Transfer(NamedTuple):
    """The result of a transfer: ``sent`` of ``size`` bytes were copied; the others were there already."""

    name: str
    version: int
    files: int
    size: int
    sent: int
    where: str


def newest_version(source: Location, name: str) -> int:
    """The number of the newest complete version of a model.

    Raises:
        NotFound: there is no such model.
    """
    if not MODEL_NAME.fullmatch(name):
        raise NotFound(f"'{name}' is not a model name.")
    found = source.newest(name)
    if found is None:
        raise NotFound(f"there is no complete version of '{name}' at {source.address}.", "Is a push still under way?")
    return found


def pull_all(source: Location, models: Path, progress: Progress) -> list[Transfer]:
    """Copy the newest complete version of every model; see ``pull``."""
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
    """Copy one version to ``models/<name>/<version>``.

    Raises:
        NotFound: it does not exist at the source.
        InvalidInput: another bundle has that number here.
        NotReady: the source cannot be reached (any more), or another transfer copies the same version.
        Failed: the files differ from the manifest, or the manifest is not valid.
    """
    content = source.manifest(name, version)
    if content is None:
        raise NotFound(
            f"there is no version {version} of '{name}' at {source.address}.", "Check the address and the number."
        )
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
            raise NotReady(f"another transfer is copying {name}/{version} to {models}.", "Wait for it to end.")
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
    """Copy a bundle to ``<address>/<name>/<version>``.

    Raises:
        InvalidInput: the target cannot be written, or another bundle has that number there.
        NotReady: the target cannot be reached (any more).
        Failed: the bundle is damaged, or the copy differs from it.
    """
    name, version = bundle.name, bundle.version
    if not target.writable:
        raise InvalidInput(
            f"{target.address} cannot be written: it is a web site.",
            "Push to the directory or bucket behind it; pull can read from the web site.",
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
        raise _different_version(name, version, target.address)
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
    """Copy a file, or the missing part of it, and compare it; return the number of bytes copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    have = target.stat().st_size if target.is_file() else 0
    if have == listed.size and target.is_file() and sha256(target) == listed.sha256:
        advance(listed.size)
        return 0
    start = have if have < listed.size else 0
    advance(start)
    _receive(source, path, target, start, listed.size, advance)
    if start and sha256(target) != listed.sha256:  # the part that was there belonged to another file
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
    """Copy the bytes from ``start`` to ``size`` of a file; retry until two tries in a row have copied nothing."""
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
                    "It is incomplete there: push it again.",
                )


def _send(source: Path, target: Location, path: tuple[str, int, str], listed: File, advance: Advance) -> int:
    """Send a file, or the missing part of it, and read it back; return the number of bytes sent."""
    have = target.size(*path)
    if have == listed.size and _remote_sha256(target, path, have) == listed.sha256:
        advance(listed.size)
        return 0
    start = (
        have
        if have and have < listed.size and _remote_sha256(target, path, have) == _sha256_of_start(source, have)
        else 0
    )
    advance(start)
    try:
        for size in target.append(*path, source, start):
            advance(size)
    except NotImplementedError:
        if not start:
            raise InvalidInput(f"{target.address} cannot be written.", "It is read-only.") from None
        advance(-start)
        start = 0
        for size in target.append(*path, source, 0):
            advance(size)
    if _remote_sha256(target, path, listed.size + 1) != listed.sha256:
        raise Failed(f"{target.path(*path)} differs from the file that was sent.", "Push again.")
    return listed.size - start


def _remote_sha256(target: Location, path: tuple[str, int, str], size: int) -> str:
    """SHA-256 of the first ``size`` bytes of a file in a location."""
    digest = hashlib.sha256()
    for piece in target.read(*path, 0, size):
        digest.update(piece)
    return digest.hexdigest()


def _sha256_of_start(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size and (piece := file.read(min(size, 1 << 20))):
            digest.update(piece)
            size -= len(piece)
    return digest.hexdigest()


def _refuse_other(target: Path, content: bytes, where: str) -> None:
    """Check that the version in ``target`` has this manifest and is not damaged.

    Raises:
        InvalidInput: it has another manifest.
        Failed: it is damaged.
    """
    manifest = target / MANIFEST
    if not manifest.is_file() or manifest.read_bytes() != content:
        raise _different_version(target.parent.name, int(target.name), where)
    Bundle.open(target).check_files()


def _different_version(name: str, version: int, where: str) -> InvalidInput:
    return InvalidInput(
        f"{where} has a different {name}/{version}, and versions are never changed.",
        "Export again to make the next version, or pull into another directory.",
    )
