"""The life of models: which versions are live, what takes their place, and what a failure changes."""

from __future__ import annotations

import asyncio
import gc
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from bookserve.errors import InvalidInput, NotFound, NotReady
from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.models.model_config import ModelConfig, VersionPolicy
from serve.models.repository import Repository
from serve.observability.metrics import Metrics
from tests import bundles
from tests.serve.models.versions import add, four_versions, opened

X = {"x": np.array([[0, 1, 2]], np.float32)}


@pytest.fixture
def home(models: Path, tmp_path: Path) -> Path:
    return four_versions(models, tmp_path)


def live(repository: Repository) -> list[int]:
    return [model.version for model in repository.models()]


def states(repository: Repository) -> dict[int, str]:
    return {status.version: status.state for status in repository.status("affine")}


def ask(repository: Repository, model: LiveModel) -> list[float]:
    outputs = asyncio.run(Engine(repository, Metrics()).run(model, "", X))
    return outputs["y"].ravel().tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("latest", [4]), ("latest:2", [3, 4]), ("latest:9", [1, 2, 3, 4]), ("all", [1, 2, 3, 4]), ("1,3", [1, 3])],
)
def test_the_policy_says_which_versions_are_live(home: Path, policy: str, expected: list[int]) -> None:
    repository = opened(home, policy=VersionPolicy.parse(policy))
    assert live(repository) == expected
    assert repository.find("affine").version == max(expected)
    for version in expected:
        assert ask(repository, repository.find("affine", version)) == [1, 3, 5]


@pytest.mark.parametrize("policy", ["", "newest", "latest:0", "latest:x", "latest:1,2", "1,", "-1", "0", "all:2", "²"])
def test_a_policy_that_is_none_is_refused(policy: str) -> None:
    with pytest.raises(InvalidInput, match="policy"):
        VersionPolicy.parse(policy)


def test_a_broken_version_does_not_count_among_the_newest(home: Path) -> None:
    (home / "affine/3/model.onnx").write_bytes(b"broken")
    repository = opened(home, policy=VersionPolicy(latest=2))
    assert live(repository) == [2, 4]
    assert states(repository) == {4: "AVAILABLE", 3: "END", 2: "AVAILABLE"}


def test_a_new_version_takes_over_and_the_old_one_ends(home: Path) -> None:
    repository = opened(home)
    repository.refresh()
    assert live(repository) == [4]
    add(home, 5)
    repository.refresh()
    assert live(repository) == [5]
    assert states(repository) == {5: "AVAILABLE", 4: "END"}


def test_whoever_holds_an_old_version_can_run_it_until_he_lets_go(home: Path) -> None:
    repository = opened(home)
    held = repository.find("affine")
    add(home, 5)
    repository.refresh()
    assert states(repository)[4] == "UNLOADING"
    assert ask(repository, held) == [1, 3, 5]
    del held
    gc.collect()
    assert states(repository)[4] == "END"


def test_a_broken_new_version_leaves_the_old_one_serving_and_says_why(home: Path) -> None:
    repository = opened(home)
    add(home, 5, broken=True)
    repository.refresh()
    assert live(repository) == [4]
    newest = repository.status("affine")[0]
    assert (newest.version, newest.state) == (5, "END")
    assert "model.onnx" in newest.error
    with pytest.raises(NotReady, match=r"model\.onnx"):
        repository.find("affine", 5)
    shutil.copy(home / "affine/1/model.onnx", home / "affine/5/model.onnx")  # mended
    repository.refresh()
    assert live(repository) == [5]
    assert repository.errors() == []


def test_what_failed_is_not_tried_again_until_it_changes(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    repository = opened(home)
    add(home, 5, broken=True)
    for _ in range(5):
        repository.refresh()
    assert len([record for record in caplog.records if "version 5" in record.getMessage()]) == 1


def test_a_bundle_that_is_still_being_copied_is_never_served(home: Path) -> None:
    """Files come one by one, the manifest first: nothing is served before the last one is whole."""
    repository = opened(home)
    (home / "affine/5").mkdir()
    for file in sorted((home / "affine/1").iterdir(), key=lambda path: path.name != "bundle.json"):
        repository.refresh()
        assert live(repository) == [4]
        content = file.read_bytes()
        (home / "affine/5" / file.name).write_bytes(content[: len(content) // 2])
        repository.refresh()
        assert live(repository) == [4]
        (home / "affine/5" / file.name).write_bytes(content)
    repository.refresh()
    assert live(repository) == [5]


def test_models_come_and_go(home: Path, models: Path) -> None:
    repository = opened(home)
    shutil.copytree(models / "digits", home / "digits")
    repository.refresh()
    assert [model.name for model in repository.models()] == ["affine", "digits"]
    shutil.rmtree(home / "affine")
    repository.refresh()
    assert repository.names() == ["digits"]
    with pytest.raises(NotFound, match="affine"):
        repository.find("affine")
    with pytest.raises(NotFound, match="affine"):
        repository.status("affine")


def test_a_removed_version_gives_way_to_the_next_older_one(home: Path) -> None:
    repository = opened(home)
    shutil.rmtree(home / "affine/4")
    repository.refresh()
    assert live(repository) == [3]


def test_specific_versions_that_are_missing_leave_what_serves(home: Path) -> None:
    served = ModelConfig("affine", home / "affine", VersionPolicy(specific=(2,)))
    repository = opened(home, [served])
    assert live(repository) == [2]
    repository.reload([ModelConfig("affine", home / "affine", VersionPolicy(specific=(7,)))])
    assert live(repository) == [2]
    assert "not on disk" in repository.status("affine")[0].error
    with pytest.raises(NotFound):
        repository.find("affine", 3)  # it lies there, but is not to be served


def test_unload_and_load(home: Path) -> None:
    repository = opened(home)
    repository.unload("affine")
    assert live(repository) == []
    assert states(repository) == {4: "END"}
    repository.refresh()  # stays unloaded
    for version in (None, 4, 1):
        with pytest.raises(NotFound, match="not loaded"):
            repository.find("affine", version)
    repository.load("affine")
    assert live(repository) == [4]
    for call in (repository.load, repository.unload):
        with pytest.raises(NotFound, match="nothing"):
            call("nothing")


def test_loading_a_broken_version_fails_and_the_old_one_serves_on(home: Path) -> None:
    repository = opened(home)
    add(home, 5, broken=True)
    with pytest.raises(NotReady, match=r"model\.onnx"):
        repository.load("affine")
    assert live(repository) == [4]


def test_the_index_lists_what_lies_there_too(home: Path) -> None:
    repository = opened(home)
    found = [(name, status.version, status.state) for name, status in repository.index()]
    assert found == [("affine", n, "UNKNOWN") for n in (1, 2, 3)] + [("affine", 4, "AVAILABLE")]


def test_a_reload_serves_the_new_list_and_nothing_else(home: Path, models: Path) -> None:
    repository = opened(home)
    repository.reload([ModelConfig("other", models / "digits"), ModelConfig("renamed", home / "affine")])
    assert [(model.name, model.version) for model in repository.models()] == [("other", 2), ("renamed", 4)]
    assert repository.models()[1].bundle.name == "renamed"
    with pytest.raises(NotFound):
        repository.find("affine")


def test_one_process_of_several_does_not_load_alone(home: Path) -> None:
    repository = opened(home, controlled=False)
    for call in (repository.load, repository.unload):
        with pytest.raises(InvalidInput, match="several processes"):
            call("affine")


def test_requests_are_answered_throughout_reloads_by_another_thread(home: Path) -> None:
    """Versions come and go while the loop asks; not one request fails, and every answer is right."""
    repository = opened(home)
    engine, done = Engine(repository, Metrics()), threading.Event()

    def change() -> None:
        for version in range(5, 25):
            add(home, version, broken=version % 5 == 0)
            repository.refresh()
            shutil.rmtree(home / f"affine/{version - 1}")
            repository.refresh()
        done.set()

    async def asking() -> int:
        changing = asyncio.create_task(asyncio.to_thread(change))
        asked = 0
        while not done.is_set():
            outputs = await engine.run(engine.model("affine"), "", X)
            assert outputs["y"].ravel().tolist() == [1, 3, 5]
            asked += 1
            await asyncio.sleep(0)
        await changing
        return asked

    assert asyncio.run(asking()) > 20
    assert live(repository) == [24]


def test_metrics_forget_what_is_gone(home: Path) -> None:
    metrics = Metrics()
    repository = Repository(home, metrics)
    repository.load()
    asyncio.run(Engine(repository, metrics).run(repository.find("affine"), "", X))
    assert b'version="4"' in metrics.expose()[0]
    repository.unload("affine")
    gc.collect()
    assert b'version="4"' not in metrics.expose()[0]


def test_five_hundred_loads_and_unloads_leave_the_memory_as_it_was(tmp_path: Path) -> None:
    bundles.write_plane(tmp_path)  # two graphs
    repository = opened(tmp_path)

    def resident() -> int:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def cycle(times: int) -> None:
        for _ in range(times):
            repository.unload("plane")
            repository.load("plane")

    cycle(50)
    before = resident()
    cycle(500)
    assert resident() - before < 20 * 2**20  # 500 of these sessions take 160 MiB


def test_other_versions_are_loaded_only_on_demand(home: Path) -> None:
    repository = opened(home)
    with pytest.raises(NotFound, match=r"version 2 of model 'affine' is not served. It serves: 4. .*on-demand"):
        repository.find("affine", 2)
    repository = opened(home, policy=VersionPolicy.parse("on-demand"))
    assert live(repository) == [4]
    assert repository.find("affine", 2).version == 2
    assert repository.find("affine").version == 4
    assert live(repository) == [2, 4]
    repository.refresh()
    assert live(repository) == [2, 4]
    repository.reload([ModelConfig("affine", home / "affine", VersionPolicy(specific=(3,)))])
    assert live(repository) == [3]


def test_a_reload_serves_bare_files_at_once(home: Path) -> None:
    """Without a manifest, what a scan finds first may still be being copied; a reload names what is there."""
    for version in range(1, 5):
        for file in (home / f"affine/{version}").iterdir():
            if file.name != "model.onnx":
                file.unlink()
    repository = opened(home, [ModelConfig("affine", home / "affine")])
    assert live(repository) == [4]
    repository.reload([ModelConfig("affine", home / "affine", VersionPolicy(specific=(1, 2)))])
    assert live(repository) == [1, 2]
