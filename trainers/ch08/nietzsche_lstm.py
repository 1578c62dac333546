"""Generate text in the style of Nietzsche with a character-level LSTM: section 8.1, listings 8.1–8.7.

Expected: after 20 epochs real words and some grammar, after 60 mostly coherent phrases; 170 s an epoch on 2 cores.
The graph's inputs are ids; one-hot encoding is part of the graph. The result is the same as the book's, without 700 MB
of one-hot arrays. ``-p text=FILE`` trains on any other UTF-8 text.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from bookserve.steps import Characters
from bookserve.verb import Generate
from trainers.datasets import nietzsche
from trainers.datasets.arrays import TrainingArrays
from trainers.datasets.dataset import Kind
from trainers.preparation import baseline
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras

WINDOW, UNITS = 60, 128


def data(kind: Kind, params: Params) -> Data:
    corpus = nietzsche.read_text_file(Path(params["text"])) if params["text"] else nietzsche.load(kind)
    text = corpus.text
    middle = len(text) // 2
    start = text.find(" ", middle, -WINDOW) + 1 or middle
    verb = Generate(characters=Characters(corpus.vocabulary), window=WINDOW, prompt=text[start : start + WINDOW])
    ids = verb.characters([text])[0]
    windows = np.lib.stride_tricks.sliding_window_view(ids, WINDOW + 1)[:: params["step"]]
    rows = np.array([text[at : at + WINDOW] for at in range(0, 800, 100)])
    few = np.stack(verb.characters(rows.tolist()))
    state = np.random.default_rng(0).uniform(-0.5, 0.5, (2, len(few), UNITS)).astype(np.float32)
    return Data(
        verb=verb,
        about=corpus.about,
        train=TrainingArrays(windows[:, :WINDOW], windows[:, WINDOW]),
        validation=None,
        test=None,
        example_rows=rows,
        example_feeds={
            "serving_default": {"characters": few},
            "step": {"characters": few[:, :5], "h": state[0], "c": state[1]},
        },
        baseline=baseline.unigram_entropy(ids),
    )


def build(data: Data, params: Params) -> keras.Model:
    import keras
    from keras import layers, ops

    size = len(cast(Generate, data.verb).characters.vocabulary)
    characters = keras.Input((WINDOW,), dtype="int32", name="characters")
    x = layers.LSTM(UNITS, return_state=True, name="lstm")(ops.one_hot(characters, size))[0]
    model = keras.Model(characters, layers.Dense(size, activation="softmax", name="probabilities")(x))
    model.compile(
        optimizer=keras.optimizers.RMSprop(params["learning_rate"]),
        loss="sparse_categorical_crossentropy",
    )
    return model


def graphs(model: keras.Model) -> dict[str, keras.Model]:
    """``serving_default`` takes a whole window, as in training; ``step`` takes new characters and the LSTM's state."""
    import keras
    from keras import ops

    window = keras.Model({"characters": model.inputs[0]}, {"probabilities": model.outputs[0]})
    lstm, dense = model.get_layer("lstm"), model.get_layer("probabilities")
    characters = keras.Input((None,), dtype="int32", name="characters")
    h, c = keras.Input((UNITS,), name="h"), keras.Input((UNITS,), name="c")
    x, next_h, next_c = lstm(ops.one_hot(characters, dense.units), initial_state=[h, c])
    outputs = {"probabilities": dense(x), "next_h": next_h, "next_c": next_c}
    return {"serving_default": window, "step": keras.Model({"characters": characters, "h": h, "c": c}, outputs)}


TASK = Task(
    section="8.1",
    listings="8.1–8.7",
    summary="generates text in the style of Nietzsche with a character-level LSTM",
    dataset="nietzsche",
    verb="generate",
    shown="texts at epochs 20 and 60",
    metric="loss",
    params={
        "epochs": 60,
        "batch_size": 128,
        "learning_rate": 0.01,
        "step": 3,
        "text": "",
        "samples_every": 0,
        "jit_compile": False,
    },
    sample={"epochs": 4, "batch_size": 64},
    data=data,
    build=build,
    graphs=graphs,
)
