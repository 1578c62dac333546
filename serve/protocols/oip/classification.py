"""Triton's classification extension: an output is answered as its likeliest classes instead of as a tensor.

Each class is a string ``score:index`` or ``score:index:label``, highest score first.
Source: ``docs/protocol/extension_classification.md`` of Triton.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bookserve.errors import InvalidInput
from bookserve.graph import TensorSpec
from serve.models.class_scores import class_scores, label_steps
from serve.models.live_model import LiveModel

#: The parameter of an output that gives the number of classes to return.
PARAMETER = "classification"


def requested_class_count(name: str, spec: TensorSpec, count: Any) -> int:
    """Check the number of classes that a request asks for, and return it.

    Raises:
        InvalidInput: ``count`` is not a positive integer, or the output is not a batch of scores.
    """
    if type(count) is not int or count < 1:
        raise InvalidInput(f"the parameter {PARAMETER} of '{name}' is not a positive integer.", "Send, for example, 3.")
    if len(spec.shape) != 2 or spec.dtype not in ("float16", "float32", "float64"):
        raise InvalidInput(f"output '{name}' is {spec}, which has no classes.", "Remove the parameter classification.")
    return count


def likeliest_classes(live: LiveModel, graph: str, name: str, array: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` highest scores of each row as bytes, in an object array [rows, at most count]."""
    values, labels = class_scores(array, label_steps(live, graph).get(name))
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    texts = np.empty(order.shape, object)
    for (row, place), index in np.ndenumerate(order):
        label = f":{labels[index]}" if labels[index] else ""
        texts[row, place] = f"{values[row, index]:f}:{index}{label}".encode()
    return texts
