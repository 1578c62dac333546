"""Steps for scores and probabilities: softmax, and the labels of classes."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import msgspec
import numpy as np

from bookserve.steps.base import Rows, StepBase


class Label(msgspec.Struct, frozen=True):
    """The name of a class, and its probability."""

    label: str
    score: float


class LabelTable(NamedTuple):
    """The labels of many rows, likeliest first: names (``str``) and scores float64, both [rows, labels]."""

    labels: np.ndarray
    scores: np.ndarray


class LabelStep(StepBase, frozen=True):
    """Base of the Steps whose rows are lists of ``Label``."""

    @abstractmethod
    def __call__(self, rows: Rows) -> list[list[Label]]:
        """The labels of each row."""

    @abstractmethod
    def table(self, rows: np.ndarray) -> LabelTable:
        """The same labels as arrays, which is faster for many rows."""


class Softmax(StepBase, frozen=True):
    """Logits [rows, classes] → probabilities float32 [rows, classes] that add up to 1."""

    def __call__(self, rows: Rows) -> np.ndarray:
        scores = np.asarray(rows, np.float64)
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)


class TopLabels(LabelStep, frozen=True):
    """Class probabilities [rows, classes] → for each row the ``k`` likeliest labels, likeliest first."""

    labels: tuple[str, ...]
    k: int = 3

    def __call__(self, rows: Rows) -> list[list[Label]]:
        best = np.argsort(-np.asarray(rows), axis=1, kind="stable")[:, : self.k]
        return [
            [Label(self.labels[index], float(row[index])) for index in order]
            for row, order in zip(rows, best, strict=True)
        ]

    def table(self, rows: np.ndarray) -> LabelTable:
        """See ``LabelStep.table``."""
        best = np.argsort(-rows, axis=1, kind="stable")[:, : self.k]
        return LabelTable(
            np.array(self.labels, object)[best], np.take_along_axis(rows, best, axis=1).astype(np.float64)
        )


class BinaryLabel(LabelStep, frozen=True, tag="eitherlabel"):
    """Probability of the second of two labels [rows, 1] → for each row both labels, likelier first."""

    labels: tuple[str, str]

    def __call__(self, rows: Rows) -> list[list[Label]]:
        return TopLabels(self.labels, k=2)(self._both(rows))

    def table(self, rows: np.ndarray) -> LabelTable:
        """See ``LabelStep.table``."""
        return TopLabels(self.labels, k=2).table(self._both(rows))

    @staticmethod
    def _both(rows: Rows) -> np.ndarray:
        positive = np.asarray(rows, np.float64).reshape(-1, 1)
        return np.concatenate([1 - positive, positive], axis=1)


class MultiLabel(LabelStep, frozen=True, tag="eachlabel"):
    """Probabilities of labels that do not exclude each other [rows, labels] → all labels, likeliest first."""

    labels: tuple[str, ...]

    def __call__(self, rows: Rows) -> list[list[Label]]:
        return TopLabels(self.labels, k=len(self.labels))(rows)

    def table(self, rows: np.ndarray) -> LabelTable:
        """See ``LabelStep.table``."""
        return TopLabels(self.labels, k=len(self.labels)).table(rows)
