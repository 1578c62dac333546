"""A model with three outputs that tells age, income and gender from posts: section 7.1.3, listings 7.3–7.6.

Expected: gender right for more than 0.9 of the generated people, and income for more than half of them. The book feeds
random arrays, and swaps input_dim and output_dim of the embedding: 50,000 words into 256 numbers. The age is learned in
units of 20 years around 50, so that its loss is of the size of the others, and told in years.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bookserve.steps import BinaryLabel, Pad, Scale, TopLabels, Words
from bookserve.steps.texts import split_words
from bookserve.steps.vocabulary import Vocabulary
from bookserve.verb import Predict
from trainers.datasets import generated
from trainers.datasets.source import Kind
from trainers.preparation import baseline
from trainers.preparation.generated_data import divided
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    posts = generated.posts(kind)
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
    return divided(verb, posts._replace(labels=labels), baseline.commonest(labels["gender"]))


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
    summary="a model that tells age, income and gender from posts",
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
