"""Fixtures that more than one room's tests use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import bundles


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the tiny bundles of ``tests/bundles.py``; read it, never write to it."""
    return bundles.write_all(tmp_path_factory.mktemp("models"))
