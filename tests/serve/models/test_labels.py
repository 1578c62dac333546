"""Names of versions: what labels mean, when they move, and the share that the canary gets."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bookserve.errors import NotFound
from serve.models.model_config import ModelConfig, VersionPolicy
from serve.models.versions import LabelUnavailable, UnknownLabel
from tests.serve.models.versions import add, four_versions, opened


@pytest.fixture
def home(models: Path, tmp_path: Path) -> Path:
    return four_versions(models, tmp_path)


def with_labels(home: Path, **labels: int) -> ModelConfig:
    return ModelConfig("affine", home / "affine", VersionPolicy(latest=None), labels)


def test_labels_mean_versions_and_move_on_reload(home: Path) -> None:
    repository = opened(home, [with_labels(home, stable=2, canary=4)])
    assert repository.find("affine", label="stable").version == 2
    assert repository.find("affine").version == 4
    with pytest.raises(UnknownLabel, match="nightly"):
        repository.find("affine", label="nightly")
    repository.reload([with_labels(home, stable=3)])
    assert repository.find("affine", label="stable").version == 3
    with pytest.raises(UnknownLabel):
        repository.find("affine", label="canary")


def test_a_label_needs_a_live_version_unless_new_ones_may_wait(home: Path) -> None:
    with pytest.raises(LabelUnavailable, match="not currently available for inference"):
        opened(home, [with_labels(home, stable=9)])
    repository = opened(home, [with_labels(home, stable=2)], unavailable_labels=True)
    with pytest.raises(LabelUnavailable):
        repository.reload([with_labels(home, stable=9)])  # not a new label
    assert repository.find("affine", label="stable").version == 2
    repository.reload([with_labels(home, stable=2, next=9)])
    with pytest.raises(NotFound):
        repository.find("affine", label="next")
    add(home, 9)
    repository.refresh()
    assert repository.find("affine", label="next").version == 9


def test_the_canary_gets_its_share_exactly(home: Path) -> None:
    repository = opened(home, [with_labels(home, canary=4, stable=2)], canary=0.25)
    assert Counter(repository.find("affine").version for _ in range(1000)) == {2: 750, 4: 250}
    assert {repository.find("affine", 3).version for _ in range(10)} == {3}
    repository = opened(home, [with_labels(home, canary=4)], canary=0.1)
    assert Counter(repository.find("affine").version for _ in range(1000)) == {3: 900, 4: 100}
