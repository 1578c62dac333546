"""A SavedModel that bookserve never trained and ONNX cannot express, exported and served by the TensorFlow backend."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import servers

pytestmark = pytest.mark.slow  # starts servers

MODEL = """
import sys, tensorflow as tf
class Texts(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text"), tf.TensorSpec([None], tf.int32, "at")])
    def look(self, text, at):
        return {"upper": tf.strings.upper(text), "word": tf.gather(["zero", "one", "two"], at)}
module = Texts()
tf.saved_model.save(module, sys.argv[1], signatures={"serving_default": module.look})
"""


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server of that model, made and exported as its owner would."""
    directory = tmp_path_factory.mktemp("foreign")
    subprocess.run([sys.executable, "-c", MODEL, directory / "texts"], check=True, capture_output=True)
    command = [sys.executable, "-m", "bookserve", "export", directory / "texts", "--models", directory / "models"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "TensorFlow only" in done.stdout
    assert done.stderr == ""
    with (
        servers.start(Path(directory / "models")) as server,
        httpx.Client(base_url=server.http, trust_env=False, timeout=30) as client,
    ):
        yield client


def test_our_own_door_answers(http: httpx.Client) -> None:
    rows = [{"text": "to be", "at": 1}, {"text": "or not", "at": 0}]
    answers = http.post("/api/models/texts/predict", json={"rows": rows}).json()["answers"]
    assert answers == [{"upper": "TO BE", "word": "one"}, {"upper": "OR NOT", "word": "zero"}]


def test_tensorflow_servings_door_answers(http: httpx.Client) -> None:
    body = {"inputs": {"text": ["to be"], "at": [0]}}
    outputs = http.post("/v1/models/texts:predict", json=body).json()["outputs"]
    assert outputs == {"upper": ["TO BE"], "word": ["zero"]}


def test_values_that_the_graph_refuses_are_the_callers_mistake_and_the_server_lives_on(http: httpx.Client) -> None:
    refused = http.post("/api/models/texts/predict", json={"rows": [{"text": "to be", "at": 7}]})
    assert refused.status_code == 400
    assert "values" in refused.json()["error"]["message"]
    assert http.get("/readyz").status_code == 200
