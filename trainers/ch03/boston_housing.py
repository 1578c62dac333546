"""Predict house prices in suburbs of Boston from thirteen features: section 3.6, listings 3.21–3.29.

Expected: a mean absolute error of about 2.4 thousand dollars in 4-fold validation and of 2.5 on the test rows. With
only 404 training rows, both vary by some tenths with the seed. The folds, with batches of one row, take minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bookserve.steps import Numbers, Standardise, Unit
from bookserve.verb import Predict
from trainers.datasets import boston
from trainers.datasets.arrays import TrainingArrays
from trainers.datasets.dataset import Kind
from trainers.preparation import baseline
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    houses = boston.load(kind)
    rows = np.asarray(houses.train.rows)
    verb = Predict(
        inputs={
            "features": (
                Numbers("float64", (13,), boston.FEATURES, boston.UNITS),
                Standardise(tuple(rows.mean(axis=0).tolist()), tuple(rows.std(axis=0, ddof=1).tolist())),  # as R's sd
            )
        },
        outputs={"price": (Unit("thousand dollars"),)},
    )
    train, test = (
        TrainingArrays(verb.encode(part.rows)["features"], part.labels) for part in (houses.train, houses.test)
    )
    return Data(
        verb=verb,
        about=houses.about,
        train=train,
        validation=None,
        test=test,
        example_rows=houses.examples,
        example_feeds={"serving_default": verb.encode(houses.examples)},
        baseline=baseline.median_error(houses.train.labels, houses.test.labels),
    )


def build(data: Data, params: Params) -> keras.Model:
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((13,), name="features"),
            layers.Dense(64, activation="relu"),
            layers.Dense(64, activation="relu"),
            layers.Dense(1),
        ]
    )
    model.compile(optimizer=keras.optimizers.RMSprop(params["learning_rate"]), loss="mse", metrics=["mae"])
    return model


TASK = Task(
    section="3.6",
    listings="3.21–3.29",
    summary="predicts the median house price of a suburb with dense layers",
    dataset="boston",
    verb="predict",
    book={"cv_mae": 2.389, "test_mae": 2.541},
    metric="test_mae",
    params={
        "epochs": 80,
        "batch_size": 16,
        "learning_rate": 0.001,
        "folds": 4,
        "fold_epochs": 100,
        "fold_batch_size": 1,
    },
    sample={"epochs": 60, "folds": 3, "fold_epochs": 10, "fold_batch_size": 16},
    data=data,
    build=build,
)
