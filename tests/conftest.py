"""Fixtures that more than one room's tests use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import bundles

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before any test imports TensorFlow: its greetings are not ours


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the tiny bundles of ``tests/bundles.py``; read it, never write to it."""
    return bundles.write_all(tmp_path_factory.mktemp("models"))
