"""Prepare IMDB's raw texts: tokenise them; few reviews to train on, many to validate (section 6.1.3)."""

from __future__ import annotations

from collections import Counter

import numpy as np

from bookserve.steps import BinaryLabel, Pad, Words
from bookserve.steps.texts import split_words
from bookserve.steps.vocabulary import Vocabulary
from bookserve.verb import Predict
from trainers.datasets import imdb_texts
from trainers.datasets.arrays import TrainingArrays
from trainers.datasets.dataset import Kind
from trainers.preparation import baseline
from trainers.task import Data, Params


def small_review_set(kind: Kind, params: Params) -> Data:
    """``params["rows"]`` random training reviews, and up to ``params["held_out"]`` others to validate.

    The vocabulary has the ``params["words"]`` most frequent words of all training texts, including padding; other words
    are left out, as the book's tokenizer does. The graph's input is ``tokens`` int32 [batch, length], its output
    ``probability`` float32 [batch, 1].
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
        example_rows=reviews.examples,
        example_feeds={"serving_default": verb.encode(reviews.examples)},
        baseline=baseline.majority_accuracy(reviews.test.labels),
    )
