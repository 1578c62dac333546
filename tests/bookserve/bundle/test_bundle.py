"""Bundles and runs: whole or not there, found or clearly missing, trusted only if unchanged."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bookserve import bundle, run
from bookserve.bundle import Bundle, Manifest, new_version, seal
from bookserve.errors import Failed, InvalidInput, NotFound
from bookserve.steps import AddImageNetMeans, BinaryLabel, MultiLabel
from bookserve.verb import Predict
from tests import bundles

PLAIN = Manifest(name="m", verb=Predict(inputs={}, outputs={}), graphs={})


def test_versions_are_numbered_and_found(models: Path) -> None:
    assert bundle.versions(models, "digits") == [1, 2]
    assert bundle.open_bundle(models, "digits").version == 2
    assert bundle.open_bundle(models, "digits", 1).version == 1
    assert "digits" in bundle.model_names(models)
    assert bundle.summarise_bundle(bundle.open_bundle(models, "writer"))["verb"] == "generate"


def test_a_manifest_survives_the_disk(models: Path, tmp_path: Path) -> None:
    writer = bundle.open_bundle(models, "writer")
    before = writer.manifest
    with new_version(tmp_path, "again") as directory:
        for graph in before.graphs.values():
            shutil.copy(writer.path / str(graph.onnx), directory)
        seal(directory, before)
    after = bundle.open_bundle(tmp_path, "again").manifest
    assert after.verb == before.verb
    assert after.graphs == before.graphs
    assert "assets/characters.json" in after.files


def test_step_tags_are_written_as_ever_and_read_by_their_newer_names(tmp_path: Path) -> None:
    steps = (AddImageNetMeans(), BinaryLabel(("no", "yes")), MultiLabel(("a", "b")))
    verb = Predict(inputs={}, outputs={"y": steps})
    with new_version(tmp_path, "m") as directory:
        seal(directory, Manifest(name="m", verb=verb, graphs={}))
    path = tmp_path / "m" / "1" / "bundle.json"
    written = path.read_text("utf-8")
    tags = {"withoutmeans": "addimagenetmeans", "eitherlabel": "binarylabel", "eachlabel": "multilabel"}
    for old, new in tags.items():
        assert f'"step": "{old}"' in written
        path.write_text(path.read_text("utf-8").replace(f'"{old}"', f'"{new}"'), "utf-8")
    assert path.read_text("utf-8") != written
    assert Bundle.open(path.parent).manifest.verb == verb


@pytest.mark.parametrize(("name", "version"), [("nothing", None), ("digits", 9), ("../digits", None), ("", None)])
def test_what_is_not_there_is_said(models: Path, name: str, version: int | None) -> None:
    with pytest.raises(NotFound):
        bundle.open_bundle(models, name, version)


def test_graphs_have_a_default(models: Path) -> None:
    plane = bundle.open_bundle(models, "plane")
    assert plane.graph()[0] == plane.graph("serving_default")[0] == "decode"
    assert plane.graph("encode")[0] == "encode"
    with pytest.raises(NotFound, match="no graph 'x'"):
        plane.graph("x")


def test_a_failed_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), new_version(tmp_path, "m") as directory:
        (directory / "half").write_text("x")
        raise RuntimeError
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", ".hidden", "x" * 129])
def test_names_that_are_no_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput), new_version(tmp_path, name):
        pass


def test_writers_at_once_get_different_versions(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from bookserve import bundle; from bookserve.verb import Predict\n"
        "m = bundle.Manifest(name='m', verb=Predict(inputs={}, outputs={}), graphs={})\n"
        "for _ in range(20):\n"
        "    with bundle.new_version(Path(sys.argv[1]), 'm') as d: bundle.seal(d, m)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert bundle.versions(tmp_path, "m") == list(range(1, 61))
    for version in (1, 30, 60):
        bundle.open_bundle(tmp_path, "m", version).check_files()


def test_changed_missing_and_foreign_files_are_found(tmp_path: Path) -> None:
    bundles.write_affine(tmp_path)
    opened = bundle.open_bundle(tmp_path, "affine")
    opened.check_files()
    model = opened.path / "model.onnx"
    whole = model.read_bytes()
    model.write_bytes(whole[:-10])
    with pytest.raises(Failed, match=r"model\.onnx"):
        opened.check_files()
    model.unlink()
    with pytest.raises(Failed, match="missing"):
        opened.check_files()
    model.symlink_to("/etc/hostname")
    with pytest.raises(Failed, match="outside"):
        opened.check_files()


@pytest.mark.parametrize("content", ["", "{", '{"name": 3}', '{"format": 2, "name": "m"}', "[]", "\xff"])
def test_a_damaged_manifest_is_said(tmp_path: Path, content: str) -> None:
    with new_version(tmp_path, "m") as directory:
        seal(directory, PLAIN)
    path = tmp_path / "m/1"
    (path / "bundle.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(Failed):
        Bundle.open(path)


def test_a_directory_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "m/1").mkdir(parents=True)
    with pytest.raises(NotFound):
        bundle.open_bundle(tmp_path, "m")


def test_a_missing_vocabulary_is_said(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "writer", tmp_path / "writer")
    (tmp_path / "writer/1/assets/characters.json").unlink()
    with pytest.raises(Failed, match="cannot be read"):
        bundle.open_bundle(tmp_path, "writer")


def test_damaged_examples_are_said(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "affine", tmp_path / "affine")
    (tmp_path / "affine/1/examples.npz").write_bytes(b"no zip")
    with pytest.raises(Failed, match="examples"):
        bundle.open_bundle(tmp_path, "affine").examples()


def test_runs_are_found_by_task_time_and_path(tmp_path: Path) -> None:
    first, second = run.create_run(tmp_path, "t"), run.create_run(tmp_path, "t")
    assert first.path != second.path
    with pytest.raises(NotFound):
        run.find_run(tmp_path, "t")  # none is finished
    first.write("metrics.json", {"test_accuracy": 0.5})
    assert run.find_run(tmp_path, "t").path == first.path.resolve()
    assert run.find_run(tmp_path, second.name).path == second.path.resolve()
    assert run.find_run(Path("elsewhere"), str(second.path)).path == second.path.resolve()
    assert [found.finished for found in run.list_runs(tmp_path)] == [True, False]
    assert run.latest_run(tmp_path, "t", finished=False).path == second.path
    with pytest.raises(NotFound, match="t/2000"):
        run.find_run(tmp_path, "t/2000-01-01T00-00-00Z")
    (first.path / "metrics.json").write_text("{")
    with pytest.raises(Failed):
        _ = first.metrics
