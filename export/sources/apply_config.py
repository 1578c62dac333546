"""Apply a Config to a graph: build the verb from its labels and Steps, and try them on random rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bookserve.bundle.examples import Example
from bookserve.bundle.parity import RunGraph
from bookserve.errors import BookserveError, InvalidInput
from bookserve.formats.external_model import default_step
from bookserve.graph import Graph, TensorSpec, numpy_dtype
from bookserve.steps import (
    BinaryLabel,
    Characters,
    Hashed,
    ImageNetMeans,
    MultiLabel,
    NGrams,
    Numbers,
    PictureStep,
    Reshape,
    Rows,
    Softmax,
    Step,
    TopLabels,
    Words,
    apply_steps,
)
from bookserve.verb import Predict
from export.sources.config import Config

_ROW_COUNT = 3
#: The size used for a free axis.
_FREE_AXIS_SIZE = 8


class AppliedConfig(NamedTuple):
    """The verb; an example, with its raw rows if Steps made it from rows; and notes for the user."""

    verb: Predict
    example: Example | None
    rows: np.ndarray
    notes: list[str]


def apply_config(
    config: Config, name: str, graph: Graph, example: Example | None, run: RunGraph, rng: np.random.Generator
) -> AppliedConfig:
    """Build the verb of the graph ``name`` from ``config`` and try its Steps on random rows.

    Without Steps, the rows are the graph's input tensors, and the answers are its outputs. ``run`` runs the graph.

    Raises:
        InvalidInput: ``config`` names an unknown input or output, its Steps do not give what the graph takes, or the
            number of labels is not the number of classes.
    """
    _refuse_unknown(config.inputs, graph.inputs, "input")
    _refuse_unknown(config.outputs, graph.outputs, "output")
    inputs = {key: (default_step(spec),) for key, spec in graph.inputs.items()} | config.inputs
    rows = np.array([], np.uint8)
    if config.inputs:
        columns = {key: _random_rows(rng, steps, graph.inputs[key]) for key, steps in config.inputs.items()}
        feeds = {key: _encode_rows(key, config.inputs[key], columns[key], graph.inputs[key]) for key in columns}
        feeds = {key: feeds[key] if key in feeds else example.inputs[key] for key in graph.inputs} if example else feeds
        if feeds.keys() == graph.inputs.keys():
            graph.check(feeds)
            example = Example(feeds, run(feeds))
            column = next(iter(columns.values()))
            if len(graph.inputs) == 1 and (isinstance(column, np.ndarray) or isinstance(column[0], str)):
                rows = np.asarray(column)
    outputs: dict[str, tuple[Step, ...]] = {key: config.outputs.get(key, ()) for key in graph.outputs}
    notes: list[str] = []
    if config.labels:
        key, outputs[key] = _label_steps(tuple(config.labels), config, graph, example)
        words = " and ".join(type(step).__name__.lower() for step in outputs[key])
        notes.append(f"labels: the answers come from output '{key}' by {words}.")
    verb = Predict(inputs=inputs, outputs=outputs, graph=name)
    if example:
        for key, steps in outputs.items():
            _check_output_steps(key, steps, example.outputs[key])
    elif config.inputs or config.labels:
        notes.append("the labels and Steps were not tried, because there is no example.")
    return AppliedConfig(verb, example, rows, notes)


def _refuse_unknown(given: dict[str, tuple[Step, ...]], have: dict[str, TensorSpec], side: str) -> None:
    unknown = sorted(given.keys() - have.keys())
    if unknown:
        names = ", ".join(f"'{name}' {spec}" for name, spec in have.items())
        raise InvalidInput(f"the model has no {side} '{unknown[0]}'.", f"It has: {names}.")


def _random_rows(rng: np.random.Generator, steps: Sequence[Step], spec: TensorSpec) -> Rows:
    """Return random raw rows of the kind that the first Step takes; their number fits the graph's batch axis."""
    first = steps[0] if steps else None
    count = spec.shape[0] if spec.shape and isinstance(spec.shape[0], int) else _ROW_COUNT
    if isinstance(first, PictureStep):
        return rng.integers(0, 256, (count, first.height, first.width, first.channels), np.uint8)
    if isinstance(first, Words | Characters):
        entries, between = np.array(first.vocabulary.entries), " " if isinstance(first, Words) else ""
        return [between.join(rng.choice(entries, _FREE_AXIS_SIZE)) for _ in range(count)]
    if isinstance(first, NGrams | Hashed):
        return [" ".join(rng.choice(["one", "two", "three"], _FREE_AXIS_SIZE)) for _ in range(count)]
    if isinstance(first, ImageNetMeans):
        return rng.integers(0, 256, (count, *spec.sizes(unknown=_FREE_AXIS_SIZE)[1:-1], 3), np.uint8)
    shape = first.shape or () if isinstance(first, Numbers) else spec.sizes(unknown=_FREE_AXIS_SIZE)[1:]
    if isinstance(first, Reshape) and -1 not in first.shape:
        shape = (int(np.prod(first.shape)),)
    shape = [size if size >= 0 else _FREE_AXIS_SIZE for size in shape]
    dtype = first.dtype if isinstance(first, Numbers) else spec.dtype
    if dtype == "string":
        return list(rng.choice(np.array([b"one", b"two"], object), (count, *shape)))
    whole = numpy_dtype(dtype).kind in "biu"
    numbers = rng.integers(0, 2, (count, *shape)) if whole else rng.random((count, *shape))
    return list(numbers)


def _encode_rows(key: str, steps: Sequence[Step], rows: Rows, spec: TensorSpec) -> np.ndarray:
    """Apply the Steps of an input to rows.

    Raises:
        InvalidInput: a Step refuses them, or the result is not what the graph takes.
    """
    try:
        encoded = np.asarray(apply_steps(steps, rows))
    except BookserveError as error:
        raise InvalidInput(f"the Steps of input '{key}' do not fit each other: {error.message}", error.hint) from error
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        raise InvalidInput(f"the Steps of input '{key}' do not fit each other: {error}.") from error
    fits = len(encoded.shape) == len(spec.shape) and all(
        isinstance(axis, str) or axis == size for axis, size in zip(spec.shape, encoded.shape, strict=True)
    )
    if not fits or encoded.dtype != numpy_dtype(spec.dtype):
        raise InvalidInput(
            f"the Steps of input '{key}' give {encoded.dtype}{list(encoded.shape)}; the graph takes {spec}.",
            "Change the Steps: scale gives float32, reshape another shape, channelsfirst the order of axes of PyTorch.",
        )
    return encoded


def _label_steps(
    labels: tuple[str, ...], config: Config, graph: Graph, example: Example | None
) -> tuple[str, tuple[Step, ...]]:
    """Find the output that the labels belong to, and choose the Steps for it.

    The output is the one whose size fits the number of labels. The Steps depend on its values in the example: scores,
    probabilities that sum to 1, independent probabilities, or the probability of the second of two labels.

    Raises:
        InvalidInput: no output or several outputs fit, or a single output value is not a probability.
    """
    sizes = {key: spec.shape[-1] for key, spec in graph.outputs.items() if len(spec.shape) == 2}
    fitting = [key for key, size in sizes.items() if size == len(labels) or (size == 1 and len(labels) == 2)]
    fitting = [key for key in fitting if key not in config.outputs]
    if len(fitting) != 1:
        have = ", ".join(f"'{key}' {spec}" for key, spec in graph.outputs.items())
        raise InvalidInput(
            f"{len(labels)} labels fit {'more than one output' if fitting else 'no output'}; the model has: {have}.",
            "Give as many labels as there are classes, or name the output: [outputs] name = [{ step = … }]",
        )
    key = fitting[0]
    values = np.asarray(example.outputs[key], np.float64) if example else np.zeros((0, 1))
    in_unit_range = bool(((values >= 0) & (values <= 1)).all())
    if sizes[key] == 1:
        if not in_unit_range:
            raise InvalidInput(
                f"output '{key}' is not a probability: it has values outside 0 to 1.",
                "For two labels, end the model with a sigmoid.",
            )
        return key, (BinaryLabel((labels[0], labels[1])),)
    if not in_unit_range:
        return key, (Softmax(), TopLabels(labels))
    if len(values) and not np.allclose(values.sum(axis=1), 1, atol=1e-2):
        return key, (MultiLabel(labels),)
    return key, (TopLabels(labels),)


def _check_output_steps(key: str, steps: Sequence[Step], values: np.ndarray) -> None:
    """Try the Steps of an output on its values in the example.

    Raises:
        InvalidInput: a Step refuses them, or the number of labels is not the number of classes.
    """
    rows: Rows = values
    for step in steps:
        if isinstance(step, TopLabels | MultiLabel) and np.shape(rows)[-1] != len(step.labels):
            raise InvalidInput(
                f"output '{key}' has {np.shape(rows)[-1]} classes, but there are {len(step.labels)} labels.",
                "Give one label for each class, in the order of the classes.",
            )
        try:
            rows = step(rows)
        except (BookserveError, ValueError, TypeError, IndexError, AttributeError) as error:
            raise InvalidInput(f"the Steps of output '{key}' do not fit it: {error}.") from error
