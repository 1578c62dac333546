"""``push`` and ``pull``: whole directories, some versions, and what is not there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bookserve import bundle


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
    assert "digits/2: 2 files, already there" in done.stdout
    assert bundle.versions(here, "digits") == [1, 2]
    assert bookserve("predict", "writer", "x", "--url", f"local:{here}").returncode == 5  # it is opened, and generates
    assert bookserve("pull", there, "nothing", "--models", here).returncode == 3
    assert bookserve("push", "nothing", there, "--models", models).returncode == 3
    assert bookserve("push", "digits/x", there, "--models", models).returncode == 2
    assert bookserve("push", "digits", "--models", models).returncode == 2
