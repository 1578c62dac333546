"""Bodies: how a model card shows its reader to send tensors, as TensorFlow Serving's REST API and Triton take them.

Few numbers are spelt out; many are taken from the bundle's ``examples.npz`` by a line of Python.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

import numpy as np

from bookserve.bundle import Manifest
from bookserve.bundle.examples import Example
from bookserve.graph import Arrays

#: A row of more numbers than this is not spelt out.
FEW = 64

_V2 = {"bool": "BOOL", "string": "BYTES", "float16": "FP16", "float32": "FP32", "float64": "FP64"}


def bodies(manifest: Manifest, example: Example, url: str) -> str:
    """Two shell commands that run the default graph on the first row of its example."""
    graph = manifest.graphs[manifest.default]
    rows = 1 if graph.batched else None
    given = {name: array[:rows] for name, array in example.inputs.items()}
    kinds = {name: _V2.get(spec.dtype, spec.dtype.upper()) for name, spec in graph.inputs.items()}
    tfs, v2 = f"{url}/v1/models/{manifest.name}:predict", f"{url}/v2/models/{manifest.name}/infer"
    columns = len(given) > 1 or not graph.batched
    if is_short(given):
        plain = {name: plain_of(array) for name, array in given.items()}
        body = {"inputs": plain} if columns else {"instances": next(iter(plain.values()))}
        tensors = [
            {"name": name, "shape": list(array.shape), "datatype": kinds[name], "data": plain_of(array.ravel())}
            for name, array in given.items()
        ]
        return f"{curl(tfs, body)}\n{curl(v2, {'inputs': tensors})}"
    cut = "[:1]" if rows else ""
    names = json.dumps(list(given))
    load = f'given = numpy.load("examples.npz")\nkey, cut = "{manifest.default}/inputs/", numpy.s_{cut or "[...]"}\n'
    if columns:
        body_of = f'{{"inputs": {{name: given[key + name][cut].tolist() for name in {names}}}}}'
    else:
        body_of = f'{{"instances": given[key + {json.dumps(next(iter(given)))}][cut].tolist()}}'
    load_v2 = (
        load + f"tensors = {{name: given[key + name][cut] for name in {names}}}\nkinds = {json.dumps(kinds)}\n"
        'described = [{"name": name, "shape": array.shape, "datatype": kinds[name], "data": array.ravel().tolist()}\n'
        "             for name, array in tensors.items()]\n"
    )
    return piped(tfs, load, body_of) + "\n" + piped(v2, load_v2, '{"inputs": described}')


def is_short(arrays: Arrays) -> bool:
    """Whether the numbers, or texts, are few enough to be spelt out."""
    return all(array.dtype == object or array.size <= FEW for array in arrays.values())


def plain_of(array: np.ndarray) -> Any:
    """An array as JSON holds it; numbers are rounded, as they are only shown."""
    if array.dtype == object:
        return np.vectorize(lambda item: item.decode(errors="replace"), otypes=[object])(array).tolist()
    return array.astype(np.float64).round(3).tolist() if array.dtype.kind == "f" else array.tolist()


def curl(url: str, body: dict[str, Any]) -> str:
    """The command that sends ``body``."""
    return f"curl {url} -d {shlex.quote(json.dumps(body, ensure_ascii=False))}"


def piped(url: str, preparation: str, body: str) -> str:
    """The command that sends what a program writes: ``preparation`` are its lines, ``body`` the expression."""
    program = f"import json, numpy\n{preparation}print(json.dumps({body}))"
    return f"python -c {shlex.quote(program)} | curl {url} -d @-"
