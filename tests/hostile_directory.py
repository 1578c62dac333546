"""A directory where a stranger's files bear the names of bookserve's own packages."""

from __future__ import annotations

from pathlib import Path

NAMES = ("serve.py", "trainers.py", "export/__init__.py", "clients/__init__.py")


def write_hostile_files(directory: Path) -> Path:
    """Write modules called ``serve``, ``trainers``, ``export`` and ``clients`` that raise when they are imported."""
    for name in NAMES:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"raise RuntimeError('the file {name} of a stranger was imported')\n", "utf-8")
    return directory
