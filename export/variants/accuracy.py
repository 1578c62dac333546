"""Measure the accuracy of a variant: how far its outputs are from the float32 ones, and how many labels stay equal."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bookserve.bundle.variant import Variant
from bookserve.graph import Arrays
from bookserve.steps import BinaryLabel, MultiLabel, Step, TopLabels, apply_steps
from bookserve.verb import Predict, Verb

#: The largest ``Variant.deviation`` that is accepted, by variant, and the smallest share of rows that keep their label.
MAX_DEVIATION = {"optimised": 1e-4, "float16": 0.02, "int8-dynamic": 0.15, "int8-static": 0.15}
MIN_AGREEMENT = 0.9


def compare_variant(verb: Verb, expected: Arrays, got: Arrays) -> Variant:
    """Compare a variant's outputs with the float32 ones; ``file``, ``bytes`` and ``milliseconds`` are not filled in."""
    differences, deviations, kept, shifts = [0.0], [0.0], [], []
    for output, array in expected.items():
        if array.dtype.kind != "f" or not array.size:
            continue
        distance = np.abs(got[output].astype(np.float64) - array)
        spread = float(array.std()) + 0.01 * float(np.abs(array).max())  # some outputs hardly vary
        differences.append(float(distance.max()))
        deviations.append(float(np.sqrt(np.mean(distance**2))) / max(spread, 1e-12))
        steps = verb.outputs.get(output, ()) if isinstance(verb, Predict) else ()
        labels = next((step for step in steps if isinstance(step, TopLabels | BinaryLabel | MultiLabel)), None)
        if labels is not None:
            same = _predicted_labels(labels, got[output]) == _predicted_labels(labels, array)
            kept.append(float(np.mean(same.reshape(len(same), -1).all(axis=1))))
        elif isinstance(verb, Predict):
            shifts.append(float(np.mean(np.abs(_decoded_numbers(steps, got[output]) - _decoded_numbers(steps, array)))))
    return Variant(
        file="",
        bytes=0,
        rows=len(next(iter(expected.values()), ())),
        difference=float(np.max(differences)),  # unlike max(), np.max does not ignore NaN
        deviation=float(np.max(deviations)),
        agreement=min(kept, default=None),
        shift=max(shifts, default=None),
    )


def accuracy_problem(name: str, found: Variant) -> str:
    """Say why a variant is not accurate enough; '' if it is."""
    if not found.deviation <= MAX_DEVIATION[name]:  # also true for NaN
        return f"its outputs deviate by {found.deviation:.2g} of their spread (at most {MAX_DEVIATION[name]:g})"
    if found.agreement is not None and found.agreement < MIN_AGREEMENT:
        return f"only {found.agreement:.0%} of {found.rows} rows keep their label (at least {MIN_AGREEMENT:.0%})"
    return ""


def _predicted_labels(labels: TopLabels | BinaryLabel | MultiLabel, output: np.ndarray) -> np.ndarray:
    """Return the labels of each row as numbers: the index of the largest score, or one bit per label."""
    if isinstance(labels, TopLabels):
        return np.asarray(output.argmax(axis=1))
    return np.packbits(output.reshape(len(output), -1) > 0.5, axis=1)


def _decoded_numbers(steps: Iterable[Step], output: np.ndarray) -> np.ndarray:
    """Apply the output's Steps, which give numbers in the unit that people read."""
    return np.asarray(apply_steps(tuple(steps), output), np.float64)
