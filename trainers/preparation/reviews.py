"""Prepare IMDB for the book's models: word ids padded to one length, or multi-hot vectors of words."""

from __future__ import annotations

import numpy as np

from bookserve.steps import BinaryLabel, MultiHot, Pad, Reverse, Step, Words
from bookserve.verb import Predict
from trainers.datasets import imdb
from trainers.datasets.arrays import LazilyEncoded, TrainingArrays, object_array
from trainers.datasets.dataset import DataSet, Kind
from trainers.preparation import baseline
from trainers.task import Data, Params


def padded_tokens(kind: Kind, params: Params, *, reverse: bool = False) -> Data:
    """Word ids of the ``params["words"]`` most frequent words, padded or cut to ``params["length"]``.

    The last fifth of the training rows become validation rows. ``reverse`` reverses the order of the words.

    The graph's input is ``tokens`` int32 [batch, length], its output ``probability`` float32 [batch, 1].
    """
    reviews = imdb.load(kind, params["words"])
    verb = _verb("tokens", Words(reviews.vocabulary), *([Reverse()] if reverse else []), Pad(params["length"]))
    train, test = (
        TrainingArrays(verb.encode(part.rows)["tokens"], part.labels) for part in (reviews.train, reviews.test)
    )
    return _data(verb, reviews, train, test, held_out=len(train) // 5, first=False)


def multi_hot(kind: Kind, params: Params) -> Data:
    """Multi-hot rows: which of the ``params["words"]`` most frequent words occur.

    The first ``params["held_out"]`` training rows become validation rows.

    The graph's input is ``words`` float32 [batch, words], its output ``probability`` float32 [batch, 1].
    """
    reviews = imdb.load(kind, params["words"])
    verb = _verb("words", Words(reviews.vocabulary), MultiHot(params["words"]))
    train, test = (
        TrainingArrays(LazilyEncoded(object_array(part.rows), verb.inputs["words"]), part.labels)
        for part in (reviews.train, reviews.test)
    )
    return _data(verb, reviews, train, test, held_out=params["held_out"], first=True)


def _verb(name: str, *steps: Step) -> Predict:
    return Predict(inputs={name: steps}, outputs={"probability": (BinaryLabel(("negative", "positive")),)})


def _data(
    verb: Predict, reviews: DataSet, train: TrainingArrays, test: TrainingArrays, *, held_out: int, first: bool
) -> Data:
    """Make the first or the last ``held_out`` training rows validation rows."""
    cut = held_out if first else len(train) - held_out
    parts = train.take(np.arange(cut)), train.take(np.arange(cut, len(train)))
    validation, rest = parts if first else parts[::-1]
    return Data(
        verb=verb,
        about=reviews.about,
        train=rest,
        validation=validation if held_out else None,
        test=test,
        example_rows=reviews.examples,
        example_feeds={"serving_default": verb.encode(reviews.examples)},
        baseline=baseline.majority_accuracy(reviews.test.labels),
    )
