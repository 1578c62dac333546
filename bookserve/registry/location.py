"""Place: a directory of bundles, wherever it lies – on a disk, in a bucket, on a web site.

fsspec, imported when a place is opened, knows the ways there: ``s3://``, ``gs://``, ``sftp://``, ``https://`` and some
thirty more; most need a package of their own, which its message names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bookserve.bundle.manifest import MANIFEST, MAX_BYTES, MODEL_NAME, VERSION_NAME
from bookserve.errors import BookserveError, Failed, InvalidInput, NotFound, NotReady

#: Bytes that are asked for at once; what came before a cut is kept in pieces of this size.
CHUNK = 4 << 20


class Location:
    """Names, versions and files under one address, laid out as ``models/`` is."""

    def __init__(self, address: str) -> None:
        """
        Raises:
            InvalidInput: it is no address that fsspec knows, or one that needs a package which is not installed.
        """
        try:
            import fsspec
            from fsspec.implementations.local import LocalFileSystem
        except ModuleNotFoundError as error:
            raise InvalidInput(
                "moving bundles needs the package 'fsspec'.", "Install it: pip install 'bookserve[remote]'"
            ) from error

        self.address = address.rstrip("/") or "/"
        try:
            self._files, root = fsspec.core.url_to_fs(self.address)
        except ImportError as error:
            raise InvalidInput(
                f"'{address}' cannot be reached: {error}.", "Or copy the bundle by other means."
            ) from error
        except ValueError as error:
            raise InvalidInput(
                f"'{address}' is no address: {error}.", "Give a directory, or an address such as s3://bucket/models."
            ) from error
        self._root = str(root).rstrip("/")
        self._web = "http" in self._files.protocol
        #: The directory, where the place is one on this machine.
        self.local = Path(root) if isinstance(self._files, LocalFileSystem) else None

    @property
    def writable(self) -> bool:
        """Whether files can be sent there at all: a web site only gives."""
        return not self._web

    def names(self) -> list[str]:
        """Names of the directories that may be models, sorted.

        Raises:
            NotFound: nothing lies at this address, or what lies there does not list its content.
            NotReady: it cannot be reached.
        """
        return sorted(name for name in self._list() if MODEL_NAME.fullmatch(name))

    def newest(self, name: str) -> int | None:
        """Number of a model's newest whole version: one whose manifest, sent last, is there. None without one.

        Raises:
            NotFound, NotReady: as ``names``.
        """
        numbers = sorted((int(entry) for entry in self._list(name) if VERSION_NAME.fullmatch(entry)), reverse=True)
        return next((number for number in numbers if self.size(name, number, MANIFEST) is not None), None)

    def manifest(self, name: str, version: int) -> bytes | None:
        """Content of a version's manifest; None where there is none.

        Raises:
            Failed: it is larger than a manifest can be.
            NotReady: the place cannot be reached.
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
        """Bytes of one file; None where it is not there."""
        path = self.path(name, version, file)
        try:
            return int(self._files.info(path)["size"])
        except FileNotFoundError:
            return None
        except Exception as error:  # each file system raises kinds of its own
            raise self._unreachable(path, error) from error

    def read(self, name: str, version: int, file: str, start: int, size: int) -> Iterator[bytes]:
        """Up to ``size`` bytes of a file from position ``start``, piece by piece; fewer where it ends before.

        Raises:
            NotFound: it is not there.
            NotReady: it cannot be read, or no longer.
        """
        path = self.path(name, version, file)
        try:
            yield from self._read(path, start, start + size)
        except FileNotFoundError as error:
            raise NotFound(f"there is no {path}.", "See what is there, and check the address.") from error
        except BookserveError:
            raise
        except Exception as error:  # as above
            raise self._unreachable(path, error) from error

    def append(self, name: str, version: int, file: str, source: Path, start: int) -> Iterator[int]:
        """Send the file ``source`` from position ``start`` on; yields how many bytes each piece had.

        Raises:
            NotReady: it cannot be written. NotImplementedError: this place cannot add to a file (``start`` > 0).
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
        """The full address of something under this place."""
        joined = "/".join(map(str, parts))
        return f"{self._root}/{quote(joined) if self._web else joined}"

    def _open(self, path: str, mode: str) -> Any:
        """Open a file to write; directories are made only where they must be, so that no misspelt bucket is."""
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
            except ValueError:  # a web site that gives whole files only
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
        """The same from a site that begins every answer at the first byte: what is not wanted is passed over."""
        at = 0
        with self._files.open(path, "rb", block_size=0) as source:
            while at < end and (piece := source.read(min(CHUNK, end - at))):
                if at + len(piece) > start:
                    yield piece[max(0, start - at) :]
                at += len(piece)

    def _unreachable(self, path: str, error: Exception) -> NotReady:
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        return NotReady(f"{path} cannot be reached: {reason}.", "Try again: what has come so far is kept.")
