"""Scores of classes with the classes' labels, which the model's verb names."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bookserve.errors import Failed
from bookserve.steps import BinaryLabel, MultiLabel, TopLabels
from bookserve.verb import Predict
from serve.models.live_model import LiveModel

Labelling = TopLabels | BinaryLabel | MultiLabel


class Scores(NamedTuple):
    """``values`` float32 [rows, classes] in the graph's order; ``labels`` are empty strings if the model names none."""

    values: np.ndarray
    labels: tuple[str, ...]


def label_steps(live: LiveModel, graph: str) -> dict[str, Labelling]:
    """By name, the outputs of a graph whose probabilities the verb turns into labels, and the Step that does so."""
    verb = live.bundle.manifest.verb
    if not isinstance(verb, Predict) or live.bundle.graph(verb.graph)[0] != graph:
        return {}
    return {
        name: steps[-1]
        for name, steps in verb.outputs.items()
        if steps and isinstance(steps[-1], TopLabels | BinaryLabel | MultiLabel)
    }


def class_scores(array: np.ndarray, step: Labelling | None) -> Scores:
    """An output [rows, classes] with its labels.

    For a single sigmoid output p, the first label scores 1 − p.

    Raises:
        Failed: the model names more or fewer classes than it has scores.
    """
    values = np.asarray(array, np.float32)
    if isinstance(step, BinaryLabel) and values.shape[1] == 1:
        values = np.concatenate([1 - values, values], axis=1)
    if step is None:
        return Scores(values, ("",) * values.shape[1])
    if len(step.labels) != values.shape[1]:
        raise Failed(
            f"the model names {len(step.labels)} classes and gave {values.shape[1]} scores.", "Export it again."
        )
    return Scores(values, step.labels)
