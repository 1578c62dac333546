"""Search: better parameters of a task by trying some, each as a run of its own (section 7.3.2).

What was tried stands in ``runs/<task>/study.db``, an optuna study in SQLite; the same command goes on with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bookserve.cli.terminal import json_option, print_json, print_table, runs_option, silence_stderr
from bookserve.errors import InvalidInput
from bookserve.run import Run
from trainers.cli import parameters, value_of
from trainers.datasets.source import Kind
from trainers.engine import settings
from trainers.task import Task

if TYPE_CHECKING:
    import optuna

#: Share of the training rows that a search validates on, where the task holds none out.
_HOLD_OUT = 0.2

#: Draws one parameter's value for a trial.
Draw = Callable[["optuna.Trial"], Any]


@click.command()
@click.argument("name", metavar="TASK")
@click.option("--trials", type=click.IntRange(min=1), default=20, show_default=True, help="How many in all.")
@click.option(
    "--over",
    metavar="NAME=RANGE",
    multiple=True,
    help="What to vary: LOW:HIGH, LOW:HIGH:log, or A,B,C; repeatable. [default: learning_rate and batch_size]",
)
@click.option("--data", type=click.Choice(["real", "sample"]), default="real", show_default=True)
@click.option("--seed", type=click.IntRange(min=0, max=2**31), default=0, show_default=True)
@runs_option
@click.option("-p", "given", metavar="KEY=VALUE", multiple=True, help="Set a parameter of every trial; repeatable.")
@json_option
def search(
    name: str,
    trials: int,
    over: tuple[str, ...],
    data: Kind,
    seed: int,
    runs: Path,
    given: tuple[str, ...],
    as_json: bool,
) -> None:
    """Search for better parameters of a task.

    Every trial is a run like any other, judged on validation rows. Interrupted or given more trials, the same command
    goes on where it ended.
    """
    from trainers import catalogue

    task = catalogue.find_task(name)
    params = parameters(task, data, given, None)
    if not params["epochs"]:
        raise InvalidInput(f"'{name}' is not trained, so there is nothing to search for.")
    space = spaces(task, params, over)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with silence_stderr():
        from trainers.engine import training
        from trainers.engine.devices import open_devices

        devices = open_devices(params)
    if task.data(data, params).validation is None and not params["folds"]:
        params["hold_out"] = params["hold_out"] or _HOLD_OUT  # test rows must not choose
    study = open_study(task, runs)

    def begin(params: dict[str, Any]) -> Run:
        return training.start_training(task, data, params, seed=seed, runs=runs, say=lambda line: None, devices=devices)

    try:
        for line in run_trials(task, study, params, space, trials, seed, begin):
            click.echo(line, err=as_json)
    except KeyboardInterrupt:
        click.echo("\nto continue: give the same command again", err=True)
        raise
    rows = table(study)
    if as_json:
        print_json(rows)
        return
    print_table(("trial", *space, judged_by(study), "seconds", "run", ""), [tuple(row.values()) for row in rows])


def spaces(task: Task, params: dict[str, Any], over: Sequence[str]) -> dict[str, Draw]:
    """By parameter, how a trial draws its value; learning rate and batch size around their defaults where none is said.

    Raises:
        InvalidInput: a parameter that the task does not have, or a range that is none.
    """
    if not over:
        rate, size = params["learning_rate"], params["batch_size"]
        sizes = ",".join(str(number) for number in dict.fromkeys((max(1, size // 2), size, size * 2)))
        over = (f"learning_rate={rate / 10}:{rate * 10}:log", f"batch_size={sizes}")
    return dict(_space(task, params, item) for item in over)


def _space(task: Task, params: dict[str, Any], item: str) -> tuple[str, Draw]:
    name, _, text = item.partition("=")
    if name not in params:
        raise InvalidInput(f"'{name}' is no parameter of '{task.name}'.", f"It has: {', '.join(params)}")
    ends = text.split(":")
    if len(ends) == 1:
        choices = [value_of(name, choice, params[name]) for choice in text.split(",")]
        return name, lambda trial: trial.suggest_categorical(name, choices)
    low, high = (value_of(name, end, params[name]) for end in ends[:2])
    log = ends[2:] == ["log"]
    if type(low) not in (int, float) or not low < high or (log and not low) or ends[2:] not in ([], ["log"]):
        raise InvalidInput(f"'{text}' is no range for {name}.", "Give LOW:HIGH, LOW:HIGH:log (LOW above 0) or A,B,C.")
    if isinstance(low, int):
        return name, lambda trial: trial.suggest_int(name, low, high, log=log)
    return name, lambda trial: trial.suggest_float(name, low, high, log=log)


def open_study(task: Task, runs: Path) -> optuna.Study:
    """The task's study under ``runs``; a new one where there is none."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder = runs / task.name
    folder.mkdir(parents=True, exist_ok=True)
    direction = "maximize" if settings.higher_is_better(task.metric) else "minimize"
    return optuna.create_study(
        storage=f"sqlite:///{folder / 'study.db'}", study_name=task.name, direction=direction, load_if_exists=True
    )


def run_trials(
    task: Task,
    study: optuna.Study,
    params: dict[str, Any],
    space: dict[str, Draw],
    trials: int,
    seed: int,
    begin: Callable[[dict[str, Any]], Run],
) -> Any:
    """Try until ``trials`` have come to their end, and yield a line after each.

    What a trial draws follows from the seed and the trials before it, also where the search was interrupted.
    """
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    while (done := len(study.get_trials(states=[TrialState.COMPLETE]))) < trials:
        study.sampler = TPESampler(seed=seed + done)
        trial = study.ask()
        drawn = {name: draw(trial) for name, draw in space.items()}
        try:
            run = begin({**params, **drawn})
        except BaseException:
            study.tell(trial, state=TrialState.FAIL)
            raise
        name = judged(task, run.metrics)
        trial.set_user_attr("run", run.name)
        trial.set_user_attr("seconds", run.metrics["seconds"])
        study.set_user_attr("figure", name)
        study.tell(trial, run.metrics[name])
        shown = "  ".join(f"{key} {value:.4g}" for key, value in drawn.items())
        yield f"trial {done + 1}/{trials}  {shown}  {name} {run.metrics[name]:.4f}  best {study.best_value:.4f}"


def judged(task: Task, metrics: dict[str, Any]) -> str:
    """The figure that decides: the task's own where it is of validation rows, else that of the rows held out."""
    own = task.metric.removeprefix("test_")
    names = (task.metric if task.metric.startswith(("best_", "val_")) else "", f"cv_{own}", f"val_{own}", task.metric)
    return next(name for name in names if name in metrics)


def judged_by(study: optuna.Study) -> str:
    """The name of the figure that the study's trials were compared by."""
    return str(study.user_attrs.get("figure", "figure"))


def table(study: optuna.Study) -> list[dict[str, Any]]:
    """Every finished trial, the best one first and marked."""
    from optuna.trial import TrialState

    sign = -1 if study.direction.name == "MAXIMIZE" else 1
    finished = sorted(study.get_trials(states=[TrialState.COMPLETE]), key=lambda trial: sign * (trial.value or 0.0))
    return [
        {
            "trial": trial.number,
            **trial.params,
            "figure": trial.value,
            "seconds": trial.user_attrs["seconds"],
            "run": trial.user_attrs["run"],
            "best": "best" if index == 0 else "",
        }
        for index, trial in enumerate(finished)
    ]
