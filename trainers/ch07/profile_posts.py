"""Predict age, income and gender from posts, a model with three outputs: section 7.1.3, listings 7.3–7.6.

Expected: for the generated people, accuracy above 0.9 for gender and above 0.5 for income. The book uses random arrays,
and swaps input_dim and output_dim of the embedding; here it maps 50,000 words to 256 dimensions. The age is learned in
units of 20 years around 50, so that its loss is as large as the others; the verb converts it to years.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bookserve.steps import BinaryLabel, Pad, Scale, TopLabels, Words
from bookserve.steps.texts import split_words
from bookserve.steps.vocabulary import Vocabulary
from bookserve.verb import Predict
from trainers.datasets import generated
from trainers.datasets.dataset import Kind
from trainers.preparation import baseline
from trainers.preparation.generated_data import split_generated
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    posts = generated.profile_posts(kind)
    words = sorted({word for row in posts.rows for word in split_words(row)})
    vocabulary = Vocabulary("words", ("<padding>", *words))
    verb = Predict(
        inputs={"posts": (Words(vocabulary, start=None, unknown=None), Pad(params["length"]))},
        outputs={
            "age": (Scale(20, 50),),
            "income": (TopLabels(tuple(f"class {number}" for number in range(10))),),
            "gender": (BinaryLabel(("a woman", "a man")),),
        },
    )
    labels = {**posts.labels, "age": (posts.labels["age"] - 50) / 20}
    return split_generated(verb, posts._replace(labels=labels), baseline.majority_accuracy(labels["gender"]))


def build(data: Data, params: Params) -> keras.Model:
    import keras
    from keras import layers

    posts = keras.Input((params["length"],), dtype="int32", name="posts")
    x = layers.Embedding(params["words"], 256)(posts)
    x = layers.Conv1D(128, 5, activation="relu")(x)
    x = layers.MaxPooling1D(5)(x)
    x = layers.Conv1D(256, 5, activation="relu")(x)
    x = layers.Conv1D(256, 5, activation="relu")(x)
    x = layers.MaxPooling1D(5)(x)
    x = layers.Conv1D(256, 5, activation="relu")(x)
    x = layers.Conv1D(256, 5, activation="relu")(x)
    x = layers.GlobalMaxPooling1D()(x)
    x = layers.Dense(128, activation="relu")(x)
    age = layers.Dense(1, name="age")(x)
    income = layers.Dense(10, activation="softmax", name="income")(x)
    gender = layers.Dense(1, activation="sigmoid", name="gender")(x)
    model = keras.Model(posts, {"age": age, "income": income, "gender": gender})
    model.compile(
        optimizer=keras.optimizers.RMSprop(params["learning_rate"]),
        loss={"age": "mse", "income": "sparse_categorical_crossentropy", "gender": "binary_crossentropy"},
        loss_weights={"age": 0.25, "income": 1.0, "gender": 10.0},
        metrics={"age": ["mae"], "income": ["accuracy"], "gender": ["accuracy"]},
    )
    return model


TASK = Task(
    section="7.1.3",
    listings="7.3–7.6",
    summary="predicts age, income and gender from posts, a model with three outputs",
    dataset="generated",
    verb="predict",
    shown="a model with three outputs",
    metric="test_gender_accuracy",
    params={
        "epochs": 10,
        "batch_size": 64,
        "learning_rate": 0.001,
        "words": 50_000,
        "length": 500,
    },
    sample={"epochs": 6, "batch_size": 32, "words": 200, "length": 300},
    data=data,
    build=build,
)
