"""A directory of four versions of one model, and a repository that serves it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from serve.models.model_config import ModelConfig
from serve.models.repository import LoadOptions, Repository
from serve.observability.metrics import Metrics


def four_versions(models: Path, home: Path) -> Path:
    """``home`` with four versions of ``affine``."""
    for version in range(1, 5):
        shutil.copytree(models / "affine/1", home / f"affine/{version}")
    return home


def add(home: Path, version: int, broken: bool = False) -> None:
    """Let a new version appear at once."""
    shutil.copytree(home / "affine/1", home / ".new")
    if broken:
        (home / ".new/model.onnx").write_bytes(b"broken")
    (home / ".new").rename(home / f"affine/{version}")


def opened(home: Path, served: list[ModelConfig] | None = None, **options: Any) -> Repository:
    repository = Repository(home, Metrics(), served, LoadOptions(**options))
    repository.load()
    return repository
