"""Raw texts: reviews tokenised here, few to train on and many to validate (section 6.1.3)."""

from __future__ import annotations

from collections import Counter

import numpy as np

from bookserve.steps import BinaryLabel, Pad, Words
from bookserve.steps.texts import split_words
from bookserve.steps.vocabulary import Vocabulary
from bookserve.verb import Predict
from trainers.datasets import imdb_texts
from trainers.datasets.source import Kind
from trainers.engine.arrays import TrainingArrays
from trainers.preparation import baseline
from trainers.task import Data, Params


def few_reviews(kind: Kind, params: Params) -> Data:
    """``params["rows"]`` reviews to train on, up to ``params["held_out"]`` to validate, drawn from the training texts.

    The vocabulary is made of all of those, as a tokenizer's is: the ``params["words"]`` commonest words, padding
    included; others are left out. The graph's input is ``tokens`` int32 [batch, length].
    """
    reviews = imdb_texts.load(kind)
    counts = Counter(word for text in reviews.train.rows for word in split_words(text))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    vocabulary = Vocabulary("words", ("<padding>", *ranked[: params["words"] - 1]))
    verb = Predict(
        inputs={"tokens": (Words(vocabulary, start=None, unknown=None), Pad(params["length"]))},
        outputs={"probability": (BinaryLabel(("negative", "positive")),)},
    )
    train, test = (
        TrainingArrays(verb.encode(part.rows)["tokens"], part.labels) for part in (reviews.train, reviews.test)
    )
    order = np.random.default_rng(0).permutation(len(train))
    cut = params["rows"]
    return Data(
        verb=verb,
        about=reviews.about,
        train=train.take(order[:cut]),
        validation=train.take(order[cut : cut + params["held_out"]]),
        test=test,
        rows=reviews.few,
        feeds={"serving_default": verb.encode(reviews.few)},
        baseline=baseline.commonest(reviews.test.labels),
    )
