"""Classification: Triton's extension that answers with an output's likeliest classes instead of all its numbers.

Each class is a string ``score:index`` or ``score:index:label``, the likeliest first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bookserve.errors import InvalidInput
from bookserve.graph import TensorSpec
from serve.models.class_scores import class_scores, label_steps
from serve.models.live_model import LiveModel

#: The parameter of an output that says how many classes are wanted.
PARAMETER = "classification"


def requested_class_count(name: str, spec: TensorSpec, count: Any) -> int:
    """How many classes of an output a request wants.

    Raises:
        InvalidInput: it is no positive number, or the output has no classes.
    """
    if type(count) is not int or count < 1:
        raise InvalidInput(f"the parameter {PARAMETER} of '{name}' is not a positive number.")
    if len(spec.shape) != 2 or spec.dtype not in ("float16", "float32", "float64"):
        raise InvalidInput(f"output '{name}' is {spec}, which has no classes.", "Ask for it without classification.")
    return count


def likeliest_classes(live: LiveModel, graph: str, name: str, array: np.ndarray, count: int) -> np.ndarray:
    """Strings [rows, classes], at most ``count`` for each row."""
    values, labels = class_scores(array, label_steps(live, graph).get(name))
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    found = np.empty(order.shape, object)
    for (row, place), index in np.ndenumerate(order):
        label = f":{labels[index]}" if labels[index] else ""
        found[row, place] = f"{values[row, index]:f}:{index}{label}".encode()
    return found
