# ruff: noqa: TID253 - imported only inside functions of the command line
"""Training: a task, its parameters and a seed become a finished Run; an interrupted one is taken up again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bookserve import run as runs_
from bookserve.errors import InvalidInput
from bookserve.run import Run
from trainers import folds, samples
from trainers.data.source import Kind
from trainers.finish import finish, graph_of, inference_models
from trainers.loop import Say, fit
from trainers.task import Data, Task


def start_backend() -> None:
    """Let the backend look for its devices now, which TensorFlow does not do silently."""
    keras.ops.zeros(1)


def begin(task: Task, kind: Kind, params: dict[str, Any], *, seed: int, runs: Path, say: Say, bar: bool = False) -> Run:
    """Train ``task`` from the start and return its finished run."""
    data = task.data(kind, params)
    run = runs_.create(runs, task.name)
    run.write("params.json", {"data": kind, "seed": seed, **params})
    _train(task, data, run, say, bar)
    return run


def resume(task: Task, runs: Path, *, say: Say, bar: bool = False) -> Run:
    """Continue the newest unfinished run of ``task`` with the parameters it was begun with.

    Raises:
        NotFound: no run of this task is unfinished.
    """
    run = runs_.latest(runs, task.name, finished=False)
    params = run.read("params.json")
    _train(task, task.data(params["data"], params), run, say, bar)
    return run


def _train(task: Task, data: Data, run: Run, say: Say, bar: bool) -> None:
    params = run.read("params.json")
    seed = params["seed"]
    data = _held_out(data, params["hold_out"], seed)
    validated = folds.validate(task, data, params, run=run, seed=seed, say=say)
    keras.utils.set_random_seed(seed)  # Keras's own way to make initial weights and dropout repeat
    model = task.build(data, params)
    model.jit_compile = params["jit_compile"]  # Keras would use XLA always, which is slower for most of these models
    every = params["samples_every"]

    def after_epoch(epoch: int) -> None:
        if every and epoch % every == 0 and epoch < params["epochs"]:
            models = inference_models(task, model, data)
            graphs = {name: graph_of(inference) for name, inference in models.items()}
            say(samples.write(run, data, models, graphs, seed))

    progress = fit(model, data, params, run=run, seed=seed, say=say, bar=bar, after_epoch=after_epoch)
    finish(task, run, model, data, progress, validated, say)


def _held_out(data: Data, share: float, seed: int) -> Data:
    """``data`` with a share of its training rows, drawn by the seed, to validate on (section 4.2.1).

    Raises:
        InvalidInput: the task holds rows out itself, or the share leaves nothing on one side.
    """
    if not share:
        return data
    count = round(share * len(data.train))
    if data.validation or not 0 < count < len(data.train):
        why = "the task holds rows out itself" if data.validation else "expected a share between 0 and 1"
        raise InvalidInput(f"hold_out is {share}; {why}.", "Leave it out, or give hold_out=0.2 to another task.")
    order = np.random.default_rng([seed, count]).permutation(len(data.train))
    return dataclasses.replace(data, train=data.train.take(order[count:]), validation=data.train.take(order[:count]))
