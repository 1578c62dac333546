"""Generated data: rows that people could send, labels that follow from them, and every head of a network learns."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from bookserve.steps import Pad, Words
from bookserve.steps.texts import split_words
from bookserve.steps.vocabulary import Vocabulary
from bookserve.verb import Predict
from trainers import catalogue
from trainers.datasets import generated
from trainers.engine import projector
from trainers.engine.batches import Batches, evaluate
from trainers.engine.signatures import inference_models
from trainers.task import Data, Task

TASKS = [task.name for task in catalogue.load_tasks() if task.dataset == "generated"]


def prepared(name: str) -> tuple[Task, dict[str, object], Data]:
    task = catalogue.find_task(name)
    params = task.defaults("sample")
    return task, params, task.data("sample", params)


def nearest(rows: np.ndarray, labels: np.ndarray, classes: int) -> float:
    """Share of the last third of the rows whose class is that of the nearest mean of the others."""
    flat, cut = np.asarray(rows, float).reshape(len(rows), -1), len(rows) * 2 // 3
    centres = np.stack([flat[:cut][labels[:cut] == number].mean(axis=0) for number in range(classes)])
    told = ((flat[cut:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    return float((told == labels[cut:]).mean())


def test_there_is_a_task_for_each_network_without_data_in_the_book() -> None:
    assert len(TASKS) == 14
    assert len([name for name in TASKS if name.startswith("template_")]) == 7


@pytest.mark.parametrize("name", TASKS)
def test_rows_are_divided_without_a_row_on_two_sides(name: str) -> None:
    if name == "siamese_xception":
        pytest.skip("its rows are pictures of a noise that never repeats, and slow to draw")
    _, _, data = prepared(name)
    assert data.validation and data.test
    count = len(data.train) + len(data.validation) + len(data.test)
    assert len(data.train) == count * 7 // 10
    assert abs(len(data.validation) - len(data.test)) <= 1
    assert data.baseline is not None


def test_answers_stand_in_their_story_and_depend_on_the_question() -> None:
    told = generated.stories("sample")
    answers = [generated.ANSWERS[label] for label in told.labels]
    pairs = list(zip(told.rows, answers, strict=True))
    assert all(answer in split_words(row["text"]) for row, answer in pairs)
    asked = {row["question"] for row in told.rows}
    assert len(asked) == 3
    for question in asked:
        kinds = {answer for row, answer in pairs if row["question"] == question}
        assert len(kinds) in (len(generated.PEOPLE), len(generated.THINGS))


def test_words_of_a_post_tell_all_three() -> None:
    """A straight line through counts of words finds what the network has to find."""
    told = generated.posts("sample")
    words = sorted({word for row in told.rows for word in row.split()})
    counts = np.array([[row.split().count(word) for word in words] + [1] for row in told.rows], float)
    hot = np.eye(10)[told.labels["income"]]
    wanted = np.c_[told.labels["age"], told.labels["gender"], hot]
    fitted = counts[-300:] @ np.linalg.lstsq(counts[:-300], wanted[:-300], rcond=None)[0]
    assert np.abs(fitted[:, 0] - told.labels["age"][-300:]).mean() < 4  # years
    assert ((fitted[:, 1] > 0.5) == told.labels["gender"][-300:]).mean() > 0.98
    assert (fitted[:, 2:].argmax(axis=1) == told.labels["income"][-300:]).mean() > 0.98


def test_drawings_need_more_than_a_mean_picture() -> None:
    drawn = generated.shapes("sample", 32)
    assert drawn.rows.dtype == np.uint8
    assert drawn.rows.shape[1:] == (32, 32, 3)
    assert set(drawn.labels) == set(range(len(generated.SHAPES)))
    assert 0.1 < nearest(drawn.rows, drawn.labels, 10) < 0.75


def test_two_cameras_see_one_thing_in_one_colour() -> None:
    seen = generated.views("sample", 71)
    for row in seen.rows[:5]:
        left, right = row["left"], row["right"]
        assert left.shape == right.shape == (71, 71, 3)
        assert np.abs(np.median(left[:3], axis=(0, 1)) - np.median(right[:3], axis=(0, 1))).max() < 12
    assert 0.4 < seen.labels.mean() < 0.6


def test_tables_and_signals_can_be_told() -> None:
    rows = generated.tables("sample", 10)
    assert nearest(rows.rows, rows.labels, 10) > 0.9
    several = generated.tables("sample", 10, several=True)
    assert set(several.labels.sum(axis=1)) == {1, 2}
    signal = generated.signals("sample", 4)
    assert signal.rows.shape[1:] == (20, 4)
    assert nearest(signal.rows, signal.labels[:, 0], 2) > 0.8


def test_values_are_partly_straight_and_partly_bent() -> None:
    told = generated.values("sample")
    x = np.c_[told.rows, np.ones(len(told.rows))]
    rest = np.abs(told.labels - x @ np.linalg.lstsq(x, told.labels, rcond=None)[0]).mean(axis=0)
    assert rest[0] < 0.15
    assert rest[1] > 0.5


def _columns(labels: np.ndarray | dict[str, np.ndarray]) -> list[np.ndarray]:
    return list(labels.values()) if isinstance(labels, dict) else [labels]


@pytest.mark.parametrize("kind", ["stories", "posts", "sentences", "values"])
def test_real_is_more_of_the_same_and_the_same_each_time(kind: str) -> None:
    make = getattr(generated, kind)
    once, again, more = make("sample"), make("sample"), make("real")
    assert once.about == again.about
    for one, other in zip(_columns(once.labels), _columns(again.labels), strict=True):
        assert np.array_equal(one, other)
    assert len(more.rows) == 4 * len(once.rows)


@pytest.mark.parametrize("name", ["siamese_lstm", "template_dense_regression", "template_dense_binary"])
def test_a_short_training_is_clearly_better_than_no_skill(name: str) -> None:
    task, params, data = prepared(name)
    keras.utils.set_random_seed(1)
    model = task.build(data, params)
    model.fit(Batches(data.train, 32, 1), epochs=params["epochs"], shuffle=False, verbose=0)
    assert data.test and data.baseline
    reached = evaluate(model, data.test, 64)[task.metric.removeprefix("test_")]
    assert reached > data.baseline + 0.3 if task.higher_is_better else reached < data.baseline / 2


def test_two_branches_of_a_siamese_network_have_one_set_of_weights() -> None:
    """Both sentences swapped, and so the two halves of the last layer's weights: the same answer."""
    task, params, data = prepared("siamese_lstm")
    model = task.build(data, params)
    feeds = data.feeds["serving_default"]
    told = np.asarray(model(feeds))
    weights, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([np.concatenate([weights[32:], weights[:32]]), bias])
    swapped = np.asarray(model({"left": feeds["right"], "right": feeds["left"]}))
    np.testing.assert_allclose(told, swapped, atol=1e-6)


def test_rows_of_several_inputs_are_objects_and_answers_of_several_outputs_are_named() -> None:
    task, params, data = prepared("question_answering")
    assert isinstance(data.verb, Predict)
    model = inference_models(task, task.build(data, params), data)["serving_default"]
    feeds = data.verb.encode([{"text": "Anna took the ball to the hall.", "question": "Where to?"}])
    (answer,) = data.verb.decode({name: np.asarray(array) for name, array in model(feeds).items()})
    assert len(answer["answer"]) == 3
    task, params, data = prepared("profile_posts")
    assert isinstance(data.verb, Predict)
    model = inference_models(task, task.build(data, params), data)["serving_default"]
    outputs = {name: np.asarray(array) for name, array in model(data.verb.encode(["my grandchild"])).items()}
    (answer,) = data.verb.decode(outputs)
    assert outputs["income"].shape == (1, 10)
    assert sorted(label.label for label in answer["gender"]) == ["a man", "a woman"]
    np.testing.assert_allclose(answer["age"], outputs["age"][0] * 20 + 50, rtol=1e-6)  # years


def test_words_become_points_that_tensorboard_finds(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,), dtype="int32"), keras.layers.Embedding(9, 2, name="embed")])
    verb = Predict(inputs={"tokens": (Words(Vocabulary("words", ("<padding>", "good", "bad"))), Pad(3))}, outputs={})
    projector.write_projector(tmp_path / "tensorboard", model, verb)
    (config,) = tmp_path.rglob("projector_config.pbtxt")
    vectors = np.loadtxt(config.parent / "vectors.tsv", delimiter="\t")
    np.testing.assert_allclose(vectors, np.asarray(model.layers[0].embeddings)[:3], rtol=1e-5)
    assert (config.parent / "words.tsv").read_text("utf-8").splitlines() == ["<padding>", "good", "bad"]
    from google.protobuf import text_format
    from tensorboard.plugins.projector import ProjectorConfig

    parsed = text_format.Parse(config.read_text("utf-8"), ProjectorConfig())
    assert [(item.tensor_name, item.tensor_path) for item in parsed.embeddings] == [("embed", "vectors.tsv")]
