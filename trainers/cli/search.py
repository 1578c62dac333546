"""Define the command ``bookserve search``: find better parameters of a task with optuna (section 7.3.2).

Each trial is a run of its own. The trials are kept in ``runs/<task>/study.db``, an optuna study in SQLite; the same
command continues it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bookserve.cli.completion import complete_tasks
from bookserve.cli.terminal import json_option, next_command, print_json, print_table, runs_option, silence_stderr
from bookserve.errors import InvalidInput, did_you_mean
from bookserve.run import Run
from trainers import settings
from trainers.cli.train import parse_parameters, parse_value
from trainers.datasets.dataset import Kind
from trainers.task import Task

if TYPE_CHECKING:
    import optuna

#: Share of the training rows that a search validates on, for tasks without validation data.
_HOLD_OUT = 0.2

#: Draws the value of one parameter for a trial.
Draw = Callable[["optuna.Trial"], Any]


@click.command()
@click.argument("name", metavar="TASK", shell_complete=complete_tasks)
@click.option("--trials", type=click.IntRange(min=1), default=20, show_default=True, help="Number of trials in total.")
@click.option(
    "--over",
    metavar="NAME=RANGE",
    multiple=True,
    help="Vary this parameter; RANGE is LOW:HIGH, LOW:HIGH:log or A,B,C; repeatable.  "
    "[default: learning_rate and batch_size]",
)
@click.option("--data", type=click.Choice(["real", "sample"]), default="real", show_default=True)
@click.option("--seed", type=click.IntRange(min=0, max=2**31), default=0, show_default=True)
@runs_option
@click.option(
    "-p", "assignments", metavar="KEY=VALUE", multiple=True, help="Set a parameter of every trial; repeatable."
)
@json_option
def search(
    name: str,
    trials: int,
    over: tuple[str, ...],
    data: Kind,
    seed: int,
    runs: Path,
    assignments: tuple[str, ...],
    as_json: bool,
) -> None:
    """Search for better parameters of a task.

    Each trial trains a run of its own; trials are compared by their figures on validation rows. After an interruption,
    or with more --trials, the same command continues the search.
    """
    from trainers import catalogue

    task = catalogue.find_task(name)
    params = parse_parameters(task, data, assignments, None)
    if not params["epochs"]:
        raise InvalidInput(
            f"'{name}' has nothing to train, so its parameters cannot be searched.", "List all tasks: bookserve tasks"
        )
    space = parse_search_space(task, params, over)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with silence_stderr():
        from trainers import training
        from trainers.engine.devices import open_devices

        devices = open_devices(params)
    if task.data(data, params).validation is None and not params["folds"]:
        params["hold_out"] = params["hold_out"] or _HOLD_OUT  # parameters must not be chosen on test rows
    study = open_study(task, runs)

    def start_run(params: dict[str, Any]) -> Run:
        return training.start_training(
            task, data, params, seed=seed, runs=runs, report=lambda line: None, devices=devices
        )

    try:
        for line in run_trials(task, study, params, space, trials, seed, start_run):
            click.echo(line, err=as_json)
    except KeyboardInterrupt:
        click.echo("\nto continue: run the same command again", err=True)
        raise
    rows = trials_table(study)
    if as_json:
        print_json(rows)
        return
    print_table(("trial", *space, objective_name(study), "seconds", "run", ""), [tuple(row.values()) for row in rows])
    if rows:
        next_command(f"bookserve export {rows[0]['run']} --runs {runs}")


def parse_search_space(task: Task, params: dict[str, Any], over: Sequence[str]) -> dict[str, Draw]:
    """By parameter, the function that draws its value for a trial.

    ``over`` has items ``NAME=RANGE``; if it is empty, learning rate and batch size are varied around their defaults.

    Raises:
        InvalidInput: an unknown parameter, or an invalid range.
    """
    if not over:
        rate, size = params["learning_rate"], params["batch_size"]
        sizes = ",".join(str(number) for number in dict.fromkeys((max(1, size // 2), size, size * 2)))
        over = (f"learning_rate={rate / 10}:{rate * 10}:log", f"batch_size={sizes}")
    return dict(_parse_range(task, params, item) for item in over)


def _parse_range(task: Task, params: dict[str, Any], item: str) -> tuple[str, Draw]:
    name, _, text = item.partition("=")
    if name not in params:
        hint = f"{did_you_mean(name, params)}It has: {', '.join(params)}"
        raise InvalidInput(f"'{name}' is not a parameter of '{task.name}'.", hint)
    ends = text.split(":")
    if len(ends) == 1:
        choices = [parse_value(name, choice, params[name]) for choice in text.split(",")]
        return name, lambda trial: trial.suggest_categorical(name, choices)
    low, high = (parse_value(name, end, params[name]) for end in ends[:2])
    log = ends[2:] == ["log"]
    if type(low) not in (int, float) or not low < high or (log and not low) or ends[2:] not in ([], ["log"]):
        raise InvalidInput(
            f"'{text}' is not a range for {name}.", "Give LOW:HIGH, LOW:HIGH:log (LOW above 0) or A,B,C."
        )
    if isinstance(low, int):
        return name, lambda trial: trial.suggest_int(name, low, high, log=log)
    return name, lambda trial: trial.suggest_float(name, low, high, log=log)


def open_study(task: Task, runs: Path) -> optuna.Study:
    """Open the task's study under ``runs``, or create it."""
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
    start_run: Callable[[dict[str, Any]], Run],
) -> Any:
    """Run trials until ``trials`` are complete; yield a line after each.

    The values of a trial depend only on the seed and the trials before it, also after an interruption.
    """
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    while (done := len(study.get_trials(states=[TrialState.COMPLETE]))) < trials:
        study.sampler = TPESampler(seed=seed + done)
        trial = study.ask()
        drawn = {name: draw(trial) for name, draw in space.items()}
        try:
            run = start_run({**params, **drawn})
        except BaseException:
            study.tell(trial, state=TrialState.FAIL)
            raise
        name = find_objective(task, run.metrics)
        trial.set_user_attr("run", run.name)
        trial.set_user_attr("seconds", run.metrics["seconds"])
        study.set_user_attr("figure", name)
        study.tell(trial, run.metrics[name])
        shown = "  ".join(f"{key} {value:.4g}" for key, value in drawn.items())
        yield f"trial {done + 1}/{trials}  {shown}  {name} {run.metrics[name]:.4f}  best {study.best_value:.4f}"


def find_objective(task: Task, metrics: dict[str, Any]) -> str:
    """The name of the figure to optimise: the task's metric, measured on validation rows wherever there are any."""
    own = task.metric.removeprefix("test_")
    names = (task.metric if task.metric.startswith(("best_", "val_")) else "", f"cv_{own}", f"val_{own}", task.metric)
    return next(name for name in names if name in metrics)


def objective_name(study: optuna.Study) -> str:
    """The name of the figure that the study's trials are compared by."""
    return str(study.user_attrs.get("figure", "figure"))


def trials_table(study: optuna.Study) -> list[dict[str, Any]]:
    """All finished trials as rows; the best comes first and is marked."""
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
