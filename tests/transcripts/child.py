"""A process that runs many commands, as ``python -m bookserve`` would each: it imports what they need only once.

Reads ``{"models", "commands", "answers"}`` from standard input, and at the end writes the answers to the file of that
name: a long line in a pipe once arrived cut off when the machine was busy.
"""

from __future__ import annotations

import io
import json
import os
import runpy
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.transcripts import told
from tests.transcripts.asked import BRIGHT, DARK, LEFT, PHOTO, Command


class _Text(io.TextIOWrapper):
    """A text stream that is kept in memory."""

    def __init__(self, content: bytes = b"") -> None:
        super().__init__(io.BytesIO(content), "utf-8", write_through=True)

    @property
    def said(self) -> str:
        kept = self.buffer
        return kept.getvalue().decode() if isinstance(kept, io.BytesIO) else ""


@contextmanager
def _instead(stdin: _Text, stdout: _Text, stderr: _Text, arguments: list[str]) -> Iterator[None]:
    kept = sys.stdin, sys.stdout, sys.stderr, sys.argv
    sys.stdin, sys.stdout, sys.stderr, sys.argv = stdin, stdout, stderr, ["bookserve", *arguments]
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr, sys.argv = kept


def run(command: Command) -> dict[str, Any]:
    """Run one command."""
    out, err = _Text(), _Text()
    code: Any = 0
    with _instead(_Text(command.stdin.encode()), out, err, command.arguments):
        try:
            runpy.run_module("bookserve", run_name="__main__", alter_sys=False)
        except SystemExit as left:
            code = left.code or 0
    printed = out.said.replace(str(Path.cwd()), "(here)")
    said = {word: True for word in ("error:", "hint:", "Usage:", "Traceback") if word in err.said}
    answer = {"exit": code, "out": told.output(command.out if code == 0 else "said", printed)}
    if err.said.strip():
        answer["err"] = said or {"other": True}
    if command.files:
        answer["files"] = {name: _file(Path(name)) for name in command.files}
    return answer


def _file(path: Path) -> Any:
    if path.is_dir():
        return sorted(str(found.relative_to(path)) for found in path.rglob("*") if found.is_file())
    if not path.exists():
        return "missing"
    content = path.read_bytes()
    if path.suffix in (".npy", ".npz"):
        return told.arrays(content)
    if path.suffix in (".png", ".gif", ".apng"):
        return told.picture(content)
    if path.suffix == ".json":
        return told.simple(json.loads(content))
    return content.decode().splitlines()


def prepare(models: Path) -> None:
    """The files that commands read."""
    shutil.copytree(models, "models")
    files = {"bright.png": BRIGHT, "dark.png": DARK, "left.png": LEFT, "photo.png": PHOTO, "broken.png": BRIGHT[:40]}
    for name, content in files.items():
        Path(name).write_bytes(content)
    Path("rows.json").write_text("[[0, 1, 2], [3, 4, 5]]")
    Path("rows.jsonl").write_text("[0, 1, 2]\n[3, 4, 5]\n")
    Path("rows.csv").write_text("0,1,2\n3,4,5\n")
    Path("broken.json").write_text("[[1, 2")
    Path("texts.txt").write_text("a good good film\nbad film\n")
    np.save("rows.npy", np.arange(6, dtype=np.float32).reshape(2, 3))
    for kind in ("have", "lack"):
        Path(kind).mkdir()
    Path("have/bright.png").write_bytes(BRIGHT)
    Path("lack/dark.png").write_bytes(DARK)


def main() -> None:
    """Run all of them."""
    given = json.load(sys.stdin)
    prepare(Path(given["models"]))
    answers: dict[str, Any] = {}
    for fields in given["commands"]:
        command = Command(*fields)
        if command.name in answers:
            raise ValueError(f"two commands are called '{command.name}'")
        answers[command.name] = run(command)
    Path(given["answers"]).write_text(json.dumps(answers), "utf-8")
    os._exit(0)  # how native libraries come to their end in one process after all of this is not what is compared


if __name__ == "__main__":
    main()
