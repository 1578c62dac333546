"""What a node sends of a training becomes a run; without Ray and without TensorFlow."""

from __future__ import annotations

from pathlib import Path

import pytest

from bookserve.cli.on_node import run_command, unpack
from bookserve.cluster import Node
from bookserve.errors import BookserveError, NotFound
from bookserve.run import create_run, list_runs
from trainers.cli.spread import collect_run, share_of_node


def test_what_a_command_writes_comes_back(models: Path, tmp_path: Path) -> None:
    written = run_command(["pull", str(models), "affine", "--models", "{}/copy"])
    unpack(written, tmp_path)
    assert (tmp_path / "copy/affine/1/model.onnx").read_bytes() == (models / "affine/1/model.onnx").read_bytes()


@pytest.mark.parametrize(
    ("words", "said"), [(["predict", "missing", "1", "--url", "local:{}"], "missing"), (["predict"], "MODEL")]
)
def test_errors_of_a_command_reach_who_asked(words: list[str], said: str) -> None:
    with pytest.raises(BookserveError, match=said):
        run_command(words)


def test_a_run_arrives_whole_beside_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(runs: Path) -> None:
        run = create_run(runs, "tiny")
        (run.path / "saved_model").mkdir()
        (run.path / "saved_model/saved_model.pb").write_bytes(b"graph")
        run.write("metrics.json", {"epochs": 1})

    runs = tmp_path / "runs"
    train(runs)
    monkeypatch.setattr("bookserve.cli.main.cli.main", lambda words, *_, **__: train(Path(words[-1])))
    run = collect_run(run_command(["train", "tiny", "--runs", "{}"]), runs, "tiny")
    assert run.has_saved_model
    assert run.metrics == {"epochs": 1}
    assert [found.path for found in list_runs(runs)][-1] == run.path
    assert len(list(list_runs(runs))) == 2
    assert [path.name for path in runs.iterdir()] == ["tiny"]
    with pytest.raises(NotFound):
        collect_run(run_command(["train", "tiny", "--runs", "{}"]), runs, "another")
    assert [path.name for path in runs.iterdir()] == ["tiny"]


def test_a_training_has_a_gpu_or_a_whole_node() -> None:
    nodes = [Node("1", "", "a", 8, 0), Node("2", "", "b", 4, 0)]
    assert share_of_node(nodes, may_use_gpu=True) == (4, 0)
    nodes.append(Node("3", "", "c", 16, 2))
    assert share_of_node(nodes, may_use_gpu=True) == (1, 1)
    assert share_of_node(nodes, may_use_gpu=False) == (4, 0)
