"""What a model card shows, run as a reader would: in the bundle's directory, against a server that is up."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from bookserve import images as pictures
from bookserve.bundle import Bundle

_BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Where a card says that the server is.
SAID = "http://127.0.0.1:8501"


def run_card(bundle: Bundle, url: str, directory: Path) -> list[str]:
    """Run every shell and Python block of the bundle's card against ``url``; what each printed.

    ``directory`` becomes the reader's working directory: the bundle's ``examples.npz``, and a picture of his own.
    """
    shutil.copy(bundle.path / "examples.npz", directory)
    picture = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)
    (directory / "picture.png").write_bytes(pictures.encode_png(picture))
    said = []
    for kind, block in _BLOCK.findall((bundle.path / "README.md").read_text("utf-8")):
        program = ["bash", "-euo", "pipefail", "-c"] if kind == "sh" else [sys.executable, "-c"]
        done = subprocess.run(
            [*program, block.replace(SAID, url)],
            cwd=directory,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        assert '"error"' not in done.stdout, f"{block}\n{done.stdout}"
        said.append(done.stdout)
    return said


def objects_in(text: str) -> list[dict[str, object]]:
    """The JSON objects that stand in ``text`` one after another, as several answers of curl do."""
    found, decoder, position = [], json.JSONDecoder(), text.find("{")
    while position >= 0:
        try:
            value, end = decoder.raw_decode(text, position)
            found.append(value)
        except ValueError:
            end = position + 1
        position = text.find("{", end)
    return found
