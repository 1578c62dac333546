"""Newswires: Reuters as the book's models read it – the set of words that occur, and one of 46 topics."""

from __future__ import annotations

import numpy as np

from bookserve.steps import MultiHot, TopLabels, Words
from bookserve.verb import Predict
from trainers.arrays import LazilyEncoded, TrainingArrays, object_array
from trainers.datasets import reuters
from trainers.datasets.dataset import Kind
from trainers.preparation import baseline
from trainers.task import Data, Params


def multi_hot(kind: Kind, params: Params) -> Data:
    """Which of the ``params["words"]`` commonest words occur; the first ``params["held_out"]`` rows are held out.

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
        rows=wires.few,
        feeds={"serving_default": verb.encode(wires.few)},
        baseline=baseline.majority_accuracy(wires.test.labels),
    )
