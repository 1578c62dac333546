"""Publish versions of bundles atomically: write to a temporary directory, lock, rename.

A writer fills ``models/<name>/.writing-…/`` and holds a lock on that directory until it ends. The operating system
releases the lock even if the process is killed, so the next writer can recognise and remove what a dead writer left.
A published version is never changed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bookserve.bundle.manifest import MANIFEST, MODEL_NAME, VERSION_NAME, File, Manifest, manifest_problem
from bookserve.errors import Failed, InvalidInput
from bookserve.steps import vocabulary

_WRITING = ".writing-"


def versions(models: Path, name: str) -> list[int]:
    """Version numbers of a model, ascending; empty if there is no such model."""
    if not MODEL_NAME.fullmatch(name):
        return []
    found = (models / name).glob("*") if (models / name).is_dir() else ()
    return sorted(int(path.name) for path in found if VERSION_NAME.fullmatch(path.name) and path.is_dir())


@contextmanager
def new_version(models: Path, name: str) -> Iterator[Path]:
    """Yield an empty directory to fill; at the end of the block it is published as the next version of ``name``.

    The block must call ``seal``. If it raises, nothing is left behind; if the process is killed, the next writer
    removes what it left.

    Raises:
        InvalidInput: the name has characters other than letters, digits, ``.``, ``_`` and ``-``.
    """
    if not MODEL_NAME.fullmatch(name):
        raise InvalidInput(f"'{name}' is not a model name.", "Use letters, digits, '.', '_' and '-'.")
    home = models / name
    with lock_directory(home):  # so that no other writer removes the new directory before it has its own lock
        _remove_leftovers(home)
        partial = Path(tempfile.mkdtemp(prefix=_WRITING, dir=home))
        lock = _lock(partial, wait=True)
    try:
        partial.chmod(0o755)
        yield partial
        if partial.exists():
            publish_version(partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        _unlock(lock)
        with lock_directory(home):
            if not any(home.iterdir()):
                home.rmdir()


def seal(directory: Path, manifest: Manifest) -> None:
    """Write ``bundle.json`` with the size and checksum of every other file in ``directory``.

    Raises:
        Failed: the manifest contains something that a bundle must not contain.
    """
    vocabulary.save_vocabularies(manifest, directory / MANIFEST)  # also writes the vocabularies, which are listed below
    files = {
        path.relative_to(directory).as_posix(): File(path.stat().st_size, sha256(path))
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    manifest = msgspec.structs.replace(manifest, files=files)
    if problem := manifest_problem(manifest):
        raise Failed(f"{manifest.name} cannot be a bundle: {problem}.", "Choose other names.")
    vocabulary.save_vocabularies(manifest, directory / MANIFEST)


def publish_version(partial: Path) -> int:
    """Rename the directory of ``new_version`` to the next free version number, which is returned.

    This is atomic and safe if other exporters run at the same time. The end of the ``new_version`` block does it too;
    call this at the end of the block to get the number.
    """
    home = partial.parent
    while True:
        version = max(versions(home.parent, home.name), default=0) + 1
        if move_into_place(partial, home / str(version)):
            return version


def move_into_place(partial: Path, path: Path) -> bool:
    """Rename a complete version directory to ``path``; returns False if that exists already."""
    try:
        os.rename(partial, path)  # noqa: PTH104 - must not replace an existing directory
    except OSError:
        if not path.exists():
            raise
        return False
    return True


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def lock_directory(directory: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a directory in this block; the directory is created if it is missing.

    Yields False at once if ``wait`` is off and another process holds the lock. The lock is advisory, and ends with the
    process in any case.
    """
    while True:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = _lock(directory, wait)
        except BlockingIOError:
            yield False
            return
        except FileNotFoundError:  # another process has just removed it
            continue
        except FileExistsError:  # a file has this name, or another process has just removed the directory
            if directory.is_file():
                raise
            continue
        if lock is None or _is_locked_by(directory, lock):
            break
        _unlock(lock)  # the locked directory has been replaced
    try:
        yield True
    finally:
        _unlock(lock)


def _remove_leftovers(home: Path) -> None:
    """Remove what dead writers left in ``home``: temporary directories without a lock."""
    for left in home.glob(f"{_WRITING}*"):
        try:
            lock = _lock(left, wait=False)
        except OSError:  # its writer is alive, or has just removed it
            continue
        if lock is not None:
            shutil.rmtree(left, ignore_errors=True)
            _unlock(lock)


def _lock(directory: Path, wait: bool) -> int | None:
    """A file descriptor that holds the lock; None if this system or file system has no such locks.

    Raises:
        BlockingIOError: another process holds it, and ``wait`` is off.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _unlock(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


def _is_locked_by(directory: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(directory))  # noqa: PTH116 - beside fstat
    except FileNotFoundError:
        return False
