"""Requests as R's jsonlite writes them, recorded by ``bodies.R`` and sent to the application; and R itself if there.

``make test-r`` runs the package's own tests. Here stands what must hold on every machine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import helper

from bookserve.bundle import Bundle
from bookserve.bundle.examples import Examples
from bookserve.graph import Graph, TensorSpec
from bookserve.steps import Numbers
from bookserve.verb import Predict
from export.card.snippets import code_snippets
from tests.bundles import write_all, write_bundle
from tests.clients.r_package import check
from tests.clients.r_package.check import R_PACKAGES, ROOT, install, missing_packages
from tests.serve.in_process import application_client
from tests.servers import start

FOLDER = Path(__file__).parent
BODIES = json.loads((FOLDER / "bodies.json").read_text("utf-8"))

AFFINE = [{"y": [1.0, 3.0, 5.0]}, {"y": [-1.0, 1.0, 2.0]}]
#: The answer to each recorded request, as arithmetic on tests/bundles.py gives it; labels stand for pictures and texts.
EXPECTED: dict[str, Any] = {
    "data frame": AFFINE,
    "matrix": AFFINE,
    "vector": AFFINE[:1],
    "several inputs": [{"sum": 6.0, "next": 6}, {"sum": 0.5, "next": 0}],
    "several inputs in lists": [{"sum": 6.0, "next": 6}, {"sum": 7.0, "next": 7}],
    "picture from 0 to 1": ["bright"],
    "pictures from 0 to 255": ["dark", "bright"],
    "flat pictures": ["dark", "bright"],
    "texts": [2 / 6, 0.0],
    "ids of words": [2 / 6, 0.0],
    # Weights 1, 10, 100 of the columns and 1, 2 of the times.
    "window": [{"y": 531.0 + 2 * 642.0}],
    "windows": [{"y": 321.0 + 2 * 654.0}, {"y": 987.0 + 2 * 1320.0}],
    "jsonlite: data frame": AFFINE,
    "jsonlite: columns": AFFINE,
    "jsonlite: matrix": AFFINE,
    "jsonlite: unboxed row": AFFINE[:1],
    "jsonlite: unboxed text": [2 / 6],
    "jsonlite: array": ["bright"],
    "jsonlite: array of window": [{"y": 531.0 + 2 * 642.0}],
}


def write_window(models: Path) -> None:
    """A model that tells each number of a row [2, 3] by its place."""
    shape = ("batch", 2, 3)
    graph = Graph(
        inputs={"x": TensorSpec("float32", shape)}, outputs={"y": TensorSpec("float32", ("batch",))}, onnx="model.onnx"
    )
    nodes = [
        helper.make_node("Mul", ["x", "weights"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "axes"], ["y"], keepdims=0),
    ]
    weights = np.array([[1, 10, 100], [2, 20, 200]], np.float32)
    verb = Predict(inputs={"x": (Numbers("float32", (2, 3), ("T (degC)", "b", "c")),)}, outputs={"y": ()})
    feeds = {"x": np.ones((1, 2, 3), np.float32)}
    graphs = {"serving_default": (graph, nodes, {"weights": weights, "axes": np.array([1, 2])})}
    write_bundle(models, "window", verb, graphs, {"serving_default": feeds})


@pytest.fixture(scope="module")
def r_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = write_all(tmp_path_factory.mktemp("models"))
    write_window(models)
    return models


@pytest.fixture(scope="module")
def http(r_models: Path) -> Iterator[httpx.Client]:
    with application_client(r_models) as client:
        yield client


def plain(answer: dict[str, Any]) -> Any:
    """The answer; of a classifier the likeliest label, of the reviews the score of ``positive``."""
    if "probabilities" in answer:
        return answer["probabilities"][0]["label"]
    if "score" in answer:
        return pytest.approx(next(one["score"] for one in answer["score"] if one["label"] == "positive"))
    return answer


@pytest.mark.parametrize("name", EXPECTED)
def test_what_r_writes_is_answered(http: httpx.Client, name: str) -> None:
    reply = http.post(BODIES[name]["path"], content=BODIES[name]["body"], headers={"content-type": "application/json"})
    assert reply.status_code == 200, reply.text
    assert [plain(answer) for answer in reply.json()["answers"]] == EXPECTED[name]


def test_points_and_texts(http: httpx.Client) -> None:
    assert BODIES.keys() - EXPECTED.keys() == {"points", "text"}
    text = http.post(BODIES["text"]["path"], content=BODIES["text"]["body"])
    assert text.json()["text"] == "deab"
    points = http.post(BODIES["points"]["path"], content=BODIES["points"]["body"])
    assert points.json()["latent"] == [[0, 0], [1, -1]]


def r_lacks() -> list[str]:
    """What these tests need of R and is not there; nothing else may be needed to use the package."""
    return sorted({"R", "httr2", "jsonlite"} & set(missing_packages())) if shutil.which("Rscript") else ["R"]


def run_r(*arguments: str | Path, library: Path | None = None) -> str:
    environment = {**os.environ, **({"R_LIBS": str(library)} if library else {})}
    done = subprocess.run(
        ["Rscript", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(bool(r_lacks()), reason="needs R with httr2 and jsonlite; `make test-r` installs them")
def test_r_calls_a_server_as_the_cards_say(r_models: Path, tmp_path: Path) -> None:
    """Records the requests again, and runs the R lines of each bundle's card."""
    assert json.loads(run_r(FOLDER / "bodies.R")) == BODIES
    library = install(tmp_path / "library")
    with start(r_models) as server:
        for path in sorted(r_models.glob("*/1")):
            bundle = Bundle.open(path)
            _, _, block = code_snippets(bundle.manifest, Examples.load(path / "examples.npz")).partition("```r\n")
            script = block.partition("```")[0].replace("http://127.0.0.1:8501", server.http)
            (tmp_path / "card.R").write_text(script.replace('"picture.png"', "matrix(0:15 * 17, 4)"), "utf-8")
            printed = run_r(tmp_path / "card.R", library=library)
            assert printed or bundle.manifest.name == "plane"


def test_the_check_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match=r"missing for the checks of the R package: R\n(.*\n)*.*r-cran-httr2"):
        check.find_r()
    assert {"httr2", "jsonlite", "testthat", "png"} <= set(R_PACKAGES)
