"""The tasks: the book's networks, the Steps before them, and graphs with the names that other code relies on."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from bookserve import verb as verbs
from bookserve.api.requests import GenerateRequest
from bookserve.generation.explain import ACTIVATIONS, HEAD
from bookserve.generation.text import join_pieces, text_streams
from bookserve.steps import Rows, apply_steps
from bookserve.verb import Generate, Predict, Sample
from tests.trainers import expected, tasks
from trainers import catalogue
from trainers.artifacts.signatures import describe_graph, inference_models
from trainers.artifacts.write import compute_examples
from trainers.datasets import imdb, mnist, nietzsche
from trainers.networks import vgg
from trainers.task import Data, Task


@pytest.fixture(scope="module", params=tasks.ALL)
def built(request: pytest.FixtureRequest) -> tuple[Task, Data, keras.Model]:
    task = catalogue.find_task(request.param)
    params = task.defaults("sample")
    data = task.data("sample", params)
    return task, data, task.build(data, params)


def test_graphs_have_the_agreed_names_types_and_shapes(built: tuple[Task, Data, keras.Model]) -> None:
    task, data, model = built
    graphs = {name: describe_graph(graph) for name, graph in inference_models(task, model, data).items()}
    parts = {name: graphs.pop(name) for name in (ACTIVATIONS, HEAD) if name in graphs}
    size = str(len(data.verb.characters.vocabulary)) if isinstance(data.verb, Generate) else ""
    said = {
        name: ({k: str(v) for k, v in graph.inputs.items()}, {k: str(v) for k, v in graph.outputs.items()})
        for name, graph in graphs.items()
    }
    wanted = {
        name: tuple({k: v.replace("V", size) for k, v in side.items()} for side in sides)
        for name, sides in expected.GRAPHS[task.name].items()
    }
    assert said == wanted
    assert list(graphs) == list(wanted)  # the first is the one that serving_default means
    assert verbs.verb_name(data.verb) == task.verb
    for name, graph in graphs.items():
        feeds = data.example_feeds[name]
        if feeds.keys() < graph.inputs.keys():  # the rest is what other graphs give
            feeds = compute_examples(inference_models(task, model, data), data).graphs[name].inputs
        graph.check(feeds)
    assert bool(parts) == (task.name in expected.EXPLAINED)


def test_networks_are_the_book_s(built: tuple[Task, Data, keras.Model]) -> None:
    task, data, _ = built
    numbers = expected.PARAMETERS[task.name]
    if isinstance(data.verb, Generate):
        size = len(data.verb.characters.vocabulary)
        numbers = 4 * (128 * (size + 128) + 128) + 128 * size + size
    params = task.defaults("real")
    if "weights" in params:  # the pretrained ones are not at hand; random ones are as many
        params["weights"] = "sample" if task.sample["weights"] == "sample" and "base" not in params else "none"
        if data.frozen_base:
            data = dataclasses.replace(data, frozen_base=vgg.build_vgg("vgg16", "none", (150, 150)))
    if task.dataset == "jena":  # its windows decide the size of the network
        data = task.data("sample", params)
    assert task.build(data, params).count_params() == numbers


def test_raw_rows_become_what_the_graphs_were_fed(built: tuple[Task, Data, keras.Model]) -> None:
    _, data, _ = built
    if isinstance(data.verb, Predict) and len(data.example_rows):
        for name, array in data.verb.encode(data.example_rows).items():
            assert np.array_equal(array, data.example_feeds[data.verb.graph][name])


@pytest.mark.parametrize("name", ["mnist_dense", "mnist_convnet", "imdb_lstm", "imdb_dense"])
def test_training_arrays_have_passed_the_steps_that_are_served(name: str) -> None:
    """One raw row sent to a server, or found in the training data: the same numbers."""
    task = catalogue.find_task(name)
    data = task.data("sample", task.defaults("sample"))
    assert isinstance(data.verb, Predict)
    loaded = mnist.load("sample") if task.dataset == "mnist" else imdb.load("sample", 200)
    (column,) = data.verb.inputs
    raw: Rows = [loaded.train.rows[7]]
    assert np.array_equal(data.verb.encode(raw)[column], data.train.batch(np.array([7]))[0])
    assert data.test
    assert np.array_equal(data.verb.encode(loaded.test.rows)[column], data.test.batch(np.arange(len(data.test)))[0])


def test_pictures_of_the_vae_have_passed_its_steps() -> None:
    task = catalogue.find_task("mnist_vae")
    data, loaded = task.data("sample", task.defaults("sample")), mnist.load("sample")
    assert isinstance(data.verb, Sample)
    assert np.array_equal(apply_steps(data.verb.before, loaded.train.rows), data.train.x)
    assert data.train.y is data.train.x
    assert np.array_equal(apply_steps(data.verb.before, data.example_rows), data.example_feeds["encode"]["image"])


def test_windows_of_the_corpus_are_the_characters_before_each_target() -> None:
    task = catalogue.find_task("nietzsche_lstm")
    data, text = task.data("sample", task.defaults("sample")), nietzsche.load("sample").text
    assert isinstance(data.verb, Generate)
    ids = data.verb.characters((text[30:90], text[90]))  # the window of index 10, as every third is taken
    x, y = data.train.batch(np.array([10]))
    assert data.verb.window == x.shape[1] == len(data.verb.prompt) == 60
    assert np.array_equal(ids[0], x[0])
    assert ids[1][0] == y[0]


def test_steps_carry_the_state_that_the_window_has() -> None:
    """Sixty characters one by one through ``step`` give what the window gives at once, at any cut."""
    task = catalogue.find_task("nietzsche_lstm")
    data = task.data("sample", task.defaults("sample"))
    models = inference_models(task, task.build(data, task.defaults("sample")), data)
    window = np.asarray(models["serving_default"](data.example_feeds["serving_default"])["probabilities"])
    ids = data.example_feeds["serving_default"]["characters"]
    state = {"h": np.zeros((len(ids), 128), np.float32), "c": np.zeros((len(ids), 128), np.float32)}
    for piece in (ids[:, :50], ids[:, 50:59], ids[:, 59:]):
        out = models["step"]({"characters": piece, **state})
        state = {"h": np.asarray(out["next_h"]), "c": np.asarray(out["next_c"])}
    np.testing.assert_allclose(out["probabilities"], window, atol=1e-6)
    assert isinstance(data.verb, Generate)
    (stream,) = text_streams(data.verb, describe_graph(models["step"]), GenerateRequest(length=3, seed=1))
    run = models["step"]
    pieces = stream.write(lambda feeds: {name: np.asarray(array) for name, array in run(feeds).items()})
    assert len(join_pieces(list(pieces)).text) == 3


def test_the_encoder_s_spread_is_half_of_the_log_variance() -> None:
    """Listing 8.24 prints exp(log_variance) for the standard deviation."""
    from trainers.ch08.mnist_vae import sampling_layer

    keras.utils.set_random_seed(1)
    layer = sampling_layer()(1.0)
    mean, log_variance = np.full((4000, 2), 3.0, np.float32), np.full((4000, 2), np.log(4.0), np.float32)
    points = np.asarray(layer(mean, log_variance))
    assert points.std() == pytest.approx(2.0, rel=0.05)
    assert points.mean() == pytest.approx(3.0, abs=0.1)
    assert float(layer.losses[0]) == pytest.approx(-(1 + np.log(4.0) - 9 - 4), rel=1e-5)
