"""Version: how the next version of a model comes to be – beside its place, whole, and never changed afterwards.

A writer fills ``models/<name>/.writing-…/`` and holds a lock on that directory for as long as it lives; the system lets
go of it even when the process is killed. So whoever comes next knows what a dead writer left, and clears it away.
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
    """Version numbers of one model, ascending; empty where there is no such model."""
    if not MODEL_NAME.fullmatch(name):
        return []
    found = (models / name).glob("*") if (models / name).is_dir() else ()
    return sorted(int(path.name) for path in found if VERSION_NAME.fullmatch(path.name) and path.is_dir())


@contextmanager
def new_version(models: Path, name: str) -> Iterator[Path]:
    """Yield an empty directory to fill; on leaving, it becomes the next version of ``name`` (see ``publish``).

    The file that ``seal`` writes must be among its content. If the body raises, nothing is left behind; what a writer
    left that was killed is cleared away by the next one.

    Raises:
        InvalidInput: the name has characters that are not letters, digits, ``.``, ``_`` or ``-``.
    """
    if not MODEL_NAME.fullmatch(name):
        raise InvalidInput(f"'{name}' is no model name.", "Use letters, digits, '.', '_' and '-'.")
    home = models / name
    with lock_directory(home):  # nobody may take the new directory for a dead writer's before it is locked itself
        _clear_away(home)
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
        Failed: the manifest would say what no bundle can hold.
    """
    vocabulary.save_vocabularies(manifest, directory / MANIFEST)  # also writes the vocabularies, which are listed below
    files = {
        path.relative_to(directory).as_posix(): File(path.stat().st_size, sha256(path))
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    manifest = msgspec.structs.replace(manifest, files=files)
    if problem := manifest_problem(manifest):
        raise Failed(f"{manifest.name} cannot be a bundle: {problem}.", "Give the model other names.")
    vocabulary.save_vocabularies(manifest, directory / MANIFEST)


def publish_version(partial: Path) -> int:
    """Rename the directory of ``new_version`` to the next free version: atomic, and safe beside another exporter.

    Leaving ``new_version`` does it, too; call this as the last thing in its body to know the version.
    """
    home = partial.parent
    while True:
        version = max(versions(home.parent, home.name), default=0) + 1
        if move_into_place(partial, home / str(version)):
            return version


def move_into_place(partial: Path, path: Path) -> bool:
    """Rename a whole version directory into its place; False where another one stands there already."""
    try:
        os.rename(partial, path)  # noqa: PTH104 - Path.rename has the same words for another promise
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
    """Hold the lock of a directory, made where it is missing; False, at once, where ``wait`` is off and another has it.

    A lock binds those who ask for it, and no one else. It ends with the process, however that ends.
    """
    while True:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = _lock(directory, wait)
        except BlockingIOError:
            yield False
            return
        except FileNotFoundError:  # another removed it meanwhile
            continue
        except FileExistsError:  # something else stands there, or mkdir saw what another has removed meanwhile
            if directory.is_file():
                raise
            continue
        if lock is None or _is(directory, lock):
            break
        _unlock(lock)  # what was locked is not what stands there now
    try:
        yield True
    finally:
        _unlock(lock)


def _clear_away(home: Path) -> None:
    """Remove what dead writers left in ``home``: the directories that nobody holds the lock of."""
    for left in home.glob(f"{_WRITING}*"):
        try:
            lock = _lock(left, wait=False)
        except OSError:  # its writer lives, or has just tidied up
            continue
        if lock is not None:
            shutil.rmtree(left, ignore_errors=True)
            _unlock(lock)


def _lock(directory: Path, wait: bool) -> int | None:
    """A file descriptor that holds the lock; None where this system or file system has no such locks.

    Raises:
        BlockingIOError: another holds it, and ``wait`` is off.
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


def _is(directory: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(directory))  # noqa: PTH116 - beside fstat
    except FileNotFoundError:
        return False
