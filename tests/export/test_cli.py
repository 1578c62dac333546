"""Test ``bookserve export`` and ``bookserve verify`` as a user runs them: output, error messages and exit codes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest

from bookserve.bundle import Bundle, Manifest, model_names, open_bundle, seal, versions
from bookserve.bundle.examples import Examples
from bookserve.run import Run
from tests.export.copies import copy_bundle, copy_run

Command = Callable[..., tuple[int, str, str]]


@contextmanager
def start(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run one command line in a process of its own, which is killed at the end if it still runs."""
    command = [sys.executable, "-m", "bookserve", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def runs_directory(runs: dict[str, Run]) -> Path:
    return next(iter(runs.values())).path.parent.parent


def test_tasks_and_runs_and_directories_are_exported_and_verified(
    bookserve: Command, runs: dict[str, Run], models: Path
) -> None:
    where = ("--runs", runs_directory(runs), "--models", models)
    code, out, err = bookserve("export", "convnet", runs["writer"].name, runs["plane"].path, *where)
    assert (code, err) == (0, "")
    assert [line.split(":")[0] for line in out.splitlines()] == ["convnet/1", "writer/1", "plane/1"]
    assert model_names(models) == ["convnet", "plane", "writer"]

    code, out, err = bookserve("verify", "--all", "--models", models, "--json")
    assert (code, err) == (0, "")
    checks = json.loads(out)
    assert [(check["model"], check["graph"]) for check in checks] == [
        ("convnet", "serving_default"),
        ("plane", "decode"),
        ("plane", "encode"),
        ("writer", "serving_default"),
        ("writer", "step"),
        ("writer", "ahead"),
    ]
    ahead = checks.pop()  # the SavedModel has no such signature
    assert (ahead["ok"], ahead["saved_model_difference"], ahead["onnx_difference"]) == (True, None, 0)
    for check in checks:
        assert check["ok"]
        assert 0 <= check["saved_model_difference"] < 1e-5
        assert 0 <= check["onnx_difference"] < 1e-5
        assert check["rows"] > 1

    code, out, err = bookserve("verify", "writer/1", "--models", models)
    assert (code, err) == (0, "")
    assert out.count(" yes") == 3


def test_all_tasks_are_exported_though_one_is_broken(
    bookserve: Command, runs: dict[str, Run], tmp_path: Path, models: Path
) -> None:
    """The newest finished run of each; an older run and an unfinished run are ignored."""
    for task in ("convnet", "prices", "writer"):
        copy_run(runs[task], tmp_path)
    older = tmp_path / "runs" / "convnet" / "2020-01-01T00-00-00Z"
    shutil.copytree(runs["plane"].path, older)
    unfinished = shutil.copytree(runs["plane"].path, tmp_path / "runs" / "plane" / runs["plane"].path.name)
    (unfinished / "metrics.json").unlink()
    broken = next((tmp_path / "runs" / "prices").iterdir()) / "saved_model" / "saved_model.pb"
    broken.write_bytes(b"no protobuf")
    code, out, err = bookserve("export", "--all", "--runs", tmp_path / "runs", "--models", models)
    assert code == 1
    assert [line.split(":")[0] for line in out.splitlines()] == ["convnet/1", "prices", "writer/1"]
    assert "prices: NOT EXPORTED: TensorFlow cannot load" in out
    assert "1 of 3 tasks were not exported: prices." in err
    assert model_names(models) == ["convnet", "writer"]
    assert open_bundle(models, "convnet").manifest.origin == runs["convnet"].recipe.origin


def test_a_name_is_given_and_the_next_version_is_written(
    bookserve: Command, runs: dict[str, Run], models: Path
) -> None:
    run = runs["convnet"].path
    for version in (1, 2):
        code, out, _ = bookserve("export", run, "--models", models, "--name", "mine")
        assert code == 0
        assert out.startswith(f"mine/{version}: serving_default; ")
    assert model_names(models) == ["mine"]
    assert open_bundle(models, "mine").manifest.origin == runs["convnet"].recipe.origin


def test_nothing_reaches_standard_error_and_two_exporters_get_versions_of_their_own(
    runs: dict[str, Run], models: Path
) -> None:
    """Two processes at once, as a user starts them: TensorFlow's log lines must not be seen."""
    command = ("export", runs["writer"].path, "--models", models)
    with start(*command) as first, start(*command) as second:
        said = [process.communicate(timeout=600) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0]
    assert [err for _, err in said] == ["", ""]
    assert sorted(out.split(":")[0] for out, _ in said) == ["writer/1", "writer/2"]
    assert versions(models, "writer") == [1, 2]
    for version in (1, 2):
        open_bundle(models, "writer", version).check_files()
    assert sorted(path.name for path in (models / "writer").iterdir()) == ["1", "2", "config.pbtxt"]
    assert (models / "writer" / "config.pbtxt").read_text("utf-8").startswith("# writer, version 2:")


def test_an_exporter_that_is_killed_leaves_no_version_and_the_next_one_cleans_up(
    bookserve: Command, runs: dict[str, Run], models: Path
) -> None:
    with start("export", runs["plane"].path, "--models", models) as process:
        while not list(models.glob("plane/.writing-*/saved_model.pb")):
            assert process.poll() is None, "it ended before it could be killed"
            os.sched_yield()
        process.kill()
        process.communicate()
    assert versions(models, "plane") == []
    assert model_names(models) == []
    assert list(models.glob("plane/.writing-*"))
    assert bookserve("export", runs["plane"].path, "--models", models)[0] == 0
    assert sorted(path.name for path in (models / "plane").iterdir()) == ["1", "config.pbtxt"]
    open_bundle(models, "plane").check_files()


@pytest.mark.parametrize("file", ["model.onnx", "step.onnx", "saved_model.pb", "examples.npz", "README.md"])
def test_a_truncated_file_is_named(bookserve: Command, bundles: dict[str, Bundle], tmp_path: Path, file: str) -> None:
    bundle = copy_bundle(bundles["writer"], tmp_path)
    os.truncate(bundle.path / file, (bundle.path / file).stat().st_size // 2)
    code, out, err = bookserve("verify", "writer", "--models", tmp_path / "models")
    assert code == 1
    assert str(bundle.path / file) in err
    assert "NO" in out


def test_a_missing_file_is_named(bookserve: Command, bundles: dict[str, Bundle], tmp_path: Path) -> None:
    bundle = copy_bundle(bundles["writer"], tmp_path)
    (bundle.path / "variables" / "variables.index").unlink()
    code, _, err = bookserve("verify", "--all", "--models", tmp_path / "models")
    assert code == 1
    assert "variables.index is missing" in err


def reseal(bundle: Bundle) -> None:
    """Write the manifest again for the files as they are now."""
    manifest: Manifest = bundle.manifest
    seal(bundle.path, manifest)


def test_an_onnx_file_that_computes_something_else_is_detected(
    bookserve: Command, bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    bundle = copy_bundle(bundles["convnet"], tmp_path)
    proto = onnx.load(bundle.path / "model.onnx")
    weights = max(proto.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    array = onnx.numpy_helper.to_array(weights)
    weights.CopyFrom(onnx.numpy_helper.from_array(array * np.float32(1.02), weights.name))
    onnx.save(proto, bundle.path / "model.onnx")
    reseal(bundle)
    code, out, err = bookserve("verify", "convnet", "--models", tmp_path / "models", "--json")
    assert code == 1
    assert "convnet/1, graph 'serving_default': ONNX: output 'probabilities' at [" in err
    check = json.loads(out)[0]
    assert check["onnx_difference"] > 1e-4 > check["saved_model_difference"]
    assert not check["ok"]


def test_a_savedmodel_that_computes_something_else_is_detected(
    bookserve: Command, bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    bundle = copy_bundle(bundles["convnet"], tmp_path)
    data = bundle.path / "variables" / "variables.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[: len(content) // 2] = bytes(len(content) // 2)
    data.write_bytes(content)
    reseal(bundle)
    code, _, err = bookserve("verify", "convnet", "--models", tmp_path / "models")
    assert code == 1
    assert "SavedModel: output" in err or "TensorFlow cannot load" in err


def test_steps_that_give_other_tensors_are_detected(
    bookserve: Command, bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    bundle = copy_bundle(bundles["reviews"], tmp_path)
    examples = Examples.load(bundle.path / "examples.npz")
    examples.rows[1] = "w1 w2 w3"
    examples.save(bundle.path / "examples.npz")
    reseal(bundle)
    code, _, err = bookserve("verify", "reviews", "--models", tmp_path / "models")
    assert code == 1
    assert "other tensors than those the model was trained on: input 'tokens' at [1, " in err


def test_the_others_are_checked_though_one_is_broken(
    bookserve: Command, bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    (copy_bundle(bundles["convnet"], tmp_path).path / "model.onnx").write_bytes(b"")
    copy_bundle(bundles["plane"], tmp_path)
    code, out, err = bookserve("verify", "--all", "--models", tmp_path / "models", "--json")
    assert code == 1
    assert [(check["model"], check["ok"]) for check in json.loads(out)] == [
        ("convnet", False),
        ("plane", True),
        ("plane", True),
    ]
    assert "1 of 3 checks failed" in err


def test_bundles_without_a_savedmodel_are_verified_by_onnx_alone(
    bookserve: Command, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from tests.bundles import write_all

    code, out, _ = bookserve("verify", "--all", "--models", write_all(tmp_path_factory.mktemp("tiny")), "--json")
    assert code == 0
    assert all(check["saved_model_difference"] is None for check in json.loads(out))


def test_a_note_says_which_graph_of_an_external_model_runs_on_tensorflow_only(
    tensorflow, bookserve: Command, tmp_path: Path, models: Path
) -> None:
    module = tensorflow.Module()
    signature = [tensorflow.TensorSpec([None], "string", "text")]
    module.loud = tensorflow.function(lambda text: {"loud": tensorflow.strings.strip(text)}, signature, autograph=False)
    tensorflow.saved_model.save(module, str(tmp_path / "shout"), signatures=module.loud)
    code, out, _ = bookserve("export", tmp_path / "shout", "--models", models)
    assert code == 0
    assert "runs on TensorFlow only: ONNX has no form of the operator 'StringStrip'." in out
    code, out, _ = bookserve("verify", "shout", "--models", models, "--json")
    assert code == 0
    check = json.loads(out)[0]
    assert (check["ok"], check["onnx_difference"], check["saved_model_difference"]) == (True, None, 0)


def test_an_unfinished_run_is_refused(bookserve: Command, runs: dict[str, Run], tmp_path: Path, models: Path) -> None:
    run = copy_run(runs["convnet"], tmp_path)
    (run.path / "metrics.json").unlink()
    code, _, err = bookserve("export", run.path, "--models", models)
    assert code == 1
    assert "is unfinished" in err
    assert "--resume" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("export", "nothing"), 3, "no finished run of 'nothing'"),
        (("export", "nothing/2026-01-01T00-00-00Z"), 3, "no run 'nothing/2026-01-01T00-00-00Z'"),
        (("export",), 2, "Name one or more sources, or use --all"),
        (("export", "some", "--all"), 2, "Name one or more sources, or use --all"),
        (("export", "--all"), 3, "no finished run in runs"),
        (("export", "--all", "--name", "c"), 2, "--name can only be used with a single source"),
        (("export", "some", "--variant", "int4"), 2, "'int4' is not one of"),
        (("export", "a", "b", "--name", "c"), 2, "--name can only be used with a single source"),
        (("verify", "nothing"), 3, "no model 'nothing'"),
        (("verify", "--all"), 3, "no model in"),
        (("verify",), 2, "Name one or more models, or use --all"),
        (("verify", "some", "--all"), 2, "Name one or more models, or use --all"),
        (("verify", "some/new"), 2, "not of the form MODEL or MODEL/VERSION"),
    ],
)
def test_errors_have_the_documented_exit_code(
    bookserve: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    found, _, err = bookserve(*arguments)
    assert found == code
    assert said in err
    assert not list(tmp_path.iterdir())


def test_a_bundle_is_refused_as_a_source(bookserve: Command, bundles: dict[str, Bundle], models: Path) -> None:
    code, _, err = bookserve("export", bundles["convnet"].path, "--models", models)
    assert code == 5
    assert "is a bundle already" in err


def test_a_missing_version_is_an_error(bookserve: Command, bundles: dict[str, Bundle]) -> None:
    code, _, err = bookserve("verify", "convnet/7", "--models", bundles["convnet"].path.parent.parent)
    assert code == 3
    assert "has no version 7" in err


def test_an_invalid_model_name_is_refused(bookserve: Command, runs: dict[str, Run], models: Path) -> None:
    code, _, err = bookserve("export", runs["convnet"].path, "--models", models, "--name", "a/b")
    assert code == 5
    assert "'a/b' is not a model name" in err
