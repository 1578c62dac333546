"""The tasks: the book's networks, the Steps in front of them, and graphs by the names that others rely on."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from bookserve import verb as verbs
from bookserve.sampling import TextStream
from bookserve.steps import Rows, apply
from bookserve.verb import Generate, Predict, Sample
from trainers import catalogue
from trainers.data import imdb, mnist, nietzsche
from trainers.finish import graph_of, inference_models
from trainers.task import Data, Task

GRAPHS = {
    "mnist_convnet": {
        "serving_default": ({"image": "float32[batch, 28, 28, 1]"}, {"probabilities": "float32[batch, 10]"}),
    },
    "imdb_lstm": {
        "serving_default": ({"tokens": "int32[batch, 500]"}, {"probability": "float32[batch, 1]"}),
    },
    **{
        name: {"serving_default": ({"tokens": "int32[batch, 500]"}, {"probability": "float32[batch, 1]"})}
        for name in ("imdb_simple_rnn", "imdb_lstm_reversed", "imdb_bilstm", "imdb_conv1d")
    },
    "imdb_embedding": {
        "serving_default": ({"tokens": "int32[batch, 20]"}, {"probability": "float32[batch, 1]"}),
    },
    "mnist_dense": {
        "serving_default": ({"image": "float32[batch, 784]"}, {"probabilities": "float32[batch, 10]"}),
    },
    "nietzsche_lstm": {
        "serving_default": ({"characters": "int32[batch, 60]"}, {"probabilities": "float32[batch, V]"}),
        "step": (
            {"characters": "int32[batch, time]", "h": "float32[batch, 128]", "c": "float32[batch, 128]"},
            {"probabilities": "float32[batch, V]", "next_h": "float32[batch, 128]", "next_c": "float32[batch, 128]"},
        ),
    },
    "mnist_vae": {
        "decode": ({"latent": "float32[batch, 2]"}, {"image": "float32[batch, 28, 28, 1]"}),
        "encode": (
            {"image": "float32[batch, 28, 28, 1]"},
            {"mean": "float32[batch, 2]", "log_variance": "float32[batch, 2]"},
        ),
    },
}
#: Trainable numbers of each network: of the book's printed summary (listing 5.2), or reckoned from its layers.
PARAMETERS = {
    "mnist_dense": 784 * 512 + 512 + 512 * 10 + 10,
    "mnist_convnet": 93_322,
    "imdb_embedding": 200 * 8 + 20 * 8 + 1,
    "imdb_simple_rnn": 200 * 32 + 32 * (32 + 32 + 1) + 33,
    "imdb_lstm": 200 * 32 + 4 * (32 * (32 + 32) + 32) + 33,
    "imdb_lstm_reversed": 200 * 128 + 4 * (32 * (128 + 32) + 32) + 33,
    "imdb_bilstm": 200 * 32 + 2 * 4 * (32 * (32 + 32) + 32) + 65,
    "imdb_conv1d": 200 * 128 + (7 * 128 * 32 + 32) + (7 * 32 * 32 + 32) + 33,
    "mnist_vae": 550_629,
}


@pytest.fixture(scope="module", params=catalogue.names())
def built(request: pytest.FixtureRequest) -> tuple[Task, Data, keras.Model]:
    task = catalogue.find(request.param)
    params = {**task.params, **task.sample}
    data = task.data("sample", params)
    return task, data, task.build(data, params)


def test_graphs_have_the_agreed_names_types_and_shapes(built: tuple[Task, Data, keras.Model]) -> None:
    task, data, model = built
    graphs = {name: graph_of(graph) for name, graph in inference_models(task, model, data).items()}
    size = str(len(data.verb.characters.vocabulary)) if isinstance(data.verb, Generate) else ""
    said = {
        name: ({k: str(v) for k, v in graph.inputs.items()}, {k: str(v) for k, v in graph.outputs.items()})
        for name, graph in graphs.items()
    }
    expected = {
        name: tuple({k: v.replace("V", size) for k, v in side.items()} for side in sides)
        for name, sides in GRAPHS[task.name].items()
    }
    assert said == expected
    assert list(graphs) == list(expected)  # the first is the one that serving_default means
    assert verbs.verb_name(data.verb) == task.verb
    for name, graph in graphs.items():
        graph.check(data.feeds[name])


def test_networks_are_the_book_s(built: tuple[Task, Data, keras.Model]) -> None:
    task, data, model = built
    expected = PARAMETERS.get(task.name)
    if isinstance(data.verb, Generate):
        size = len(data.verb.characters.vocabulary)
        expected = 4 * (128 * (size + 128) + 128) + 128 * size + size
    assert model.count_params() == expected


def test_training_arrays_have_passed_the_steps_that_are_served(built: tuple[Task, Data, keras.Model]) -> None:
    """One raw row sent to a server, or found in the training data: the same numbers."""
    task, data, _ = built
    if isinstance(data.verb, Predict):
        loaded = mnist.load("sample") if task.dataset == "mnist" else imdb.load("sample", 200)
        (name,) = data.verb.inputs
        raw: Rows = [loaded.train.rows[7]]
        assert np.array_equal(data.verb.encode(raw)[name], data.train.x[7:8])
        assert np.array_equal(data.verb.encode(loaded.test.rows)[name], data.test.x if data.test else None)
        assert np.array_equal(data.verb.encode(data.rows)[name], data.feeds[data.verb.graph][name])
    elif isinstance(data.verb, Sample):
        loaded = mnist.load("sample")
        assert np.array_equal(apply(data.verb.before, loaded.train.rows), data.train.x)
        assert data.train.y is data.train.x
        assert np.array_equal(apply(data.verb.before, data.rows), data.feeds["encode"]["image"])
    else:
        text = nietzsche.load("sample").text
        window = text[30:90], text[90]  # the window of index 10, as every third is taken
        ids = data.verb.characters(window)
        assert data.verb.window == data.train.x.shape[1] == len(data.verb.prompt) == 60
        assert np.array_equal(ids[0], data.train.x[10])
        assert ids[1][0] == data.train.y[10]


def test_steps_carry_the_state_that_the_window_has() -> None:
    """Sixty characters one by one through ``step`` give what the window gives at once, at any cut."""
    task = catalogue.find("nietzsche_lstm")
    data = task.data("sample", task.params)
    models = inference_models(task, task.build(data, task.params), data)
    window = np.asarray(models["serving_default"](data.feeds["serving_default"])["probabilities"])
    ids = data.feeds["serving_default"]["characters"]
    state = {"h": np.zeros((len(ids), 128), np.float32), "c": np.zeros((len(ids), 128), np.float32)}
    for piece in (ids[:, :50], ids[:, 50:59], ids[:, 59:]):
        out = models["step"]({"characters": piece, **state})
        state = {"h": np.asarray(out["next_h"]), "c": np.asarray(out["next_c"])}
    np.testing.assert_allclose(out["probabilities"], window, atol=1e-6)
    assert isinstance(data.verb, Generate)
    stream = TextStream(data.verb, graph_of(models["step"]), prompt="", length=3, temperature=0.5, seed=1)
    run = models["step"]
    text = "".join(stream.write(lambda feeds: {name: np.asarray(array) for name, array in run(feeds).items()}))
    assert len(text) == 3


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
