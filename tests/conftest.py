"""Fixtures that several folders of tests use, and which tests are slow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from bookserve.client import Client, connect
from tests import bundles
from tests.servers import Server, start

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before any test imports TensorFlow: its greetings are not ours
os.environ["BOOKSERVE_CONFIG"] = os.devnull  # no test reads the profiles of whoever runs it

TENSORFLOW = pytest.StashKey[bool]()
HERE = Path(__file__).parent
#: Folders, files and tests that train, export with TensorFlow or start processes. Tests of the server are marked where
#: they stand, or use one of ``STARTED``.
SLOW = (
    "bench",
    "bookserve/bundle/test_bundle.py::test_writers_at_once_get_different_versions",
    "bookserve/bundle/test_publication.py",
    "bookserve/cli/test_main.py",
    "bookserve/client/test_imports.py",
    "bookserve/client/test_secure.py",
    "bookserve/client/test_unreachable.py",
    "bookserve/registry/test_cli.py",
    "bookserve/registry/test_transfer.py::test_a_pull_that_is_killed_at_any_moment_goes_on",
    "clients/bench/test_tensors.py::test_it_starts_a_server_of_its_own",
    "clients/test_commands.py::test_a_reader_that_leaves_is_not_an_error",
    "clients/test_commands.py::test_interrupting_a_text_exits_with_130",
    "end_to_end",
    "export",
    "serve/attacks",
    "test_hostile_directory.py",
    "trainers",
    "transcripts",
)
#: Tests of several variants that take long, and the parameters that every run of the tests takes; `make test-sweep`
#: runs the others.
VARIANTS: dict[str, tuple[str, ...]] = {
    "bench/test_soak.py::test_nothing_is_lost": ("5-1",),
    "end_to_end/test_own_text.py::test_a_model_of_any_text_writes_in_its_manner": (),
    "export/gradients/test_operators.py::test_the_networks_of_all_tasks_dream_without_tensorflow": ("deepdream",),
    "export/recurrent/test_fuse.py::test_activations": ("tanh",),
    "export/recurrent/test_fuse.py::test_both_directions": ("concat",),
    "export/recurrent/test_fuse.py::test_masked_steps_are_skipped": ("backwards-GRU", "stack-LSTM"),
    "export/sources/test_trusted_module.py::test_the_module_brings_the_classes": ("net-2.0",),
    "serve/deploy/test_proxies.py::test_servers_are_restarted_one_by_one_and_no_request_fails": ("haproxy",),
    "trainers/datasets/test_generated.py::test_a_short_training_is_clearly_better_than_no_skill": ("siamese_lstm",),
    "trainers/engine/test_cluster.py::test_a_killed_training_of_two_workers_is_continued": (),
    "trainers/engine/test_cluster.py::test_replicas_give_the_losses_of_one": ("multiworker",),
    "trainers/engine/test_devices.py::test_deterministic_runs_are_equal_bit_by_bit": (),
    "trainers/engine/test_precision.py::test_what_was_trained_in_half_precision_is_saved_in_float32": (
        "mixed_float16",
    ),
    "trainers/test_hostile_directory.py::test_workers_ignore_files_in_the_current_directory": (),
    "trainers/test_transform_tasks.py::test_the_graph_s_gradient_is_the_slope_of_its_loss": ("deepdream",),
}
#: What takes longest, and is begun first, so that nothing long is left for one process in the end.
FIRST = ("trainers", "export", "end_to_end", "bench", "transcripts")
#: Folders of which one process runs all tests, since many share what a fixture trains and exports.
WHOLE = ("trainers", "export")
#: Fixtures that start a server, and those that do for some of their parameters.
STARTED = {"server", "server_http", "builtin", "any_server", "channel", "beside"}
BY_WIRE = ("url", "place")


def is_slow(path: Path, test: str = "") -> bool:
    place = path.relative_to(HERE).as_posix() if path.is_relative_to(HERE) else ""
    return any(f"{place}/".startswith(f"{slow}/") or f"{place}::{test}" == slow for slow in SLOW)


def is_left_to_sweep(nodeid: str) -> bool:
    test, _, parameters = nodeid.removeprefix("tests/").partition("[")
    return test in VARIANTS and parameters.removesuffix("]") not in VARIANTS[test]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """``-m "not slow"`` does not even import the files of ``SLOW``: many of them import TensorFlow."""
    return True if config.option.markexpr == "not slow" and is_slow(collection_path) else None


def folder(path: str) -> str:
    """The folder of ``tests/`` that a file or a node id lies in."""
    return path.removeprefix("tests/").partition("/")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """``--dist loadfile`` keeps the folders of ``WHOLE`` together, too."""
    if config.option.dist != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class LoadFolders(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return folder(nodeid) if folder(nodeid) in WHOLE else str(super()._split_scope(nodeid))

    return LoadFolders(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(folder(item.nodeid), len(FIRST)))
    for item in items:
        if is_left_to_sweep(item.nodeid):
            item.add_marker(pytest.mark.sweep)
        fixtures = set(getattr(item, "fixturenames", ()))
        params = item.callspec.params if hasattr(item, "callspec") else {}
        served = fixtures & STARTED or any(params.get(name) in ("http", "grpc") for name in BY_WIRE)
        if served or is_slow(item.path, getattr(item, "originalname", "")):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool, bool]:
    """A test without the mark ``slow`` that starts a process or imports TensorFlow fails, so that the mark is true."""
    if item.get_closest_marker("slow"):
        return (yield)
    message = f"{item.nodeid} starts a process: mark it with pytest.mark.slow"
    with mock.patch.object(subprocess.Popen, "__init__", side_effect=AssertionError(message)):
        return (yield)


def pytest_runtest_call(item: pytest.Item) -> None:
    item.stash[TENSORFLOW] = "tensorflow" in sys.modules


def pytest_runtest_teardown(item: pytest.Item) -> None:
    before = item.stash.get(TENSORFLOW, True)
    if not before and "tensorflow" in sys.modules and not item.get_closest_marker("slow"):
        pytest.fail(f"{item.nodeid} imports TensorFlow: mark it with pytest.mark.slow")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the tiny bundles of ``tests/bundles.py``; read it, never write to it."""
    return bundles.write_all(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def server(models: Path) -> Iterator[Server]:
    with start(models, "--version-policy", "on-demand") as running:
        yield running


@pytest.fixture(params=["local", "http", "grpc"])
def url(request: pytest.FixtureRequest, models: Path) -> str:
    """Address of the tiny bundles, over each wire in turn."""
    if request.param == "local":
        return f"local:{models}"
    return str(getattr(request.getfixturevalue("server"), request.param))


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with connect(url) as connected:
        yield connected


@pytest.fixture
def local(models: Path) -> Iterator[Client]:
    with connect(f"local:{models}") as connected:
        yield connected
