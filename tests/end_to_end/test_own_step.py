"""Adding a Step: a class and its place in the union, both in ``bookserve/steps``, and bundles can use it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bookserve.cli.programs import PROGRAMS, home

ROOT = Path(__file__).parents[2]
STEP = '''

class Negate(StepBase, frozen=True):
    """Change the sign of numbers."""

    def __call__(self, rows: Rows) -> np.ndarray:
        return -np.asarray(rows)
'''
#: Writes the bundle of tests/bundles.py whose answer is 2 x + 1, but for -x, and predicts with it.
PROGRAM = """
import json, sys
from pathlib import Path

import msgspec

from bookserve import connect
from bookserve.bundle import open_bundle, seal
from bookserve.steps.numbers import Negate
from tests.bundles import write_affine

models = Path(sys.argv[1])
write_affine(models)
bundle = open_bundle(models, "affine")
verb = bundle.manifest.verb
steps = {name: (*steps, Negate()) for name, steps in verb.inputs.items()}
verb = msgspec.structs.replace(verb, inputs=steps)
(bundle.path / "bundle.json").unlink()
seal(bundle.path, msgspec.structs.replace(bundle.manifest, verb=verb, files={}))
with connect(f"local:{models}") as client:
    (answer,) = client.predict("affine", [[1, 2, 3]])
print(json.dumps(answer["y"].tolist()))
"""


def test_a_step_is_added_in_one_folder(tmp_path: Path) -> None:
    for package in ("bookserve", *PROGRAMS):
        shutil.copytree(home() / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__", "kept", "recorded")
    )
    steps = tmp_path / "bookserve/steps"
    with (steps / "numbers.py").open("a") as file:
        file.write(STEP)
    union = (steps / "__init__.py").read_text()
    assert "    | MultiLabel\n)" in union
    union = union.replace("    | MultiLabel\n)", "    | MultiLabel\n    | Negate\n)")
    union = union.replace("import Numbers,", "import Negate, Numbers,")
    (steps / "__init__.py").write_text(union)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "models")]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [-1, -3, -5]
    (manifest,) = tmp_path.glob("models/affine/1/bundle.json")
    assert '"negate"' in manifest.read_text()
