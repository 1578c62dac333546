"""Tries ONNX Runtime on every device of this machine with a small matrix product: ``bookserve doctor``.

``python -m bookserve.runtime.probe`` prints the result as JSON; the doctor runs it in a process of its own, so that a
library that ends the process is found out, too.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from bookserve.errors import BookserveError, Failed
from bookserve.runtime.base import DEFAULT_GRAPH, GpuRuntime, Session
from bookserve.runtime.devices import CPU, DeviceConfig
from bookserve.runtime.placement import find_gpu_runtime
from bookserve.runtime.registry import open_session

#: An ONNX file with the product c = a b of two square matrices of float32.
_PRODUCT = (
    "CAgSADphChEKAWEKAWISAWMiBk1hdE11bBIHcHJvZHVjdFoVCgFhEhAKDggBEgoKAxIBbgoDEgFuWhUKAWISEAoOCAESCgoDEgFuCgMSAW5iFQoBYxIQ"
    "Cg4IARIKCgMSAW4KAxIBbkIECgAQDQ=="
)
#: Rows and columns of the matrices.
SIZE = 512


def probe() -> dict[str, Any]:
    """Multiply two matrices on the CPU and on every GPU.

    Gives ``package`` (name and version), ``devices`` (``device``, ``name``, and ``milliseconds`` of one product or a
    ``problem``), and ``gpu_problem`` with ``hint`` where no GPU can be used.
    """
    found: dict[str, Any] = {"package": installed_package(), "devices": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(base64.b64decode(_PRODUCT))
        found["devices"].append(_try_device(CPU, "", lambda: open_session(path)))
        runtime = find_gpu_runtime(path)
        if runtime is None:
            return found
        try:
            for gpu in runtime.gpus():
                found["devices"].append(_try_device(gpu.device, str(gpu), _opener(runtime, path, gpu.device)))
        except BookserveError as error:
            found |= {"gpu_problem": error.message, "hint": error.hint}
    return found


def installed_package() -> str:
    """Name and version of the ONNX Runtime that is installed. Two of them break each other.

    Raises:
        Failed: none is installed, or both are.
    """
    found = {}
    for package in ("onnxruntime-gpu", "onnxruntime"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if not found:
        raise Failed("ONNX Runtime is not installed.", "pip install 'bookserve[serve]'")
    if len(found) > 1:
        raise Failed(
            "onnxruntime and onnxruntime-gpu are both installed, and overwrite each other's files.",
            "pip uninstall -y onnxruntime onnxruntime-gpu, then install one of them.",
        )
    return " ".join(next(iter(found.items())))


def product_milliseconds(multiply: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> float:
    """Milliseconds of one product of two matrices of ``SIZE`` rows, the fastest of three.

    Raises:
        Failed: the product is wrong.
    """
    generator = np.random.default_rng(0)
    left, right = (generator.random((SIZE, SIZE), np.float32) for _ in "ab")
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        product = multiply(left, right)
        best = min(best, time.perf_counter() - start)
    if not np.allclose(product, left @ right, rtol=1e-2):
        raise Failed("the product of two matrices is wrong.", "This device computes wrongly: do not use it.")
    return best * 1000


def print_result(run: Callable[[], dict[str, Any]]) -> None:
    """Print what ``run`` gives as JSON to standard output, or the ``problem``. Whatever else is printed goes to
    standard error."""
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        found = run()
    except BookserveError as error:
        found = {"problem": error.message, "hint": error.hint}
    except Exception as error:  # a damaged library can fail in any way
        found = {"problem": f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}", "hint": ""}
    sys.stdout.flush()
    os.dup2(kept, 1)
    os.write(1, json.dumps(found).encode())


def _opener(runtime: GpuRuntime, path: Path, device: str) -> Callable[[], Session]:
    return lambda: runtime.open_on_gpu(path, DEFAULT_GRAPH, device, DeviceConfig(device), 1)


def _try_device(device: str, name: str, opener: Callable[[], Session]) -> dict[str, Any]:
    try:
        session = opener()
        elapsed = product_milliseconds(lambda a, b: session.run({"a": a, "b": b})["c"])
    except BookserveError as error:
        return {"device": device, "name": name, "problem": error.message, "hint": error.hint}
    return {"device": device, "name": name, "milliseconds": round(elapsed, 3)}


if __name__ == "__main__":
    print_result(probe)
