"""Downloads from a local site are checked and resumed, and errors say what to do."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from bookserve.errors import NotFound
from trainers.datasets import dataset
from trainers.datasets.download import download_file

CONTENT = bytes(range(256)) * 8000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Site(http.server.BaseHTTPRequestHandler):
    """Serves ``/file`` with Range, ``/whole`` without; breaks off after ``cut`` bytes where that is set."""

    protocol_version = "HTTP/1.1"
    cut: int | None = None
    ranges: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        type(self).ranges.append(wanted)
        if self.path not in ("/file", "/whole"):
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.path == "/file" else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:][: self.cut])
        if self.cut:
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Its address; the cache is empty."""
    monkeypatch.delenv("BOOKSERVE_DATA", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(Site, "cut", None)
    monkeypatch.setattr(Site, "ranges", [])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_download_is_checked_and_kept(site: str, tmp_path: Path) -> None:
    path = dataset.cached_file("a.bin", f"{site}/file", SHA256)
    assert path == tmp_path / "cache" / "datasets" / "a.bin"
    assert path.read_bytes() == CONTENT
    assert dataset.cached_file("a.bin", f"{site}/gone", SHA256) == path
    assert Site.ranges == [None]


@pytest.mark.parametrize(("page", "resumed"), [("file", "bytes=1000000-"), ("whole", "bytes=1000000-")])
def test_a_download_that_was_cut_off_goes_on(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str, resumed: str
) -> None:
    monkeypatch.setattr(Site, "cut", 1_000_000)
    with pytest.raises(NotFound, match="1,048,000 bytes too early"):
        dataset.cached_file("a.bin", f"{site}/{page}", SHA256)
    part = tmp_path / "cache" / "datasets" / "a.bin.part"
    assert part.stat().st_size == 1_000_000
    monkeypatch.setattr(Site, "cut", None)
    assert dataset.cached_file("a.bin", f"{site}/{page}", SHA256).read_bytes() == CONTENT
    assert Site.ranges == [None, resumed]
    assert not part.exists()


def test_a_part_that_cannot_be_continued_is_begun_anew(site: str, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.with_name("a.bin.part").write_bytes(CONTENT + b"and more")
    download_file(f"{site}/file", path, f"sha256:{SHA256}")
    assert path.read_bytes() == CONTENT


def test_a_wrong_file_is_refused_and_not_kept(site: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"the checksum is md5:.*expected md5:0.*BOOKSERVE_DATA.*--data sample"):
        dataset.cached_file("a.bin", f"{site}/file", "md5:0")
    assert not list((tmp_path / "cache").rglob("*.bin*"))


def test_the_error_for_a_failed_download_says_what_to_do(site: str) -> None:
    with pytest.raises(NotFound, match=r"404.*BOOKSERVE_DATA"):
        dataset.cached_file("b.bin", f"{site}/other", None)
    with pytest.raises(NotFound, match=r"could not be downloaded.*Put the file at .*datasets"):
        dataset.cached_file("b.bin", "http://127.0.0.1:9/file", None)
