"""Access a directory of bundles on a disk, in a bucket, on a server or on a web site.

This uses fsspec, which is imported when a location is opened. It supports ``s3://``, ``gs://``, ``sftp://``,
``https://`` and about thirty more; most need another package, which its error message names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bookserve.bundle.manifest import MANIFEST, MAX_BYTES, MODEL_NAME, VERSION_NAME
from bookserve.errors import BookserveError, Failed, InvalidInput, NotFound, NotReady

#: Bytes per read. After an interruption, complete chunks are kept.
CHUNK = 4 << 20


class Location:
    """Models, versions and files under one address, with the layout of ``models/``."""

    def __init__(self, address: str) -> None:
        """
        Raises:
            InvalidInput: fsspec does not support the address, or needs a package that is not installed.
        """
        try:
            import fsspec
            from fsspec.implementations.local import LocalFileSystem
        except ModuleNotFoundError as error:
            raise InvalidInput(
                "copying bundles needs the package 'fsspec'.", "Install it: pip install 'bookserve[remote]'"
            ) from error

        self.address = address.rstrip("/") or "/"
        try:
            self._files, root = fsspec.core.url_to_fs(self.address)
        except ImportError as error:
            raise InvalidInput(
                f"'{address}' cannot be reached: {error}.",
                "Install it, or copy the bundle by other means.",
            ) from error
        except ValueError as error:
            raise InvalidInput(
                f"'{address}' is not an address: {error}.", "Use a directory, or an address such as s3://bucket/models."
            ) from error
        self._root = str(root).rstrip("/")
        self._web = "http" in self._files.protocol
        #: The directory, if the location is on this machine.
        self.local = Path(root) if isinstance(self._files, LocalFileSystem) else None

    @property
    def writable(self) -> bool:
        """Whether files can be written; a web site is read-only."""
        return not self._web

    def names(self) -> list[str]:
        """Names of the directories that may be models, sorted.

        Raises:
            NotFound: the address does not exist, or cannot be listed.
            NotReady: it cannot be reached.
        """
        return sorted(name for name in self._list() if MODEL_NAME.fullmatch(name))

    def newest(self, name: str) -> int | None:
        """The newest complete version of a model: one with a manifest, which is sent last. None if there is none.

        Raises:
            NotFound, NotReady: as ``names``.
        """
        numbers = sorted((int(entry) for entry in self._list(name) if VERSION_NAME.fullmatch(entry)), reverse=True)
        return next((number for number in numbers if self.size(name, number, MANIFEST) is not None), None)

    def manifest(self, name: str, version: int) -> bytes | None:
        """The content of a version's manifest; None if there is none.

        Raises:
            Failed: it is larger than a manifest can be.
            NotReady: the location cannot be reached.
        """
        try:
            content = b"".join(self.read(name, version, MANIFEST, 0, MAX_BYTES + 1))
        except NotFound:
            return None
        if len(content) > MAX_BYTES:
            raise Failed(
                f"{self.path(name, version, MANIFEST)} is too large for a manifest.", "Do not use this bundle."
            )
        return content

    def size(self, name: str, version: int, file: str) -> int | None:
        """The size of a file in bytes; None if it does not exist."""
        path = self.path(name, version, file)
        try:
            return int(self._files.info(path)["size"])
        except FileNotFoundError:
            return None
        except Exception as error:  # each file system raises its own kinds of errors
            raise self._unreachable(path, error) from error

    def read(self, name: str, version: int, file: str, start: int, size: int) -> Iterator[bytes]:
        """Yield up to ``size`` bytes of a file from position ``start``, in chunks; fewer if the file ends before.

        Raises:
            NotFound: it does not exist.
            NotReady: it cannot be read (any more).
        """
        path = self.path(name, version, file)
        try:
            yield from self._read(path, start, start + size)
        except FileNotFoundError as error:
            raise NotFound(f"there is no {path}.", "Check the address.") from error
        except BookserveError:
            raise
        except Exception as error:  # as above
            raise self._unreachable(path, error) from error

    def append(self, name: str, version: int, file: str, source: Path, start: int) -> Iterator[int]:
        """Send the file ``source`` from position ``start`` on; yield the size of each chunk.

        Raises:
            NotReady: the file cannot be written.
            NotImplementedError: this location cannot append to a file (``start`` > 0).
        """
        path = self.path(name, version, file)
        try:
            target = self._open(path, "ab" if start else "wb")
        except (NotImplementedError, ValueError) as error:
            raise NotImplementedError from error
        except Exception as error:  # as above
            raise self._unreachable(path, error) from error
        with source.open("rb") as content:
            content.seek(start)
            try:
                with target:
                    while piece := content.read(CHUNK):
                        target.write(piece)
                        yield len(piece)
            except Exception as error:  # as above
                raise self._unreachable(path, error) from error

    def path(self, *parts: object) -> str:
        """The full address of a path in this location."""
        joined = "/".join(map(str, parts))
        return f"{self._root}/{quote(joined) if self._web else joined}"

    def _open(self, path: str, mode: str) -> Any:
        """Open a file for writing. Directories are created only if needed, so that no misspelt bucket is created."""
        try:
            return self._files.open(path, mode)
        except FileNotFoundError:
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            return self._files.open(path, mode)

    def _list(self, *parts: object) -> list[str]:
        path = self.path(*parts)
        try:
            self._files.invalidate_cache()
            found = self._files.ls(f"{path}/" if self._web else path, detail=False)
        except FileNotFoundError as error:
            raise NotFound(f"there is no {path}.", "Check the address and the name.") from error
        except Exception as error:  # as above
            raise self._unreachable(path, error) from error
        return [str(entry).rstrip("/").rpartition("/")[2] for entry in found]

    def _read(self, path: str, start: int, end: int) -> Iterator[bytes]:
        options: dict[str, Any] = {"cache_type": "none"} if self._web else {}
        with self._files.open(path, "rb", **options) as source:
            try:
                if start:
                    source.seek(start)
                first = source.read(min(CHUNK, end - start))
            except ValueError:  # a web site that sends only complete files
                first = None
            while first and start < end:
                yield first
                start += len(first)
                try:
                    first = source.read(min(CHUNK, end - start)) if start < end else b""
                except ValueError:
                    first = None
        if first is None:
            yield from self._read_whole(path, start, end)

    def _read_whole(self, path: str, start: int, end: int) -> Iterator[bytes]:
        """As ``_read``, from a web site that always sends complete files: other bytes are skipped."""
        at = 0
        with self._files.open(path, "rb", block_size=0) as source:
            while at < end and (piece := source.read(min(CHUNK, end - at))):
                if at + len(piece) > start:
                    yield piece[max(0, start - at) :]
                at += len(piece)

    def _unreachable(self, path: str, error: Exception) -> NotReady:
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        return NotReady(f"{path} cannot be reached: {reason}.", "Try again; the part that has arrived is kept.")
