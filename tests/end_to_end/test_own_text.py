"""``-p text=FILE``: a model of any text, trained, exported and asked by the commands a reader would use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bookserve.client import connect
from tests.servers import start

LINE = "the cat sat on the mat, and the dog lay by the door.\n"


def bookserve(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bookserve", *arguments], capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_model_of_any_text_writes_in_its_manner(tmp_path: Path) -> None:
    (tmp_path / "cats.txt").write_text(LINE.upper() * 150, "utf-8")
    where = ("--runs", str(tmp_path / "runs"))
    settings = ("-p", f"text={tmp_path / 'cats.txt'}", "-p", "batch_size=32")
    bookserve("train", "nietzsche_lstm", *settings, "--epochs", "4", *where)
    models = tmp_path / "models"
    bookserve("export", "nietzsche_lstm", *where, "--models", str(models))
    assert all(check["ok"] for check in json.loads(bookserve("verify", "--all", "--models", str(models), "--json")))
    asked = {"prompt": "The cat sat", "length": 300, "temperature": 0.2, "seed": 1}
    with start(models) as server:
        texts = []
        for url in (f"local:{models}", server.http, server.grpc):
            with connect(url) as client:
                texts.append("".join(client.generate("nietzsche_lstm", **asked)))  # type: ignore[arg-type]
    assert texts[0] == texts[1] == texts[2]
    assert set(texts[0]) <= set(LINE)
    words = texts[0].split()[1:-1]
    known = set(LINE.split())
    assert sum(word in known for word in words) > 0.8 * len(words)
