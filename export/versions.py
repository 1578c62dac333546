# ruff: noqa: TID253
"""Versions: which packages had a hand in a bundle.

Import this module only inside functions: it imports TensorFlow.
"""

from __future__ import annotations

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx

from bookserve import __version__
from export.source import Source


def versions(source: Source) -> dict[str, str]:
    """The version of bookserve and of each package that read, converted or ran the model, by name."""
    packages = {"numpy": np, "onnx": onnx, "onnxruntime": onnxruntime}
    if source.kind != "onnx":
        packages |= {"keras": keras, "tensorflow": tf, "tf2onnx": tf2onnx}
    return {"bookserve": __version__, **{name: str(package.__version__) for name, package in packages.items()}}
