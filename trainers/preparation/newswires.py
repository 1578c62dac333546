"""Prepare Reuters for the book's models: multi-hot vectors of words, and one of 46 topics."""

from __future__ import annotations

import numpy as np

from bookserve.steps import MultiHot, TopLabels, Words
from bookserve.verb import Predict
from trainers.datasets import reuters
from trainers.datasets.arrays import LazilyEncoded, TrainingArrays, object_array
from trainers.datasets.dataset import Kind
from trainers.preparation import baseline
from trainers.task import Data, Params


def multi_hot(kind: Kind, params: Params) -> Data:
    """Multi-hot rows: which of the ``params["words"]`` most frequent words occur.

    The first ``params["held_out"]`` training rows become validation rows.

    The graph's input is ``words`` float32 [batch, words], its output ``probabilities`` float32 [batch, 46].
    """
    wires = reuters.load(kind, params["words"])
    verb = Predict(
        inputs={"words": (Words(wires.vocabulary), MultiHot(params["words"]))},
        outputs={"probabilities": (TopLabels(reuters.TOPICS),)},
    )
    train, test = (
        TrainingArrays(LazilyEncoded(object_array(part.rows), verb.inputs["words"]), part.labels)
        for part in (wires.train, wires.test)
    )
    held_out = params["held_out"]
    return Data(
        verb=verb,
        about=wires.about,
        train=train.take(np.arange(held_out, len(train))),
        validation=train.take(np.arange(held_out)),
        test=test,
        example_rows=wires.examples,
        example_feeds={"serving_default": verb.encode(wires.examples)},
        baseline=baseline.majority_accuracy(wires.test.labels),
    )
