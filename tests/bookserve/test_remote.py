"""Bundles on the way: to directories, buckets and from web sites; cut off, damaged, contested, and whole in the end."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar

import fsspec
import numpy as np
import pytest

from bookserve import bundle, manifest
from bookserve.bundle import Bundle, new_version, seal
from bookserve.errors import Failed, InvalidInput, NotFound, NotReady
from bookserve.remote import place
from bookserve.remote.place import Place
from bookserve.remote.transfer import newest, pull, push
from bookserve.verb import Predict
from bookserve.version import locked

MIB = 1 << 20
Plain = manifest.Manifest(name="big", verb=Predict(inputs={}, outputs={}), graphs={})


class Site(http.server.SimpleHTTPRequestHandler):
    """A web site of files, which gives parts of them where ``ranges`` is on.

    Each of ``cuts`` ends every other answer after so many bytes; after ``budget`` bytes in all the line is dead.
    """

    protocol_version = "HTTP/1.1"
    ranges = True
    budget = 1 << 60
    cuts: ClassVar[list[int]] = []
    sent: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        file = Path(self.translate_path(self.path))
        if not file.is_file():
            super().do_GET()
            return
        content, status = file.read_bytes(), 200
        asked = self.headers.get("Range")
        if asked and self.ranges:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            content, status = content[int(first) : int(last) + 1 if last else None], 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if not self.ranges:
            self.send_header("Accept-Ranges", "none")
        self.end_headers()
        whole = len(content)
        if self.cuts and len(self.sent) % 2 and whole > self.cuts[0]:
            content = content[: self.cuts.pop(0)]
        content = content[: max(0, self.budget - sum(self.sent))]
        self.wfile.write(content)
        self.sent.append(len(content))
        self.close_connection = len(content) < whole

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A directory with one bundle of some megabytes and a name that an address must quote."""
    models = tmp_path / "shop"
    with new_version(models, "big") as directory:
        for number, name in enumerate(("a.bin", "parts/b #1%.bin", "c.bin")):
            path = directory / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(np.random.default_rng(number).bytes(3 * MIB + number))
        seal(directory, Plain)
    return models


@pytest.fixture
def big(shop: Path) -> Bundle:
    return bundle.find(shop, "big")


@pytest.fixture
def site(shop: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a web site that shows ``shop``."""
    monkeypatch.setattr(place, "CHUNK", MIB)
    for name, value in (("ranges", True), ("budget", 1 << 60), ("cuts", []), ("sent", [])):
        monkeypatch.setattr(Site, name, value)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Site, directory=str(shop))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def bucket() -> Iterator[str]:
    """The address of an empty place in memory, as fsspec shows any bucket."""
    yield "memory://bucket/models"
    fsspec.filesystem("memory").store.clear()


def ignore(more: int, total: int) -> None:
    pass


def same(first: Bundle, second: Bundle) -> bool:
    second.check_files()
    return (first.path / "bundle.json").read_bytes() == (second.path / "bundle.json").read_bytes()


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_directory_is_pushed_to_and_pulled_from(big: Bundle, tmp_path: Path, prefix: str) -> None:
    there = f"{prefix}{tmp_path / 'there'}"
    moved = push(big, Place(there), ignore)
    assert (moved.files, moved.size, moved.sent) == (3, big.size, big.size)
    assert same(big, bundle.find(tmp_path / "there", "big"))
    assert push(big, Place(there), ignore).sent == 0
    assert pull(Place(there), "big", 1, tmp_path / "here", ignore).sent == big.size
    assert same(big, bundle.find(tmp_path / "here", "big"))
    assert sorted(path.name for path in (tmp_path / "here" / "big").iterdir()) == ["1"]


def test_a_bucket_is_pushed_to_and_pulled_from(big: Bundle, tmp_path: Path, bucket: str) -> None:
    told: list[int] = []
    assert push(big, Place(bucket), lambda more, total: told.append(more)).sent == big.size
    assert sum(told) == big.size
    assert push(big, Place(bucket), ignore).sent == 0
    assert (Place(bucket).names(), Place(bucket).newest("big")) == (["big"], 1)
    told.clear()
    pull(Place(bucket), "big", newest(Place(bucket), "big"), tmp_path / "here", lambda more, total: told.append(more))
    assert sum(told) == big.size
    assert same(big, bundle.find(tmp_path / "here", "big"))


def test_a_version_is_there_once_its_manifest_is(big: Bundle, bucket: str) -> None:
    files = fsspec.filesystem("memory")
    push(big, Place(bucket), ignore)
    files.rm("/bucket/models/big/1/bundle.json")
    assert Place(bucket).newest("big") is None
    with pytest.raises(NotFound, match="no whole version"):
        newest(Place(bucket), "big")
    assert push(big, Place(bucket), ignore).sent == 0  # the files are still there
    assert Place(bucket).newest("big") == 1


def test_a_half_sent_file_goes_on_and_a_wrong_beginning_does_not(big: Bundle, bucket: str) -> None:
    files = fsspec.filesystem("memory")
    for name, beginning in (("a.bin", (big.path / "a.bin").read_bytes()[:MIB]), ("c.bin", bytes(MIB))):
        files.pipe_file(f"/bucket/models/big/1/{name}", beginning)
    moved = push(big, Place(bucket), ignore)
    assert moved.sent == big.size - MIB
    assert files.cat_file("/bucket/models/big/1/c.bin") == (big.path / "c.bin").read_bytes()


def test_another_bundle_of_that_number_is_never_replaced(big: Bundle, tmp_path: Path, bucket: str) -> None:
    push(big, Place(bucket), ignore)
    push(big, Place(str(tmp_path / "there")), ignore)
    with new_version(tmp_path / "others", "big") as directory:
        seal(directory, manifest.Manifest(name="big", verb=Plain.verb, graphs={}, parameters=7))
    other = bundle.find(tmp_path / "others", "big")
    for address in (bucket, str(tmp_path / "there")):
        with pytest.raises(InvalidInput, match="another big/1, and a version never changes"):
            push(other, Place(address), ignore)
    with pytest.raises(InvalidInput, match="never changes"):
        pull(Place(bucket), "big", 1, tmp_path / "others", ignore)
    assert same(other, bundle.find(tmp_path / "others", "big"))


def test_a_web_site_is_pulled_from(big: Bundle, site: str, tmp_path: Path) -> None:
    source = Place(site)
    assert (source.names(), source.newest("big")) == (["big"], 1)
    assert pull(source, "big", 1, tmp_path / "here", ignore).sent == big.size
    assert same(big, bundle.find(tmp_path / "here", "big"))
    with pytest.raises(InvalidInput, match="a web site only gives"):
        push(big, source, ignore)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_pull_that_is_cut_again_and_again_goes_on(
    big: Bundle, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranges: bool
) -> None:
    monkeypatch.setattr(Site, "ranges", ranges)
    cuts = [900_000, 10, 700_000]
    monkeypatch.setattr(Site, "cuts", cuts)
    pull(Place(site), "big", 1, tmp_path / "here", ignore)
    assert cuts == []
    assert same(big, bundle.find(tmp_path / "here", "big"))


def test_what_a_failed_pull_brought_is_not_brought_again(
    big: Bundle, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Site, "budget", 5 * MIB)
    with pytest.raises(NotReady, match="what has come so far is kept"):
        pull(Place(site), "big", 1, tmp_path / "here", ignore)
    assert bundle.versions(tmp_path / "here", "big") == []
    assert bundle.names(tmp_path / "here") == []
    monkeypatch.setattr(Site, "budget", 1 << 60)
    Site.sent.clear()
    moved = pull(Place(site), "big", 1, tmp_path / "here", ignore)
    assert 4 * MIB < moved.sent <= 6 * MIB  # of nine: all but what came in whole pieces of one
    assert sum(Site.sent) < moved.sent + MIB // 2  # and the manifest
    assert same(big, bundle.find(tmp_path / "here", "big"))


def test_a_kept_beginning_of_something_else_is_thrown_away(big: Bundle, site: str, tmp_path: Path) -> None:
    staging = tmp_path / "here" / "big" / ".arriving-1"
    staging.mkdir(parents=True)
    (staging / "a.bin").write_bytes(bytes(MIB))
    (staging / "stray").write_bytes(b"x")
    (staging / "c.bin").symlink_to(tmp_path / "victim")
    (tmp_path / "victim").write_bytes(b"x")
    pull(Place(site), "big", 1, tmp_path / "here", ignore)
    assert same(big, bundle.find(tmp_path / "here", "big"))
    assert not (tmp_path / "here" / "big" / "1" / "stray").exists()
    assert (tmp_path / "victim").read_bytes() == b"x"


@pytest.mark.parametrize(("damage", "says"), [(lambda b: b[:-9], "ends after"), (lambda b: b"x" + b[1:], "is not the")])
def test_a_file_that_is_damaged_there_never_appears_here(
    big: Bundle, site: str, tmp_path: Path, damage, says: str
) -> None:
    path = big.path / "c.bin"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(Failed, match=says):
        pull(Place(site), "big", 1, tmp_path / "here", ignore)
    assert bundle.versions(tmp_path / "here", "big") == []
    with pytest.raises(Failed, match="not the file that was exported"):
        push(big, Place(str(tmp_path / "there")), ignore)


@pytest.mark.parametrize("path", ["../../../escaped", "/tmp/escaped", "a\\..\\escaped"])
def test_a_manifest_that_leads_outside_writes_nothing(big: Bundle, site: str, tmp_path: Path, path: str) -> None:
    content = json.loads((big.path / "bundle.json").read_text())
    content["files"][path] = content["files"]["a.bin"]
    (big.path / "bundle.json").write_text(json.dumps(content))
    with pytest.raises(Failed, match="it lists"):
        pull(Place(site), "big", 1, tmp_path / "here", ignore)
    assert not (tmp_path / "here").exists()


def test_an_endless_manifest_is_not_read_to_its_end(big: Bundle, site: str, tmp_path: Path) -> None:
    (big.path / "bundle.json").write_bytes(b" " * (manifest.LARGEST + 20 * MIB))
    with pytest.raises(Failed, match="too large for a manifest"):
        pull(Place(site), "big", 1, tmp_path / "here", ignore)
    assert sum(Site.sent) <= manifest.LARGEST + 2 * MIB


def test_two_transfers_of_one_version_do_not_mix(big: Bundle, shop: Path, tmp_path: Path) -> None:
    with (
        locked(tmp_path / "here" / "big" / ".arriving-1"),
        pytest.raises(NotReady, match="another transfer brings big/1"),
    ):
        pull(Place(str(shop)), "big", 1, tmp_path / "here", ignore)
    pull(Place(str(shop)), "big", 1, tmp_path / "here", ignore)
    assert same(big, bundle.find(tmp_path / "here", "big"))


PULL = """
import sys
from pathlib import Path
from bookserve.remote import place
from bookserve.remote.place import Place
from bookserve.remote.transfer import pull
place.CHUNK = 1 << 14
print("ready", flush=True)
pull(Place(sys.argv[1]), "big", 1, Path(sys.argv[2]), lambda more, total: None)
"""


def test_a_pull_that_is_killed_at_any_moment_goes_on(big: Bundle, shop: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    killed = 0
    for number in range(8):
        here = tmp_path / f"here{number}"
        puller = subprocess.Popen([sys.executable, "-c", PULL, str(shop), str(here)], stdout=subprocess.PIPE)
        assert puller.stdout
        puller.stdout.readline()
        time.sleep(rng.uniform(0, 0.12))
        puller.kill()
        killed += puller.wait() != 0
        puller.stdout.close()
        if bundle.versions(here, "big"):
            assert same(big, bundle.find(here, "big"))
        pull(Place(str(shop)), "big", 1, here, ignore)
        assert same(big, bundle.find(here, "big"))
        assert [path.name for path in (here / "big").iterdir()] == ["1"]
    assert killed


@pytest.mark.parametrize(
    ("address", "kind", "says"),
    [
        ("nonsense://x", InvalidInput, "no address"),
        ("s3://bucket/models", InvalidInput, "s3fs"),
        ("http://127.0.0.1:9/x", NotReady, "cannot be reached"),
        ("/no/such/directory", NotFound, "there is no"),
    ],
)
def test_places_that_are_none_are_said(address: str, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        Place(address).names()


def test_what_is_not_there_is_said(site: str, shop: Path, tmp_path: Path) -> None:
    for source in (Place(site), Place(str(shop))):
        with pytest.raises(NotFound, match="there is no"):
            newest(source, "other")
        with pytest.raises(NotFound, match="no version 9"):
            pull(source, "big", 9, tmp_path / "here", ignore)
    assert not (tmp_path / "here").exists()


def bookserve(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bookserve", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_commands_move_whole_directories(models: Path, tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    done = bookserve("push", "digits/1", "digits", "writer", there, "--models", models)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["digits/1", "digits/2", "writer/1"]
    done = bookserve("pull", there, "--models", here, "--json")
    assert [(moved["name"], moved["version"]) for moved in json.loads(done.stdout)] == [("digits", 2), ("writer", 1)]
    done = bookserve("pull", there, "digits/1", "digits", "--models", here)
    assert "digits/2: 2 files, was there already" in done.stdout
    assert bundle.versions(here, "digits") == [1, 2]
    assert bookserve("predict", "writer", "x", "--url", f"local:{here}").returncode == 5  # it is opened, and generates
    assert bookserve("pull", there, "nothing", "--models", here).returncode == 3
    assert bookserve("push", "nothing", there, "--models", models).returncode == 3
    assert bookserve("push", "digits/x", there, "--models", models).returncode == 2
    assert bookserve("push", "digits", "--models", models).returncode == 2


def test_what_was_pulled_can_be_served_by_triton(models: Path, tmp_path: Path) -> None:
    push(bundle.find(models, "affine"), Place(str(tmp_path / "there")), ignore)
    pull(Place(str(tmp_path / "there")), "affine", 1, tmp_path / "here", ignore)
    assert 'name: "affine"' in (tmp_path / "here" / "affine" / "config.pbtxt").read_text("utf-8")
