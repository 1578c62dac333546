"""Bundles from web sites: cut off, damaged, meant to break out, and whole in the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bookserve import bundle
from bookserve.bundle import Bundle, manifest
from bookserve.errors import Failed, InvalidInput, NotReady
from bookserve.registry.location import Location
from bookserve.registry.transfer import pull, push
from tests.bookserve.registry.site import Site
from tests.bookserve.registry.transfers import MIB, ignore, same


def test_a_web_site_is_pulled_from(big: Bundle, site: str, tmp_path: Path) -> None:
    source = Location(site)
    assert (source.names(), source.newest("big")) == (["big"], 1)
    assert pull(source, "big", 1, tmp_path / "here", ignore).sent == big.size
    assert same(big, bundle.open_bundle(tmp_path / "here", "big"))
    with pytest.raises(InvalidInput, match="it is a web site"):
        push(big, source, ignore)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_pull_that_is_cut_again_and_again_goes_on(
    big: Bundle, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranges: bool
) -> None:
    monkeypatch.setattr(Site, "ranges", ranges)
    cuts = [900_000, 10, 700_000]
    monkeypatch.setattr(Site, "cuts", cuts)
    pull(Location(site), "big", 1, tmp_path / "here", ignore)
    assert cuts == []
    assert same(big, bundle.open_bundle(tmp_path / "here", "big"))


def test_what_a_failed_pull_brought_is_not_brought_again(
    big: Bundle, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Site, "budget", 5 * MIB)
    with pytest.raises(NotReady, match="the part that has arrived is kept"):
        pull(Location(site), "big", 1, tmp_path / "here", ignore)
    assert bundle.versions(tmp_path / "here", "big") == []
    assert bundle.model_names(tmp_path / "here") == []
    monkeypatch.setattr(Site, "budget", 1 << 60)
    Site.sent.clear()
    moved = pull(Location(site), "big", 1, tmp_path / "here", ignore)
    assert 4 * MIB < moved.sent <= 6 * MIB  # of nine: all but what came in whole pieces of one
    assert sum(Site.sent) < moved.sent + MIB // 2  # and the manifest
    assert same(big, bundle.open_bundle(tmp_path / "here", "big"))


def test_a_kept_beginning_of_something_else_is_thrown_away(big: Bundle, site: str, tmp_path: Path) -> None:
    staging = tmp_path / "here" / "big" / ".arriving-1"
    staging.mkdir(parents=True)
    (staging / "a.bin").write_bytes(bytes(MIB))
    (staging / "stray").write_bytes(b"x")
    (staging / "c.bin").symlink_to(tmp_path / "victim")
    (tmp_path / "victim").write_bytes(b"x")
    pull(Location(site), "big", 1, tmp_path / "here", ignore)
    assert same(big, bundle.open_bundle(tmp_path / "here", "big"))
    assert not (tmp_path / "here" / "big" / "1" / "stray").exists()
    assert (tmp_path / "victim").read_bytes() == b"x"


@pytest.mark.parametrize(("damage", "says"), [(lambda b: b[:-9], "ends after"), (lambda b: b"x" + b[1:], "is not the")])
def test_a_file_that_is_damaged_there_never_appears_here(
    big: Bundle, site: str, tmp_path: Path, damage, says: str
) -> None:
    path = big.path / "c.bin"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(Failed, match=says):
        pull(Location(site), "big", 1, tmp_path / "here", ignore)
    assert bundle.versions(tmp_path / "here", "big") == []
    with pytest.raises(Failed, match="not the file that was exported"):
        push(big, Location(str(tmp_path / "there")), ignore)


@pytest.mark.parametrize("path", ["../../../escaped", "/tmp/escaped", "a\\..\\escaped"])
def test_a_manifest_that_leads_outside_writes_nothing(big: Bundle, site: str, tmp_path: Path, path: str) -> None:
    content = json.loads((big.path / "bundle.json").read_text())
    content["files"][path] = content["files"]["a.bin"]
    (big.path / "bundle.json").write_text(json.dumps(content))
    with pytest.raises(Failed, match="it lists"):
        pull(Location(site), "big", 1, tmp_path / "here", ignore)
    assert not (tmp_path / "here").exists()


def test_an_endless_manifest_is_not_read_to_its_end(big: Bundle, site: str, tmp_path: Path) -> None:
    (big.path / "bundle.json").write_bytes(b" " * (manifest.MAX_BYTES + 20 * MIB))
    with pytest.raises(Failed, match="too large for a manifest"):
        pull(Location(site), "big", 1, tmp_path / "here", ignore)
    assert sum(Site.sent) <= manifest.MAX_BYTES + 2 * MIB
