"""List the versions of the packages that wrote a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from bookserve import __version__

#: Packages that read, write and run ONNX files, and packages that convert other models to ONNX.
ONNX = ("numpy", "onnx", "onnxruntime")
CONVERTERS = ("keras", "tensorflow", "tf2onnx")


def package_versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the version of bookserve and of each package, by the name under which it is imported."""
    return {"bookserve": __version__, **{name: str(import_module(name).__version__) for name in packages}}
