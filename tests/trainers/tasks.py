"""The tasks of the book, for tests of every task: some in each run of the tests, all of them in `make test-sweep`."""

from __future__ import annotations

import pytest

from trainers import catalogue

#: At least one for each kind of data, network, verb and training loop.
SOME = (
    "mnist_dense",
    "boston_housing",
    "cats_dogs_features",
    "cats_dogs_finetuned",
    "mnist_convnet",
    "imdb_glove",
    "imdb_lstm",
    "jena_baseline",
    "jena_conv_gru",
    "profile_posts",
    "question_answering",
    "cifar10_gan",
    "deepdream",
    "mnist_vae",
    "nietzsche_lstm",
    "template_dense_multilabel",
    "template_lstm",
)
ALL = [pytest.param(name, marks=() if name in SOME else pytest.mark.sweep) for name in catalogue.task_names()]
