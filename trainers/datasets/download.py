"""Download a file, check its checksum, and resume an interrupted download."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path

_CHUNK = 1 << 20
_TIMEOUT = 30  # seconds without any data


def download_file(url: str, path: Path, checksum: str | None) -> None:
    """Download ``url`` to ``path``. Partial data is kept in ``<path>.part``; the next attempt resumes there.

    ``checksum`` is ``sha256:…`` or ``md5:…``, or None if none is published. On a terminal, a progress bar is shown.

    Raises:
        OSError: the network or the server fails, or the checksum is wrong (then the partial file is deleted).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})  # noqa: S310 - our own addresses
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        part.unlink()  # the partial file is too long or has a wrong checksum: start again
        return download_file(url, path, checksum)
    with answer:
        if answer.status != HTTPStatus.PARTIAL_CONTENT:
            start = 0  # the server does not support resuming
        _receive(answer, part, start)
    if checksum:
        found = _checksum(part, checksum.partition(":")[0])
        if found != checksum:
            part.unlink()
            raise OSError(f"the checksum is {found}; expected {checksum}")
    part.replace(path)
    return None


def _receive(answer: object, part: Path, start: int) -> None:
    from http.client import HTTPResponse

    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    if not isinstance(answer, HTTPResponse):
        raise OSError("the address is not an HTTP address")
    size = answer.length  # None if the server does not send it
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(part.stem, total=None if size is None else start + size, completed=start)
        with part.open("ab" if start else "wb") as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                progress.update(bar, advance=len(chunk))
    if answer.length:  # the number of bytes that http.client still expects
        raise OSError(f"the connection ended {answer.length:,} bytes too early; try again to resume")


def _checksum(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return f"{kind}:{hashlib.file_digest(file, kind).hexdigest()}"
