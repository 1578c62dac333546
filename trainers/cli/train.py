"""Define the command ``bookserve train``, and parse parameters given on a command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bookserve.cli.completion import complete_tasks
from bookserve.cli.terminal import device_option, next_command, print_table, runs_option, silence_stderr
from bookserve.errors import InvalidInput, did_you_mean
from bookserve.run import Run, latest_run
from trainers import catalogue, settings
from trainers.cli.listing import sample_mark
from trainers.datasets.dataset import Kind
from trainers.engine import cluster
from trainers.task import Task


@click.command()
@click.argument("names", metavar="TASK...", nargs=-1, shell_complete=complete_tasks)
@click.option("--all", "all_tasks", is_flag=True, help="Train all tasks.")
@click.option(
    "--data",
    type=click.Choice(["real", "sample"]),
    default="real",
    show_default=True,
    help="The book's data set, or a small replacement that trains in seconds.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Number of epochs; same as -p epochs=N.")
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=2**32 - 1),
    default=0,
    show_default=True,
    help="Seed of all random numbers.",
)
@click.option("--weights", metavar="FILE", help="Pretrained weights, where a task has them; same as -p weights=FILE.")
@device_option(None, "Where to train.  [default: auto]")
@click.option("--mixed-precision", is_flag=True, help="Compute in float16 on a GPU, in bfloat16 on a CPU.")
@click.option("--deterministic", is_flag=True, help="Make two runs with the same seed identical bit by bit.")
@click.option(
    "--distribute",
    type=click.Choice(["mirrored", "multiworker", "ray"]),
    help="Train on several devices of this machine (mirrored), in several processes (multiworker), or each task on a "
    "node of a Ray cluster (ray).",
)
@click.option(
    "--workers",
    type=click.IntRange(min=2),
    help="Number of devices or processes for --distribute.  [default: all GPUs, or as TF_CONFIG says]",
)
@runs_option
@click.option("-p", "assignments", metavar="KEY=VALUE", multiple=True, help="Set a parameter of the task; repeatable.")
@click.option("--resume", is_flag=True, help="Continue the newest unfinished run with its parameters.")
def train(
    names: tuple[str, ...],
    all_tasks: bool,
    data: Kind,
    seed: int,
    runs: Path,
    assignments: tuple[str, ...],
    resume: bool,
    **shortcuts: Any,
) -> None:
    """Train tasks of the book; each leaves a run.

    On a terminal, Keras's progress bar is shown, else one line per epoch. At the end, our figures are printed beside
    the book's. The options from --device to --workers are the same as -p device=NAME and so on; see docs/how-to/gpu.md,
    and docs/scaling.md for --distribute ray.
    """
    if bool(names) == all_tasks:
        raise click.UsageError("Give one or more tasks, or --all without tasks.")
    if resume and any(map(_is_given, ("data", "seed", "assignments", *shortcuts))):
        raise click.UsageError("--resume continues a run with its own parameters: only --runs can be given with it.")
    on_cluster = shortcuts["distribute"] == "ray"
    if on_cluster and shortcuts["workers"]:
        raise click.UsageError("--distribute ray trains one task on each node: --workers cannot be given with it.")
    selected = list(catalogue.load_tasks()) if all_tasks else [catalogue.find_task(name) for name in names]
    if resume:
        parameter_sets = [settings.settings_of(latest_run(runs, task.name, finished=False)) for task in selected]
    else:
        epochs = shortcuts.pop("epochs")
        shortcuts["distribute"] = None if on_cluster else shortcuts["distribute"]
        assignments += tuple(f"{name}={value}" for name, value in shortcuts.items() if value)
        parameter_sets = [parse_parameters(task, data, assignments, epochs) for task in selected]
    if on_cluster:
        from trainers.cli.spread import train_on_cluster

        complete = [{"data": data, "seed": seed, **params} for params in parameter_sets]
        train_on_cluster(selected, complete, runs, _report)
        return
    for task, params in zip(selected, parameter_sets, strict=True):
        try:
            if params["distribute"] == "multiworker" and not cluster.is_worker():
                _start_workers(task, {"data": data, "seed": seed, **params}, runs, resume)
            else:
                _train(task, data, params, seed, runs, resume)
        except KeyboardInterrupt:
            if not cluster.is_worker():
                click.echo(f"\nto continue: bookserve train {task.name} --runs {runs} --resume", err=True)
            raise


def _train(task: Task, data: Kind, params: dict[str, Any], seed: int, runs: Path, resume: bool) -> None:
    """Train in this process."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with silence_stderr():
        from trainers import training
        from trainers.engine.devices import open_devices

        devices = open_devices(params)
    progress_bar = sys.stdout.isatty()
    click.echo(f"{task.name}: {task.summary} (section {task.section})")
    with devices.runs_directory(runs, task.name) as directory:
        if resume:
            run = training.resume_training(
                task, directory, report=click.echo, progress_bar=progress_bar, devices=devices
            )
        else:
            run = training.start_training(
                task,
                data,
                params,
                seed=seed,
                runs=directory,
                report=click.echo,
                progress_bar=progress_bar,
                devices=devices,
            )
        if devices.chief:
            _report(task, run)
            next_command(f"bookserve export {task.name}" + (f" --runs {runs}" if str(runs) != "runs" else ""))


def _start_workers(task: Task, params: dict[str, Any], runs: Path, resume: bool) -> None:
    """Train in several processes on this machine.

    Raises:
        InvalidInput: the number of workers is not given.
    """
    if not params["workers"]:
        raise InvalidInput(
            "--distribute multiworker needs the number of processes, but neither TF_CONFIG nor --workers is given.",
            "Give --workers 2 to start two processes on this machine, or set TF_CONFIG on each of several machines.",
        )
    words = ["train", task.name, "--resume"] if resume else task.command(params)[1:]
    code = cluster.start_workers([*words, "--runs", str(runs)], params["workers"])
    if code:
        click.get_current_context().exit(code)


def _is_given(option: str) -> bool:
    """Whether the user gave ``option`` to the running command, even with its default value."""
    return click.get_current_context().get_parameter_source(option) is not ParameterSource.DEFAULT


def parse_parameters(task: Task, data: Kind, assignments: tuple[str, ...], epochs: int | None) -> dict[str, Any]:
    """The task's parameters, with ``assignments`` (items ``name=value``) in place of the defaults.

    Raises:
        InvalidInput: an unknown parameter, or a value of another type than the default.
    """
    params = task.defaults(data)
    known = ", ".join(f"{name}={value}" for name, value in params.items())
    for item in (*assignments, *([f"epochs={epochs}"] if epochs and params["epochs"] else [])):
        name, equals, text = item.partition("=")
        if not equals or name not in params:
            option = f"{name} has an option of its own: --{name}. " if name in ("data", "seed") else ""
            raise InvalidInput(
                f"'{item}' does not set a parameter of '{task.name}'; expected NAME=VALUE.",
                f"{option}{did_you_mean(name, params)}It has: {known}",
            )
        params[name] = parse_value(name, text, params[name])
    if params["epochs"] and not task.defaults(data)["epochs"]:
        raise InvalidInput(f"'{task.name}' has nothing to train: its epochs are 0.", "Leave epochs out.")
    return params


_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false"}


def parse_value(name: str, text: str, default: Any) -> Any:
    """``text`` as a value of the same type as the parameter's default.

    Raises:
        InvalidInput: ``text`` is not of this type, or below the smallest useful value. That is 0 for settings whose
            usual default is 0, even if the task has another.
    """
    kind = type(default)
    if name in settings.DEFAULTS and kind is type(settings.DEFAULTS[name]):
        default = settings.DEFAULTS[name]
    try:
        value = {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise InvalidInput(
            f"{name} must be {_TYPE_NAMES.get(kind, kind.__name__)}, like {default}; got '{text}'."
        ) from None
    least = 1 if kind is int and default > 0 else 0
    if kind in (int, float) and not least <= value < float("inf"):
        raise InvalidInput(f"{name} must be {least} or more; got '{text}'.")
    return value


def _report(task: Task, run: Run) -> None:
    """Print our figures beside the book's."""
    metrics = run.metrics
    sample = sample_mark(run.read("params.json")["data"])
    names = list(dict.fromkeys([*task.book, task.metric, *task.further]))
    rows = [
        (
            name,
            f"{metrics[name]:.4f}{sample}",
            f"{metrics['baseline']:.4f}" if name == task.metric and metrics["baseline"] is not None else None,
            task.book.get(name, (task.shown or None) if name == task.metric else None),
        )
        for name in names
    ]
    print_table(("figure", "ours", "no skill", "book"), rows)
    click.echo(f"{metrics['epochs']} epochs in {metrics['seconds']:.1f} s → {run.path}\n")
