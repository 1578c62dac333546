"""Answer questions about a text, a model with two inputs: section 7.1.2, listings 7.1–7.2.

Expected: test accuracy above 0.95 on generated stories of who takes what where; the most frequent answer has 0.09. The
book uses random arrays, and swaps input_dim and output_dim of the embeddings; here they map 10,000 words to 64 and 32
dimensions. In its 10 epochs of batches of 128 a model does not learn to look into the text (accuracy 0.21).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bookserve.steps import Pad, TopLabels, Words
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
    stories = generated.question_stories(kind)
    words = sorted({word for row in stories.rows for text in row.values() for word in split_words(text)})
    steps = Words(Vocabulary("words", ("<padding>", *words)), start=None, unknown=None)
    unused = (f"<unused {number}>" for number in range(len(generated.ANSWERS), params["answers"]))
    verb = Predict(
        inputs={"text": (steps, Pad(params["text_length"])), "question": (steps, Pad(params["question_length"]))},
        outputs={"answer": (TopLabels((*generated.ANSWERS, *unused)),)},
    )
    return split_generated(verb, stories, baseline.majority_accuracy(stories.labels))


def build(data: Data, params: Params) -> keras.Model:
    import keras
    from keras import layers

    text = keras.Input((params["text_length"],), dtype="int32", name="text")
    question = keras.Input((params["question_length"],), dtype="int32", name="question")
    encoded_text = layers.LSTM(32)(layers.Embedding(params["words"], 64)(text))
    encoded_question = layers.LSTM(16)(layers.Embedding(params["words"], 32)(question))
    answer = layers.Dense(params["answers"], activation="softmax")(layers.concatenate([encoded_text, encoded_question]))
    model = keras.Model({"text": text, "question": question}, answer)
    model.compile(
        optimizer=keras.optimizers.RMSprop(params["learning_rate"]),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


TASK = Task(
    section="7.1.2",
    listings="7.1–7.2",
    summary="answers questions about a text, a model with two inputs",
    dataset="generated",
    verb="predict",
    shown="a model with two inputs",
    metric="test_accuracy",
    params={
        "epochs": 15,
        "batch_size": 32,
        "learning_rate": 0.003,
        "words": 10_000,
        "answers": 500,
        "text_length": 20,
        "question_length": 5,
    },
    sample={"epochs": 14, "batch_size": 32, "learning_rate": 0.01, "words": 100},
    data=data,
    build=build,
)
