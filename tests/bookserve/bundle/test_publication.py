"""Versions under fire: writers that are killed at any moment, and many at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from bookserve import bundle
from bookserve.bundle import new_version
from bookserve.bundle.publication import lock_directory
from tests import bundles

#: Writes one version after the other, for ever; says when it begins.
WRITER = """
import sys
from pathlib import Path
from tests import bundles
print("ready", flush=True)
while True:
    bundles.write_affine(Path(sys.argv[1]))
"""


def start(models: Path) -> subprocess.Popen[bytes]:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(models)], stdout=subprocess.PIPE)
    assert writer.stdout
    assert writer.stdout.readline() == b"ready\n"
    return writer


def kill(writer: subprocess.Popen[bytes]) -> None:
    writer.send_signal(signal.SIGKILL)
    assert writer.wait() == -signal.SIGKILL
    assert writer.stdout
    writer.stdout.close()


def litter(models: Path) -> list[Path]:
    return list(models.glob("*/.writing-*"))


def test_a_writer_killed_at_any_moment_leaves_whole_versions_only(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    left = 0
    for _ in range(20):
        writer = start(tmp_path)
        time.sleep(rng.uniform(0, 0.05))
        kill(writer)
        left += len(litter(tmp_path))
        for version in bundle.versions(tmp_path, "affine"):
            found = bundle.open_bundle(tmp_path, "affine", version)
            found.check_files()
            found.examples()
        before = bundle.versions(tmp_path, "affine")
        bundles.write_affine(tmp_path)
        assert bundle.versions(tmp_path, "affine") == [*before, max(before, default=0) + 1]
        assert litter(tmp_path) == []
    assert left > 5, "the moments were chosen badly: hardly any writer was in the middle of something"


def test_a_living_writer_keeps_its_directory(tmp_path: Path) -> None:
    with new_version(tmp_path, "affine") as slow:
        (slow / "half").write_text("x")
        for _ in range(3):
            bundles.write_affine(tmp_path)
        assert (slow / "half").read_text() == "x"
        living = start(tmp_path)
        time.sleep(0.1)
        assert (slow / "half").read_text() == "x"
        (slow / "half").unlink()
        slow.rmdir()  # nothing to publish
        kill(living)
    bundles.write_affine(tmp_path)
    assert litter(tmp_path) == []


def test_writers_and_killed_writers_at_once(tmp_path: Path) -> None:
    """Two that go on and six that die beside them: no version is lost, none is taken twice, none is half."""
    rng = np.random.default_rng(6)
    steady = [start(tmp_path), start(tmp_path)]
    for _ in range(6):
        dying = start(tmp_path)
        time.sleep(rng.uniform(0, 0.05))
        kill(dying)
    assert [writer.poll() for writer in steady] == [None, None]
    for writer in steady:
        kill(writer)
    versions = bundle.versions(tmp_path, "affine")
    assert versions == list(range(1, len(versions) + 1))
    for version in versions:
        bundle.open_bundle(tmp_path, "affine", version).check_files()


def test_a_model_whose_first_writers_all_fail_leaves_no_directory(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from bookserve.bundle import new_version\n"
        "for _ in range(50):\n"
        "    try:\n"
        "        with new_version(Path(sys.argv[1]), 'm') as d: (d / 'x').write_text('x'); raise KeyError\n"
        "    except KeyError: pass\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_held_by_one_and_ends_with_its_holder(tmp_path: Path) -> None:
    with lock_directory(tmp_path / "d") as mine, lock_directory(tmp_path / "d", wait=False) as theirs:
        assert (mine, theirs) == (True, False)
    with lock_directory(tmp_path / "d", wait=False) as mine:
        assert mine
        (tmp_path / "d").rename(tmp_path / "e")
        with lock_directory(tmp_path / "d", wait=False) as another:
            assert another
