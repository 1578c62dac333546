# ruff: noqa: TID253 - imported only inside functions of the command line
"""Training: a task, its parameters and a seed become a finished Run; an interrupted one is taken up again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from bookserve import run as runs_
from bookserve.run import Run
from trainers import samples
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
    keras.utils.set_random_seed(seed)  # Keras's own way to make initial weights and dropout repeat
    model = task.build(data, params)
    model.jit_compile = params[
        "jit_compile"
    ]  # XLA; Keras would use it always, which is slower for most of these models
    every = params.get("samples_every", 0)

    def after_epoch(epoch: int) -> None:
        if every and epoch % every == 0 and epoch < params["epochs"]:
            models = inference_models(task, model, data)
            graphs = {name: graph_of(inference) for name, inference in models.items()}
            say(samples.write(run, data.verb, models, graphs, seed))

    progress = fit(model, data, params, run=run, seed=seed, say=say, bar=bar, after_epoch=after_epoch)
    finish(task, run, model, data, progress, say)
