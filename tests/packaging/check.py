"""Builds the source distribution and the wheel, checks their files, installs the wheel alone and uses it.

Run by ``make test-package``: ``python -m tests.packaging.check``. The wheel is installed with ``[serve,client]`` into a
new environment of this Python, and of those others of ``PYTHONS`` that the machine has; ``smoke.py`` uses each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests import bundles

ROOT = Path(__file__).parents[2]
PACKAGES = ("bookserve", "trainers", "export", "serve", "clients", "pretrained", "deploy/fleet", "deploy/rayserve")
#: Versions beside the one that runs this.
PYTHONS = ("3.12", "3.13")


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    # A module path from outside would put the checkout before the installed package.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, cwd=cwd, env=environment, check=True)


def build(directory: Path) -> Path:
    """The wheel, made from the source distribution, which so proves to be complete."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", directory, ROOT)
    (wheel,) = directory.glob("*.whl")
    (source,) = directory.glob("*.tar.gz")
    here = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*")}
    here = {name for name in here if (ROOT / name).is_file() and "__pycache__" not in name}
    with zipfile.ZipFile(wheel) as archive:
        installed = {name.removeprefix("deploy/") for name in here if not name.startswith("clients/r/")}
        compare(wheel, {name for name in archive.namelist() if ".dist-info/" not in name}, installed)
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        compare(source, {name for name in names if name.startswith(tuple(f"{package}/" for package in PACKAGES))}, here)
    return wheel


def compare(archive: Path, found: set[str], expected: set[str]) -> None:
    if found != expected:
        raise SystemExit(f"{archive.name}: missing {sorted(expected - found)}, unexpected {sorted(found - expected)}")


def find_python(version: str) -> str | None:
    """An interpreter of that version: on the path, or among those that pyenv keeps."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [
        shutil.which(f"python{version}"),
        *sorted(kept.glob(f"{version}.*/bin/python{version}"), reverse=True),
    ]
    for candidate in filter(None, candidates):
        if not subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode:
            return str(candidate)
    return None


def use(wheel: Path, interpreter: str, models: Path, directory: Path) -> None:
    """Install the wheel into a new environment and run ``smoke.py`` there, in an empty directory."""
    environment, empty = directory / "environment", directory / "empty"
    empty.mkdir(parents=True)
    run(interpreter, "-m", "venv", environment)
    python = environment / "bin/python"
    install = (python, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check")
    run(*install, "--constraint", ROOT / "constraints.txt", f"{wheel}[serve,client]")
    run(python, "-I", ROOT / "tests/packaging/smoke.py", models, cwd=empty)


def main() -> None:
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor() as pool:
        directory = Path(name)
        wheel = build(directory / "dist")
        models = bundles.write_all(directory / "models")
        uses = [pool.submit(use, wheel, sys.executable, models, directory / "own")]
        for version in PYTHONS:
            if python := find_python(version):
                uses.append(pool.submit(use, wheel, python, models, directory / version))
            else:
                sys.stdout.write(f"Python {version}: skipped, there is no such interpreter here\n")
        for done in uses:
            done.result()


if __name__ == "__main__":
    main()
