"""The examples in the docstrings of the client, and that each public method has one."""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bookserve.bundle import model_names
from bookserve.cli.included import included_models
from bookserve.client import Answers, AnswerTable, AsyncClient, Client, connect
from bookserve.errors import NotFound
from bookserve.images import encode_png
from tests import picture_bundles

MODULES = ("address", "answers", "async_client", "client")
SEVEN = np.zeros((28, 28), np.uint8)
SEVEN[5:8, 6:22], SEVEN[8:24, 17:20] = 255, 255


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the models that the examples name, under the name that the models in the box have."""
    directory = tmp_path_factory.mktemp("examples")
    models = directory / "pretrained"
    models.mkdir()
    for name in model_names(included_models()):
        (models / name).symlink_to(included_models() / name)
    picture_bundles.write_dreamer(directory / "made")
    (models / "deepdream").symlink_to(directory / "made" / "dreamer")
    (directory / "digit.png").write_bytes(encode_png(SEVEN[:, :, None]))
    (directory / "photo.png").write_bytes(encode_png(np.full((80, 80, 3), 99, np.uint8)))
    return directory


@pytest.fixture(scope="module", params=MODULES)
def module(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(f"bookserve.client.{request.param}")


@pytest.fixture
def client(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.chdir(place)
    with connect("local:pretrained") as connected:
        yield connected


def test_examples(module: ModuleType, client: Client) -> None:
    names = {"client": client, "connect": connect, "Path": Path, "np": np, "NotFound": NotFound}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs=names):
        test.examples = [example for example in test.examples if not is_missing(example.source)]
        runner.run(test, out=report.append)
    assert runner.tries
    assert not runner.failures, "".join(report)


def is_missing(source: str) -> bool:
    """Whether an example needs a package that is not installed."""
    _, needs, package = source.strip().rpartition("# needs ")
    return bool(needs) and find_spec(package) is None


@pytest.mark.parametrize("kind", [Client, Answers, AnswerTable, AsyncClient])
def test_every_public_method_has_an_example(kind: type) -> None:
    names = [name for name in vars(kind) if not name.startswith("_")]
    found = doctest.DocTestFinder().find(kind, kind.__name__)
    sources = "".join(example.source for test in found for example in test.examples)
    assert [name for name in names if f".{name}" not in sources and name != "close"] == []
