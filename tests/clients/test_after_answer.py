"""What stands below an answer on a terminal: the note on sample data, and a next command that works."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from bookserve.images import encode_png
from tests import bundles, picture_bundles
from tests.bundles import mark_as_sample
from tests.clients.conftest import Bookserve
from tests.serve.in_process import application_client

NOTE = "This model was trained on sample data"
PICTURE = encode_png(np.random.default_rng(0).integers(0, 256, (90, 100, 3)).astype(np.uint8))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of every verb, each as if it had been trained on sample data."""
    found = picture_bundles.write_all(tmp_path_factory.mktemp("models"))
    bundles.write_all(found)
    mark_as_sample(found)
    return found


COMMANDS = {
    "predict": ("affine", "[1, 2, 3]", "--table"),
    "generate": ("writer", "--length", "5"),
    "sample": ("plane", "-n", "2"),
    "explain": ("corners", "photo.png"),
    "activations": ("corners", "photo.png"),
    "dream": ("photo.png", "--model", "dreamer", "-p", "iterations=1", "-p", "octaves=1"),
    "style": ("photo.png", "photo.png", "--model", "painter", "-p", "iterations=1"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_terminal_gets_the_note_and_the_next_command(
    command: str, bookserve: Bookserve, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("photo.png").write_bytes(PICTURE)
    piped = bookserve(command, *COMMANDS[command])
    assert piped.code == 0, piped.err
    assert NOTE in piped.err
    assert "next:" not in piped.out + piped.err
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True, raising=False)
    shown = bookserve(command, *COMMANDS[command])
    assert NOTE in shown.err
    found = re.search(r"next:\S*  bookserve (.+?)(?:   \(.*\))?\n", shown.err)
    assert found, shown.err
    if found[1] != "serve":
        assert bookserve(*shlex.split(found[1])).code == 0


def test_other_models_have_no_note(bookserve: Bookserve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundles.write_plane(tmp_path / "own")
    monkeypatch.setenv("BOOKSERVE_URL", f"local:{tmp_path / 'own'}")
    done = bookserve("sample", "plane", "-n", "1")
    assert (done.code, done.err) == (0, "")


def test_the_api_says_so_beside_every_answer(models: Path) -> None:
    with application_client(models) as client:

        def kinds(path: str, body: dict[str, object]) -> list[str]:
            reply = client.post(f"/api/models/{path}", json=body).json()
            return [note["kind"] for note in reply["notes"]]

        assert kinds("affine/predict", {"rows": [[1, 2, 3]]}) == ["sample"]
        assert kinds("writer/generate", {"length": 3}) == ["sample"]
        assert kinds("writer/generate", {"length": 3, "n": 2}) == ["sample"]
        assert kinds("plane/sample", {"n": 1}) == ["sample"]
        events = client.post("/api/models/writer/generate", json={"length": 3, "stream": True}).text.split("\n\n")
        assert json.loads(events[-2].removeprefix("data: "))["notes"][0]["kind"] == "sample"
