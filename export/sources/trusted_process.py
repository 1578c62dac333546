"""The process that runs a module which the user trusts, and loads a Keras model with its classes and functions.

``python -m export.sources.trusted_process MODEL MODULE`` reads one JSON object from each line of standard input and
answers it with one line on standard output: ``{"do": "load" | "save" | "run", …}``. It ends with its standard input.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bookserve.bundle.examples import Example, Examples
from bookserve.errors import BookserveError, InvalidInput

if TYPE_CHECKING:
    from export.sources.keras_file import KerasFile

_GRAPH = "serving_default"


def main(path: str, module: str) -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the module prints must not be taken for an answer
    model: KerasFile | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if model is None:
                model = _load(Path(path), Path(module))
            answer = _answer(model, request)
        except BookserveError as error:
            answer = {"error": error.message, "hint": error.hint, "kind": type(error).__name__}
        print(json.dumps(answer), file=answers, flush=True)


def _load(path: Path, module: Path) -> KerasFile:
    code = _run_module(module)
    from export.sources.keras_file import KerasFile

    return KerasFile(path, trusted=code)


def _run_module(module: Path) -> dict[str, Any]:
    """Run the module and return its classes and functions by name, and what it registered with Keras.

    Raises:
        InvalidInput: it cannot be run.
    """
    spec = importlib.util.spec_from_file_location(module.stem, module)
    if spec is None or spec.loader is None or not module.is_file():
        raise InvalidInput(f"{module} is not a Python file.", "Name a file that ends in .py: --trust-module layers.py")
    made = importlib.util.module_from_spec(spec)
    sys.modules[module.stem] = made
    sys.path.insert(0, str(module.resolve().parent))  # it may import its neighbours
    try:
        spec.loader.exec_module(made)
    except Exception as error:  # a user's module can fail in any way
        raise InvalidInput(f"{module} cannot be run: {type(error).__name__}: {error}.") from error
    import keras

    own = {name: item for name, item in vars(made).items() if callable(item) and not name.startswith("_")}
    return {**own, **keras.saving.get_custom_objects()}


def _answer(model: KerasFile, request: dict[str, str]) -> dict[str, Any]:
    if request["do"] == "save":
        model.save(Path(request["directory"]))
    elif request["do"] == "run":
        feeds = Examples.load(Path(request["inputs"])).graphs[_GRAPH].inputs
        Examples({_GRAPH: Example({}, model.run(feeds))}).save(Path(request["outputs"]))
    return model.names


if __name__ == "__main__":
    main(*sys.argv[1:])
