"""Tries what training needs on this machine, for ``bookserve doctor``: TensorFlow, JAX, and the data sets.

``python -m trainers.cli.probe tensorflow | jax | data`` prints JSON.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bookserve.environment import keras_directory
from bookserve.runtime.probe import print_result, product_milliseconds

#: What training reads: the pattern of its files, whether Keras downloads them, and the tasks.
_DATA = (
    ("MNIST", "keras/datasets/mnist.npz", True, "mnist_*"),
    ("IMDB", "keras/datasets/imdb.npz", True, "imdb_*"),
    ("Reuters", "keras/datasets/reuters.npz", True, "reuters_*"),
    ("Boston housing", "keras/datasets/boston_housing.npz", True, "boston_housing"),
    ("CIFAR-10", "cifar10/labels.npz", False, "cifar10_gan"),
    ("Nietzsche", "keras/datasets/nietzsche*", True, "nietzsche_lstm"),
    ("cats and dogs", "cats_vs_dogs_small", False, "cats_dogs_*"),
    ("Jena climate", "timeseries/*jena*", False, "jena_*"),
    ("IMDB's texts", "text/aclImdb*", False, "imdb_glove, imdb_scratch_embedding"),
    ("GloVe", "text/glove.6B.100d*", False, "imdb_glove"),
    ("weights", "weights/*.h5", False, "cats_dogs_features, imagenet_*, deepdream, style_transfer"),
)


def probe_tensorflow() -> dict[str, Any]:
    """What TensorFlow sees, and a matrix product on each device."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import tensorflow as tf

    build = tf.sysconfig.get_build_info()
    devices = []
    for device in tf.config.list_logical_devices():
        if device.device_type not in ("CPU", "GPU"):
            continue

        def multiply(left: np.ndarray, right: np.ndarray, name: str = device.name) -> np.ndarray:
            with tf.device(name):
                return np.asarray(tf.linalg.matmul(left, right))

        name = device.name.removeprefix("/device:").lower().replace("cpu:0", "cpu")
        devices.append({"device": name, "milliseconds": round(product_milliseconds(multiply), 3)})
    found: dict[str, Any] = {"package": f"tensorflow {tf.__version__}, keras {keras.__version__}", "devices": devices}
    if len(devices) == 1:
        cuda = build.get("cuda_version")
        found["gpu_problem"] = (
            f"it finds no GPU; it is built for CUDA {cuda} and cuDNN {build.get('cudnn_version')}."
            if cuda
            else "it is built for CPUs only."
        )
        found["hint"] = "pip install 'bookserve[gpu]' in an environment of its own; see docs/how-to/gpu.md"
    return found


def probe_jax() -> dict[str, Any]:
    """What JAX sees, and a matrix product on each device."""
    import jax

    devices = []
    for device in jax.devices():

        def multiply(left: np.ndarray, right: np.ndarray, device: Any = device) -> np.ndarray:
            with jax.default_matmul_precision("highest"):
                return np.asarray(jax.device_put(left, device) @ jax.device_put(right, device))

        name = "cpu" if device.platform == "cpu" else f"gpu:{device.id}"
        devices.append(
            {
                "device": name,
                "name": device.device_kind,
                "milliseconds": round(product_milliseconds(multiply), 3),
            }
        )
    found: dict[str, Any] = {"package": f"jax {jax.__version__}", "devices": devices}
    if jax.default_backend() == "cpu":
        found["gpu_problem"] = "it finds no GPU, or its CUDA plugin is not installed."
        found["hint"] = "pip install 'bookserve[jax-gpu]' in an environment of its own; see docs/how-to/gpu.md"
    return found


def probe_data() -> dict[str, Any]:
    """Which data sets are on this machine: in the folder ``BOOKSERVE_DATA``, or in Keras's cache."""
    given = os.environ.get("BOOKSERVE_DATA")
    cache = keras_directory()
    sets = []
    for name, pattern, downloaded, tasks in _DATA:
        if given:
            place, below = Path(given), pattern
        else:
            place, below = (cache, pattern.removeprefix("keras/")) if downloaded else (Path("data"), pattern)
        there = any(place.glob(below)) or any(place.glob(f"*/{below}"))
        sets.append({"name": name, "found": there, "downloaded": downloaded and not given, "tasks": tasks})
    return {"place": given or str(cache), "sets": sets}


_PROBES = {"tensorflow": probe_tensorflow, "jax": probe_jax, "data": probe_data}

if __name__ == "__main__":
    print_result(_PROBES[sys.argv[1]])
