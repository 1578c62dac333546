"""Reviews: IMDB as rows of word ids of one length, which is how every sequence model of the book reads it."""

from __future__ import annotations

from bookserve.steps import EitherLabel, Pad, Reverse, Step, Words
from bookserve.verb import Predict
from trainers.data import imdb
from trainers.data.source import Kind
from trainers.task import Data, Pairs, Params


def padded(kind: Kind, params: Params, *, reverse: bool = False) -> Data:
    """The ``params["words"]`` commonest words, ``params["length"]`` ids a row; a fifth of the rows is held out.

    The graph's input is ``tokens`` int32 [batch, length], its output ``probability`` float32 [batch, 1].
    """
    reviews = imdb.load(kind, params["words"])
    steps: tuple[Step, ...] = (Words(reviews.vocabulary), *([Reverse()] if reverse else []), Pad(params["length"]))
    verb = Predict(
        inputs={"tokens": steps},
        outputs={"probability": (EitherLabel(("negative", "positive")),)},
    )
    train, test = (Pairs(verb.encode(part.rows)["tokens"], part.labels) for part in (reviews.train, reviews.test))
    held_out = len(train.y) // 5
    return Data(
        verb=verb,
        about=reviews.about,
        train=Pairs(train.x[:-held_out], train.y[:-held_out]),
        validation=Pairs(train.x[-held_out:], train.y[-held_out:]),
        test=test,
        rows=reviews.few,
        feeds={"serving_default": verb.encode(reviews.few)},
    )
