"""Which runtime opens which file, on which device, and who else may open sessions: nobody."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from bookserve import bundle
from bookserve.bundle import Bundle
from bookserve.errors import Failed, InvalidInput, NotFound
from bookserve.runtime import (
    Session,
    open_graph,
    open_model_directory,
    open_session,
    open_sessions,
    register_runtime,
    registry,
)
from bookserve.runtime.fake import FakeRuntime

ROOT = Path(__file__).parents[3]
FAKE = '{"inputs": {"x": "float32[batch, 3]"}, "outputs": {"y": "float32[batch, 3]"}, "scale": 2, "shift": 1}'
X = {"x": np.array([[0, 1, 2]], np.float32)}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    monkeypatch.setattr(registry, "_registered", [])
    runtime = FakeRuntime()
    register_runtime(runtime)
    return runtime


@pytest.mark.parametrize("device", ["toy", "CPU", ""])
def test_a_device_that_does_not_exist_is_refused_with_those_there_are(models: Path, device: str) -> None:
    opened = bundle.open_bundle(models, "affine")

    def nothing(name: str, version: int) -> Bundle:
        raise AssertionError

    for action in (
        lambda: open_session(opened.path / "model.onnx", device=device),
        lambda: open_model_directory(opened.path, device=device),
    ):
        with pytest.raises(InvalidInput, match=f"no device '{device}'") as caught:
            action()
        assert caught.value.hint == "Use cpu."
    for action in (
        lambda: open_sessions(opened, device=device),
        lambda: open_graph(opened, "", nothing, device=device),
    ):
        with pytest.raises(InvalidInput, match=f"'{device}' is not a device; expected auto, cpu, cuda or cuda:N"):
            action()


def test_all_graphs_of_a_bundle_are_opened_the_one_that_looks_ahead_included(models: Path) -> None:
    opened = bundle.open_bundle(models, "writer")
    assert open_sessions(opened, threads=2).keys() == {"serving_default", "step", bundle.MULTI_STEP}


def test_a_file_is_opened_once_where_its_sessions_are_kept(models: Path) -> None:
    opened = bundle.open_bundle(models, "affine")
    kept: dict[Path, Session] = {}
    first, second = (open_graph(opened, name, lambda *_: opened, opened=kept) for name in ("", "serving_default"))
    assert first is second is kept[opened.path / "model.onnx"]


def test_a_file_that_no_runtime_opens(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"no runtime opens .*model\.toy") as caught:
        open_session(tmp_path / "model.toy")
    assert "model.onnx, saved_model.pb" in caught.value.hint
    with pytest.raises(NotFound, match=r"bundle\.json, model\.onnx or saved_model\.pb"):
        open_model_directory(tmp_path)


def test_a_registered_runtime_opens_its_files(fake: FakeRuntime, tmp_path: Path) -> None:
    (tmp_path / "model.fake").write_text(FAKE)
    assert open_session(tmp_path / "model.fake").run(X)["y"].tolist() == [[1, 3, 5]]
    path, sessions = open_model_directory(tmp_path)
    assert (path.name, list(sessions)) == ("model.fake", ["serving_default"])
    with pytest.raises(InvalidInput, match="no device 'cuda'"):
        open_session(tmp_path / "model.fake", device="cuda")
    (tmp_path / "model.fake").write_text("{")
    with pytest.raises(Failed, match=r"cannot load .*model\.fake"):
        open_session(tmp_path / "model.fake")


def test_a_second_runtime_of_the_same_name_is_refused(fake: FakeRuntime) -> None:
    with pytest.raises(InvalidInput, match="'fake' already"):
        register_runtime(FakeRuntime())


def test_a_runtime_for_another_device_takes_the_files_that_the_first_cannot_run_there(
    fake: FakeRuntime, tmp_path: Path
) -> None:
    class Accelerated(FakeRuntime):
        name = "accelerated"
        devices = ("cpu", "toy")

    register_runtime(Accelerated())
    (tmp_path / "model.fake").write_text(FAKE)
    assert open_session(tmp_path / "model.fake", device="toy").run(X)["y"].tolist() == [[1, 3, 5]]
    with pytest.raises(InvalidInput) as caught:
        open_session(tmp_path / "model.fake", device="cuda")
    assert caught.value.hint == "Use cpu, toy."


def test_only_the_runtime_package_opens_onnx_sessions() -> None:
    """Scripts and code in strings too, which import-linter does not see, but for what bookserve is compared with."""
    programs = [path for path in ROOT.glob("*/") if path.name not in ("tests", "build") and path.name[0] != "."]
    sources = [path for program in programs for path in program.rglob("*.py")]
    assert len(sources) > 300
    found = [path for path in sources if re.search(r"\bInferenceSession\b", path.read_text("utf-8"))]
    bare = {ROOT / "bench/peers", ROOT / "bench/importing/real_answers.py", ROOT / "bench/tables.py"}
    names = [path.relative_to(ROOT).as_posix() for path in found if not bare & {path, *path.parents}]
    assert names == ["bookserve/runtime/onnx.py"]
