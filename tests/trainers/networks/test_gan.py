"""The GAN's step trains each network with its own loss only; the distance separates frogs from noise."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import keras
import numpy as np
import pytest

from bookserve.errors import Failed
from bookserve.run import Run, latest_run
from trainers import catalogue, training
from trainers.datasets import cifar10
from trainers.networks.frechet_distance import frechet_distance
from trainers.networks.gan import Adversaries


@pytest.fixture
def adversaries() -> Adversaries:
    keras.utils.set_random_seed(1)
    model = Adversaries(0.0625, 0.004, 0.05)
    model.compile(optimizer=keras.optimizers.RMSprop(0.008), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def weights(network: keras.Model) -> list[np.ndarray]:
    return [np.array(weight) for weight in network.get_weights()]


def test_one_iteration_is_the_book_s(adversaries: Adversaries) -> None:
    """By hand: the discriminator's step on fake and real, then the generator's against the changed discriminator."""
    import tensorflow as tf

    real = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)
    for layer in adversaries.discriminator.layers:
        if hasattr(layer, "rate"):
            layer.rate = 0  # dropout would draw other numbers by hand
    adversaries.label_noise = 0.0
    twin = keras.models.clone_model(adversaries.discriminator), keras.models.clone_model(adversaries.generator)
    twin[0].set_weights(weights(adversaries.discriminator))
    twin[1].set_weights(weights(adversaries.generator))
    state = np.array(adversaries.seed.state)
    first = keras.random.normal((4, 32), seed=adversaries.seed)
    keras.random.uniform((8, 1), seed=adversaries.seed)  # what blurs the labels
    second = keras.random.normal((4, 32), seed=adversaries.seed)
    adversaries.seed.state.assign(state)
    adversaries.iterate(real)

    def step(network: keras.Model, rate: float, loss: object) -> None:
        with tf.GradientTape() as tape:
            value = loss()  # type: ignore[operator]
        optimizer = keras.optimizers.RMSprop(rate, clipvalue=1.0)
        optimizer.apply(
            tape.gradient(value, [v.value for v in network.trainable_variables]), network.trainable_variables
        )

    judge, draw = twin
    fake = draw({"latent": first})["image"]
    labels = np.r_[np.ones((4, 1)), np.zeros((4, 1))]
    cross = keras.losses.BinaryCrossentropy()
    step(judge, 0.008, lambda: cross(labels, judge(np.concatenate([fake, real]))))
    step(draw, 0.004, lambda: cross(np.zeros((4, 1)), judge(draw({"latent": second})["image"])))
    # RMSprop's first step is as long everywhere (0.0126): where the gradient is nearly nought, rounding decides.
    for by_hand, network in ((judge, adversaries.discriminator), (draw, adversaries.generator)):
        for expected, got in zip(weights(by_hand), weights(network), strict=True):
            assert np.mean(np.abs(expected - got) < 2e-3) > 0.9


def test_labels_are_blurred_and_networks_learn_in_turn(adversaries: Adversaries) -> None:
    real = np.zeros((4, 32, 32, 3), np.float32)
    before = weights(adversaries.generator)
    adversaries.generator_rate = 0.0
    adversaries.iterate(real)
    assert all(np.array_equal(a, b) for a, b in zip(before, weights(adversaries.generator), strict=True))
    adversaries.optimizer.learning_rate.assign(0.0)
    adversaries.generator_rate = 0.01
    judged = weights(adversaries.discriminator)
    adversaries.iterate(real)
    assert all(np.array_equal(a, b) for a, b in zip(judged, weights(adversaries.discriminator), strict=True))
    assert not np.array_equal(before[0], weights(adversaries.generator)[0])
    assert int(adversaries.optimizer.iterations) == 2


def test_the_average_follows_the_generator_and_teaches_it_nothing(adversaries: Adversaries) -> None:
    real = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)
    state = np.array(adversaries.seed.state)
    adversaries.iterate(real)
    for kept, learnt in zip(weights(adversaries.average), weights(adversaries.generator), strict=True):
        np.testing.assert_allclose(kept, learnt, atol=1e-6)  # nothing is left where ``averaging`` is 0

    keras.utils.set_random_seed(1)
    averaged = Adversaries(0.0625, 0.004, 0.05, averaging=0.9)
    averaged.compile(optimizer=keras.optimizers.RMSprop(0.008), jit_compile=False)
    averaged.optimizer.build(averaged.trainable_variables)
    averaged.seed.state.assign(state)
    expected = weights(averaged.generator)
    for iteration in range(12):
        averaged.iterate(real)
        left = min(0.9, (1 + iteration) / (10 + iteration))
        expected = [left * e + (1 - left) * w for e, w in zip(expected, weights(averaged.generator), strict=True)]
        if iteration == 0:
            for one, other in zip(weights(averaged.generator), weights(adversaries.generator), strict=True):
                np.testing.assert_allclose(one, other, atol=1e-6)
    for kept, by_hand in zip(weights(averaged.average), expected, strict=True):
        np.testing.assert_allclose(kept, by_hand, atol=1e-5)
    assert catalogue.find_task("cifar10_gan").graphs(averaged)["decode"] is averaged.average


def test_an_interrupted_gan_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    """Both networks, both rates, the noise's generator and the optimizer's memory go on from the checkpoint."""
    task = catalogue.find_task("cifar10_gan")
    params = {**task.defaults("sample"), "epochs": 2, "steps_per_epoch": 2, "batch_size": 4, "width": 0.0625}

    def run(folder: str, stop: bool) -> Run:
        def say(line: str) -> None:
            if stop and line.startswith("epoch 1/"):
                raise KeyboardInterrupt

        return training.start_training(task, "sample", params, seed=5, runs=tmp_path / folder, report=say)

    whole = run("whole", stop=False)
    with pytest.raises(KeyboardInterrupt):
        run("cut", stop=True)
    training.resume_training(task, tmp_path / "cut", report=lambda line: None)
    assert latest_run(tmp_path / "cut", "cifar10_gan").figures == whole.figures


def test_the_distance_is_nought_between_equals_and_grows_with_difference() -> None:
    frogs = cifar10.load("sample") / 127.5 - 1
    rng = np.random.default_rng(0)
    assert frechet_distance(frogs, frogs) == pytest.approx(0, abs=1e-3)
    assert frechet_distance(frogs[:300], frogs[300:]) < 3
    assert frechet_distance(rng.uniform(-1, 1, frogs.shape), frogs) > 20
    shifted = frechet_distance(frogs + 0.1, frogs)
    assert shifted == pytest.approx(0.01 * 192, rel=1e-2)


def test_cifar_s_own_archive_is_read_without_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of one label and 3,072 bytes: reds, greens, blues."""
    records = np.random.default_rng(0).integers(0, 256, (10, 3073)).astype(np.uint8)
    records[:, 0] = [6, 0, 6, 1, 2, 3, 4, 5, 6, 7]
    folder = tmp_path / "keras" / "datasets"
    folder.mkdir(parents=True)
    monkeypatch.setenv("BOOKSERVE_DATA", str(tmp_path))

    def write(batches: int) -> None:
        with tarfile.open(folder / "cifar-10-binary.tar.gz", "w:gz") as archive:
            for number in range(1, batches + 1):
                info = tarfile.TarInfo(f"cifar-10-batches-bin/data_batch_{number}.bin")
                info.size = records.size
                archive.addfile(info, io.BytesIO(records.tobytes()))

    write(5)
    frogs = cifar10.load("real")
    assert frogs.shape == (15, 32, 32, 3)
    assert frogs[1, 0, 1].tolist() == [records[2, 1 + 1], records[2, 1 + 1024 + 1], records[2, 1 + 2048 + 1]]
    write(4)
    with pytest.raises(Failed, match="cannot be read"):
        cifar10.load("real")
