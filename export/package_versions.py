"""Versions: which packages had a hand in a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from bookserve import __version__

#: What reads, writes and runs ONNX files, and what makes them of other models.
ONNX = ("numpy", "onnx", "onnxruntime")
CONVERTERS = ("keras", "tensorflow", "tf2onnx")


def package_versions(packages: Sequence[str]) -> dict[str, str]:
    """The version of bookserve and of each package, by the name under which it is imported."""
    return {"bookserve": __version__, **{name: str(import_module(name).__version__) for name in packages}}
