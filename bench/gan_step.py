# ruff: noqa: T201, TID253 - a measurement that prints
"""Measure one iteration of the GAN: the book's loop of three compiled models, and ours as one graph, in turns.

python bench/gan_step.py [--rounds 5] [--xla]

The book's (listing 8.32) predicts with the generator, trains the discriminator on a batch, and trains the generator
through a chained model whose discriminator is frozen. The mathematics is the same; the ratio shows what
one graph saves.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import keras
import numpy as np

from trainers.networks.gan import Adversaries, build_discriminator, build_generator

BATCH, LATENT = 20, 32


def book(width: float) -> Callable[[np.ndarray], None]:
    """One iteration of listing 8.32."""
    rng = np.random.default_rng(0)
    drawing, judging = build_generator(width), build_discriminator(width)
    rate = {"clipvalue": 1.0}
    judging.compile(optimizer=keras.optimizers.RMSprop(8e-4, **rate), loss="binary_crossentropy")
    judging.train_on_batch(np.zeros((2, 32, 32, 3)), np.zeros((2, 1)))  # its step is made while it is trainable
    frozen = keras.models.clone_model(judging)
    frozen.trainable = False
    latent = keras.Input((LATENT,), name="latent")
    chained = keras.Model(latent, frozen(drawing({"latent": latent})["image"]))
    chained.compile(optimizer=keras.optimizers.RMSprop(4e-4, **rate), loss="binary_crossentropy")
    for model in (drawing, judging, chained):
        model.jit_compile = False

    def iterate(real: np.ndarray) -> None:
        points = rng.normal(size=(BATCH, LATENT)).astype(np.float32)
        fake = drawing.predict({"latent": points}, verbose=0)["image"]
        labels = np.r_[np.ones((BATCH, 1)), np.zeros((BATCH, 1))] + 0.05 * rng.random((2 * BATCH, 1))
        judging.train_on_batch(np.concatenate([fake, real]), labels)
        frozen.set_weights(judging.get_weights())
        chained.train_on_batch(rng.normal(size=(BATCH, LATENT)).astype(np.float32), np.zeros((BATCH, 1)))

    return iterate


def ours(width: float, *, xla: bool) -> Callable[[np.ndarray], None]:
    """The training step of ``trainers/networks/gan.py``."""
    model = Adversaries(width, 4e-4, 0.05)
    model.compile(optimizer=keras.optimizers.RMSprop(8e-4), jit_compile=xla)
    model.optimizer.build(model.trainable_variables)
    targets = np.zeros(BATCH, np.float32)

    def iterate(real: np.ndarray) -> None:
        model.train_on_batch(real, targets)

    return iterate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="iterations of each, after one to warm up")
    parser.add_argument("--width", type=float, default=1.0, help="of both networks; 1 is the book's")
    parser.add_argument("--xla", action="store_true", help="measure ours with XLA, too")
    given = parser.parse_args()
    keras.utils.set_random_seed(0)
    real = np.random.default_rng(0).uniform(-1, 1, (BATCH, 32, 32, 3)).astype(np.float32)
    ways = {"the book's loop": book(given.width), "one graph": ours(given.width, xla=False)}
    if given.xla:
        ways["one graph, XLA"] = ours(given.width, xla=True)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(given.rounds + 1):
        for name, iterate in ways.items():
            start = time.perf_counter()
            iterate(real)
            if turn:
                seconds[name].append(time.perf_counter() - start)
    baseline = statistics.median(seconds["the book's loop"])
    for name, values in seconds.items():
        median = statistics.median(values)
        print(
            f"{name:18} {median:6.2f} s an iteration (median of {len(values)})  {baseline / median:5.2f} × the book's"
        )


if __name__ == "__main__":
    main()
