"""A GAN from training to a sheet of pictures, by the commands a reader would use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from click.testing import CliRunner

from bookserve import bundle
from bookserve.cli.main import cli
from bookserve.images import decode_image
from bookserve.runtime.onnx import OnnxSession
from tests.servers import start

SHORT = ("steps_per_epoch=2", "batch_size=4", "width=0.0625")


def bookserve(*arguments: str) -> str:
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_trained_gan_is_sampled(tmp_path: Path) -> None:
    runs, models = str(tmp_path / "runs"), str(tmp_path / "models")
    params = [word for param in SHORT for word in ("-p", param)]
    bookserve("train", "cifar10_gan", "--data", "sample", "--epochs", "1", *params, "--runs", runs)
    bookserve("export", "cifar10_gan", "--runs", runs, "--models", models)

    def sample(file: str, *options: str, url: str = f"local:{models}") -> Path:
        path = tmp_path / file
        assert str(path) in bookserve("sample", "cifar10_gan", *options, "--seed", "4", "-o", str(path), "--url", url)
        return path

    pixels = np.load(sample("frogs.npy", "-n", "6"), allow_pickle=False)
    assert (pixels.shape, pixels.dtype) == ((6, 32, 32, 3), np.uint8)
    latent = np.random.default_rng(4).standard_normal((6, 32), np.float32)
    found = bundle.open_bundle(Path(models), "cifar10_gan")
    (drawn,) = OnnxSession(found.path / str(found.graph("decode")[1].onnx)).run({"latent": latent}).values()
    assert np.abs((drawn + 1) * 127.5 - pixels).max() < 1  # tanh's -1 to 1 as 0 to 255
    assert pixels.std(axis=0).max() > 0  # no two alike
    sheet = decode_image(sample("frogs.png", "-n", "6").read_bytes())
    assert np.array_equal(sheet[:64:2, :64:2], pixels[0])
    walk = np.load(sample("walk.npy", "-n", "3", "--walk", "4", "--interpolate", "slerp"), allow_pickle=False)
    assert len(walk) == 9
    assert np.array_equal(walk[0], pixels[0])
    with start(Path(models)) as server:
        for url in (server.http, server.grpc):
            assert np.array_equal(np.load(sample("served.npy", "-n", "6", url=url), allow_pickle=False), pixels)
