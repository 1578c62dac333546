"""Bundles on the way to directories and buckets: contested, killed at any moment, and whole in the end."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest

from bookserve import bundle
from bookserve.bundle import Bundle, manifest, new_version, seal
from bookserve.bundle.publication import lock_directory
from bookserve.errors import InvalidInput, NotFound, NotReady
from bookserve.registry.location import Location
from bookserve.registry.transfer import newest_version, pull, push
from tests.bookserve.registry.transfers import MIB, Plain, ignore, same


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_directory_is_pushed_to_and_pulled_from(big: Bundle, tmp_path: Path, prefix: str) -> None:
    there = f"{prefix}{tmp_path / 'there'}"
    moved = push(big, Location(there), ignore)
    assert (moved.files, moved.size, moved.sent) == (3, big.size, big.size)
    assert same(big, bundle.open_bundle(tmp_path / "there", "big"))
    assert push(big, Location(there), ignore).sent == 0
    assert pull(Location(there), "big", 1, tmp_path / "here", ignore).sent == big.size
    assert same(big, bundle.open_bundle(tmp_path / "here", "big"))
    assert sorted(path.name for path in (tmp_path / "here" / "big").iterdir()) == ["1"]


def test_a_bucket_is_pushed_to_and_pulled_from(big: Bundle, tmp_path: Path, bucket: str) -> None:
    told: list[int] = []
    assert push(big, Location(bucket), lambda more, total: told.append(more)).sent == big.size
    assert sum(told) == big.size
    assert push(big, Location(bucket), ignore).sent == 0
    assert (Location(bucket).names(), Location(bucket).newest("big")) == (["big"], 1)
    told.clear()
    pull(
        Location(bucket),
        "big",
        newest_version(Location(bucket), "big"),
        tmp_path / "here",
        lambda more, total: told.append(more),
    )
    assert sum(told) == big.size
    assert same(big, bundle.open_bundle(tmp_path / "here", "big"))


def test_a_version_is_there_once_its_manifest_is(big: Bundle, bucket: str) -> None:
    files = fsspec.filesystem("memory")
    push(big, Location(bucket), ignore)
    files.rm("/bucket/models/big/1/bundle.json")
    assert Location(bucket).newest("big") is None
    with pytest.raises(NotFound, match="no complete version"):
        newest_version(Location(bucket), "big")
    assert push(big, Location(bucket), ignore).sent == 0  # the files are still there
    assert Location(bucket).newest("big") == 1


def test_a_half_sent_file_goes_on_and_a_wrong_beginning_does_not(big: Bundle, bucket: str) -> None:
    files = fsspec.filesystem("memory")
    for name, beginning in (("a.bin", (big.path / "a.bin").read_bytes()[:MIB]), ("c.bin", bytes(MIB))):
        files.pipe_file(f"/bucket/models/big/1/{name}", beginning)
    moved = push(big, Location(bucket), ignore)
    assert moved.sent == big.size - MIB
    assert files.cat_file("/bucket/models/big/1/c.bin") == (big.path / "c.bin").read_bytes()


def test_another_bundle_of_that_number_is_never_replaced(big: Bundle, tmp_path: Path, bucket: str) -> None:
    push(big, Location(bucket), ignore)
    push(big, Location(str(tmp_path / "there")), ignore)
    with new_version(tmp_path / "others", "big") as directory:
        seal(directory, manifest.Manifest(name="big", verb=Plain.verb, graphs={}, parameters=7))
    other = bundle.open_bundle(tmp_path / "others", "big")
    for address in (bucket, str(tmp_path / "there")):
        with pytest.raises(InvalidInput, match="a different big/1, and versions are never changed"):
            push(other, Location(address), ignore)
    with pytest.raises(InvalidInput, match="never changed"):
        pull(Location(bucket), "big", 1, tmp_path / "others", ignore)
    assert same(other, bundle.open_bundle(tmp_path / "others", "big"))


def test_two_transfers_of_one_version_do_not_mix(big: Bundle, shop: Path, tmp_path: Path) -> None:
    with (
        lock_directory(tmp_path / "here" / "big" / ".arriving-1"),
        pytest.raises(NotReady, match="another transfer is copying big/1"),
    ):
        pull(Location(str(shop)), "big", 1, tmp_path / "here", ignore)
    pull(Location(str(shop)), "big", 1, tmp_path / "here", ignore)
    assert same(big, bundle.open_bundle(tmp_path / "here", "big"))


PULL = """
import sys
from pathlib import Path
from bookserve.registry import place
from bookserve.registry.location import Place
from bookserve.registry.transfer import pull
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
            assert same(big, bundle.open_bundle(here, "big"))
        pull(Location(str(shop)), "big", 1, here, ignore)
        assert same(big, bundle.open_bundle(here, "big"))
        assert [path.name for path in (here / "big").iterdir()] == ["1"]
    assert killed


@pytest.mark.parametrize(
    ("address", "kind", "says"),
    [
        ("nonsense://x", InvalidInput, "not an address"),
        ("s3://bucket/models", InvalidInput, "s3fs"),
        ("http://127.0.0.1:9/x", NotReady, "cannot be reached"),
        ("/no/such/directory", NotFound, "there is no"),
    ],
)
def test_places_that_are_none_are_said(address: str, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        Location(address).names()


def test_what_is_not_there_is_said(site: str, shop: Path, tmp_path: Path) -> None:
    for source in (Location(site), Location(str(shop))):
        with pytest.raises(NotFound, match="there is no"):
            newest_version(source, "other")
        with pytest.raises(NotFound, match="no version 9"):
            pull(source, "big", 9, tmp_path / "here", ignore)
    assert not (tmp_path / "here").exists()


def test_what_was_pulled_can_be_served_by_triton(models: Path, tmp_path: Path) -> None:
    push(bundle.open_bundle(models, "affine"), Location(str(tmp_path / "there")), ignore)
    pull(Location(str(tmp_path / "there")), "affine", 1, tmp_path / "here", ignore)
    assert 'name: "affine"' in (tmp_path / "here" / "affine" / "config.pbtxt").read_text("utf-8")
