"""Write small Keras models of the kinds that the tasks have, with random weights, as finished Runs.

Fresh weights would hide faults: their biases are zero and their batch-norm statistics trivial. Here every weight, bias
and statistic is random.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from bookserve.bundle.examples import Example, Examples
from bookserve.graph import Arrays, Graph, TensorSpec
from bookserve.run import Origin, Recipe, Run, create_run
from bookserve.steps import (
    BinaryLabel,
    Characters,
    Image,
    Numbers,
    Pad,
    Pixels,
    Scale,
    Standardise,
    TopLabels,
    Words,
    vocabulary,
)
from bookserve.steps.vocabulary import Vocabulary
from bookserve.verb import Generate, Predict, Sample, Verb

SIDE = 12
WORDS = Vocabulary("words", ["<padding>", "<start>", "<unknown>", "<unused>", *(f"w{i}" for i in range(36))])
LETTERS = Vocabulary("characters", "abcdefghij ")
WINDOW = 9


def randomise(model: keras.Model, seed: int) -> None:
    """Give every weight of ``model`` random values, large enough for inputs to matter; variances stay positive."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.dtype != "float32":
            continue
        shape = tuple(weight.shape)
        if "variance" in weight.path or "gamma" in weight.path:
            weight.assign(rng.uniform(0.3, 3, shape))
        elif len(shape) == 1:
            weight.assign(rng.normal(0, 0.5, shape))
        else:
            read = shape[:2] if "depthwise" in weight.path else shape[:-1]  # how many numbers go into each output
            weight.assign(rng.normal(0, 2.5 / np.sqrt(np.prod(read)), shape))


def pictures(count: int, seed: int) -> np.ndarray:
    """uint8 [count, SIDE, SIDE] of large random squares, so that pictures differ much from each other."""
    squares = np.random.default_rng(seed).integers(0, 256, (count, 3, 3), np.uint8)
    return squares.repeat(SIDE // 3, axis=1).repeat(SIDE // 3, axis=2)


def write_run(
    runs: Path,
    task: str,
    verb: Verb,
    models: dict[str, keras.Model],
    feeds: dict[str, Arrays],
    rows: np.ndarray,
) -> Run:
    """Write a finished Run whose examples are Keras's outputs for ``feeds``; no training took place."""
    run = create_run(runs, task)
    archive = keras.export.ExportArchive()
    for model in models.values():
        archive.track(model)
    endpoints = dict(models)
    endpoints.setdefault("serving_default", next(iter(models.values())))
    for name, model in endpoints.items():
        specs = [keras.InputSpec(shape=t.shape, dtype=t.dtype, name=key) for key, t in model.input.items()]
        archive.add_endpoint(name, _positional(model), specs)
    archive.write_out(run.path / "saved_model", verbose=False)
    examples = {
        name: Example(feeds[name], {key: np.asarray(value) for key, value in model(feeds[name]).items()})
        for name, model in models.items()
    }
    Examples(examples, rows).save(run.path / "examples.npz")
    origin = Origin(
        task=task,
        section="5.1",
        summary="a small model with random weights",
        data="sample",
        dataset="a few generated rows",
        book={"test_accuracy": 0.99},
    )
    graphs = {name: _graph(model) for name, model in models.items()}
    vocabulary.save_vocabularies(Recipe(origin=origin, verb=verb, graphs=graphs), run.path / "task.json")
    run.write("params.json", {})
    run.write("metrics.json", {"test_accuracy": 0.5, "seconds": 1.0, "book": origin.book})
    return run


def write_convnet(runs: Path) -> Run:
    """Convolution, batch normalisation, pooling, dropout, softmax; pictures in."""
    image = keras.Input((SIDE, SIDE, 1), name="image")
    x = layers.Conv2D(6, 3, activation="relu")(image)
    x = layers.BatchNormalization()(x)
    x = layers.SeparableConv2D(8, 3, activation="relu", padding="same")(layers.MaxPooling2D(2)(x))
    x = layers.Dropout(0.5)(layers.Flatten()(layers.BatchNormalization()(x)))
    model = keras.Model({"image": image}, {"probabilities": layers.Dense(4, activation="softmax")(x)})
    randomise(model, 1)
    verb = Predict(
        inputs={"image": (Image(SIDE, SIDE, 1), Scale(1 / 255))},
        outputs={"probabilities": (TopLabels(tuple("abcd")),)},
    )
    rows = pictures(5, 2)
    return write_run(runs, "convnet", verb, {"serving_default": model}, {"serving_default": verb.encode(rows)}, rows)


def write_reviews(runs: Path) -> Run:
    """Embedding, bidirectional LSTM, LSTM, sigmoid; texts in."""
    tokens = keras.Input((20,), dtype="int32", name="tokens")
    x = layers.Bidirectional(layers.LSTM(5, return_sequences=True))(layers.Embedding(len(WORDS), 6)(tokens))
    model = keras.Model({"tokens": tokens}, {"probability": layers.Dense(1, activation="sigmoid")(layers.LSTM(7)(x))})
    randomise(model, 3)
    verb = Predict(
        inputs={"tokens": (Words(WORDS), Pad(20))}, outputs={"probability": (BinaryLabel(("negative", "positive")),)}
    )
    rng = np.random.default_rng(4)
    rows = np.array([" ".join(rng.choice(WORDS.entries[4:], size)) for size in (3, 20, 31)])
    return write_run(
        runs, "reviews", verb, {"serving_default": model}, {"serving_default": verb.encode(rows.tolist())}, rows
    )


def write_writer(runs: Path) -> Run:
    """One LSTM read over a window, and the same with its state carried in and out; characters in."""
    lstm, dense = layers.LSTM(8, return_state=True), layers.Dense(len(LETTERS), activation="softmax")
    window = keras.Input((WINDOW,), dtype="int32", name="characters")
    x, _, _ = lstm(ops.one_hot(window, len(LETTERS)))
    whole = keras.Model({"characters": window}, {"probabilities": dense(x)})
    ids = keras.Input((None,), dtype="int32", name="characters")
    h, c = keras.Input((8,), name="h"), keras.Input((8,), name="c")
    x, next_h, next_c = lstm(ops.one_hot(ids, len(LETTERS)), initial_state=[h, c])
    step = keras.Model(
        {"characters": ids, "h": h, "c": c}, {"probabilities": dense(x), "next_h": next_h, "next_c": next_c}
    )
    randomise(whole, 5)
    verb = Generate(characters=Characters(LETTERS), window=WINDOW, prompt="abc abc a")
    rng = np.random.default_rng(6)
    rows = np.array(["".join(rng.choice(LETTERS.entries, WINDOW - 1)) + "a" for _ in range(4)])
    characters = np.stack(verb.characters(rows.tolist()))
    states = {name: rng.normal(size=(4, 8)).astype(np.float32) for name in "hc"}
    return write_run(
        runs,
        "writer",
        verb,
        {"serving_default": whole, "step": step},
        {"serving_default": {"characters": characters}, "step": {"characters": characters, **states}},
        rows,
    )


def write_plane(runs: Path) -> Run:
    """Encoder of strided convolutions, decoder of transposed ones; latent points and pictures in."""
    image = keras.Input((SIDE, SIDE, 1), name="image")
    x = layers.BatchNormalization()(layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(image))
    encoder = keras.Model({"image": image}, {"mean": layers.Dense(2)(layers.Flatten()(x))})
    latent = keras.Input((2,), name="latent")
    x = layers.Reshape((SIDE // 2, SIDE // 2, 3))(layers.Dense(3 * (SIDE // 2) ** 2, activation="relu")(latent))
    x = layers.Conv2DTranspose(5, 3, strides=2, padding="same", activation="relu")(x)
    decoder = keras.Model({"latent": latent}, {"image": layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x)})
    randomise(encoder, 7)
    randomise(decoder, 8)
    verb = Sample(latent=2, after=(Pixels(),), before=(Image(SIDE, SIDE, 1), Scale(1 / 255)), encode="encode")
    rng = np.random.default_rng(9)
    rows = pictures(3, 10)
    feeds = {
        "decode": {"latent": rng.normal(size=(4, 2)).astype(np.float32)},
        "encode": {"image": Scale(1 / 255)(rows[..., None])},
    }
    return write_run(runs, "plane", verb, {"decode": decoder, "encode": encoder}, feeds, rows)


def write_prices(runs: Path) -> Run:
    """Dense layers from standardised figures to one number, which is scaled back; numbers in."""
    figures = keras.Input((5,), name="figures")
    model = keras.Model(
        {"figures": figures},
        {"price": layers.Dense(1)(layers.Dense(300, activation="relu")(layers.Dense(200)(figures)))},
    )
    randomise(model, 11)
    verb = Predict(
        inputs={"figures": (Numbers("float64", (5,)), Standardise((10.0,) * 5, (3.0,) * 5))},
        outputs={"price": (Scale(4.0, 20.0),)},
    )
    rows = np.random.default_rng(12).normal(10, 3, (6, 5))
    return write_run(runs, "prices", verb, {"serving_default": model}, {"serving_default": verb.encode(rows)}, rows)


def write_larger(runs: Path) -> Run:
    """Convolutions with enough weights for variants to become smaller."""
    image = keras.Input((SIDE, SIDE, 1), name="image")
    x = layers.Conv2D(64, 3, activation="relu")(layers.Conv2D(32, 3, activation="relu")(image))
    x = layers.Dense(32, activation="relu")(layers.Flatten()(layers.MaxPooling2D(2)(x)))
    model = keras.Model({"image": image}, {"probabilities": layers.Dense(4, activation="softmax")(x)})
    randomise(model, 13)
    verb = Predict(
        inputs={"image": (Image(SIDE, SIDE, 1), Scale(1 / 255))},
        outputs={"probabilities": (TopLabels(tuple("abcd")),)},
    )
    rows = pictures(16, 14)
    return write_run(runs, "larger", verb, {"serving_default": model}, {"serving_default": verb.encode(rows)}, rows)


def write_all(runs: Path) -> dict[str, Run]:
    """Write all five Runs and return them by task."""
    writers = (write_convnet, write_reviews, write_writer, write_plane, write_prices)
    return {run.task: run for run in (write(runs) for write in writers)}


def _positional(model: keras.Model):
    return lambda *tensors: model(dict(zip(model.input, tensors, strict=True)), training=False)


def _graph(model: keras.Model) -> Graph:
    def spec(tensor) -> TensorSpec:
        axes = ("batch", "time", "", "")
        return TensorSpec(tensor.dtype, tuple(axes[i] if size is None else size for i, size in enumerate(tensor.shape)))

    return Graph(
        inputs={key: spec(tensor) for key, tensor in model.input.items()},
        outputs={key: spec(tensor) for key, tensor in model.output.items()},
    )
