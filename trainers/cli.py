"""The command ``bookserve train``, and how parameters are written on a command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bookserve import run as runs_
from bookserve.cli.terminal import print_table, runs_option, silence_stderr
from bookserve.errors import InvalidInput
from bookserve.run import Run
from trainers import catalogue
from trainers.datasets.source import Kind
from trainers.engine import cluster, settings
from trainers.listing import mark
from trainers.task import Task


@click.command()
@click.argument("names", metavar="TASK...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Train every task.")
@click.option(
    "--data",
    type=click.Choice(["real", "sample"]),
    default="real",
    show_default=True,
    help="The book's data set, or a small stand-in that trains in seconds.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Short for -p epochs=N.")
@click.option("--seed", type=click.IntRange(min=0, max=2**32 - 1), default=0, show_default=True)
@click.option("--device", metavar="NAME", help="cpu, gpu, gpu:N or auto.  [default: auto]")
@click.option("--mixed-precision", is_flag=True, help="Compute in float16 on a GPU, in bfloat16 on a CPU.")
@click.option("--deterministic", is_flag=True, help="Let two runs of one seed give the same bits.")
@click.option(
    "--distribute",
    type=click.Choice(["mirrored", "multiworker"]),
    help="Train on several devices of this machine, or in several processes.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=2),
    help="How many.  [default: all GPUs, or what TF_CONFIG says]",
)
@runs_option
@click.option("-p", "given", metavar="KEY=VALUE", multiple=True, help="Set a parameter of the task; repeatable.")
@click.option("--resume", is_flag=True, help="Continue the newest unfinished run, as it was begun.")
def train(
    names: tuple[str, ...],
    every: bool,
    data: Kind,
    seed: int,
    runs: Path,
    given: tuple[str, ...],
    resume: bool,
    **short: Any,
) -> None:
    """Train tasks of the book; each leaves a run.

    Shows Keras's progress bar on a terminal and a line an epoch otherwise, and ends with our figure beside the book's.
    The options from --device to --workers are short for -p device=NAME and so on; deploy/gpu.md says more.
    """
    if bool(names) == every:
        raise click.UsageError("Name at least one task, or give --all (and no names).")
    if resume and any(map(_is_given, ("data", "seed", "given", *short))):
        raise click.UsageError("--resume continues a run as it was begun: only --runs can be given with it.")
    chosen = list(catalogue.load_tasks()) if every else [catalogue.find_task(name) for name in names]
    if resume:
        settled = [settings.settings_of(runs_.latest_run(runs, task.name, finished=False)) for task in chosen]
    else:
        epochs = short.pop("epochs")
        given += tuple(f"{name}={value}" for name, value in short.items() if value)
        settled = [parameters(task, data, given, epochs) for task in chosen]
    for task, params in zip(chosen, settled, strict=True):
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
        from trainers.engine import training
        from trainers.engine.devices import open_devices

        devices = open_devices(params)
    bar = sys.stdout.isatty()
    click.echo(f"{task.name}: {task.summary} (section {task.section})")
    with devices.place(runs, task.name) as place:
        if resume:
            run = training.resume_training(task, place, say=click.echo, bar=bar, devices=devices)
        else:
            run = training.start_training(
                task, data, params, seed=seed, runs=place, say=click.echo, bar=bar, devices=devices
            )
        if devices.chief:
            _report(task, run)


def _start_workers(task: Task, params: dict[str, Any], runs: Path, resume: bool) -> None:
    """Train in several processes of this machine.

    Raises:
        InvalidInput: nobody said how many.
    """
    if not params["workers"]:
        raise InvalidInput(
            "multiworker trains in several processes: TF_CONFIG is not set, and --workers was not given.",
            "Give --workers 2 to start two on this machine, or set TF_CONFIG on each of several machines.",
        )
    words = ["train", task.name, "--resume"] if resume else task.command(params)[1:]
    code = cluster.start_workers([*words, "--runs", str(runs)], params["workers"])
    if code:
        click.get_current_context().exit(code)


def _is_given(option: str) -> bool:
    """Whether the running command was given ``option``, even with its default value."""
    return click.get_current_context().get_parameter_source(option) is not ParameterSource.DEFAULT


def parameters(task: Task, data: Kind, given: tuple[str, ...], epochs: int | None) -> dict[str, Any]:
    """The task's parameters with those given on the command line.

    Raises:
        InvalidInput: one that the task does not have, or a value of another type than its default's.
    """
    params = task.defaults(data)
    known = ", ".join(f"{name}={value}" for name, value in params.items())
    for item in (*given, *([f"epochs={epochs}"] if epochs and params["epochs"] else [])):
        name, equals, text = item.partition("=")
        if not equals or name not in params:
            raise InvalidInput(f"'{item}' sets no parameter of '{task.name}'.", f"It has: {known}")
        params[name] = value_of(name, text, params[name])
    if params["epochs"] and not task.defaults(data)["epochs"]:
        raise InvalidInput(f"'{task.name}' is not trained: its epochs are 0.", "Leave epochs out.")
    return params


_KINDS = {int: "a whole number", float: "a number", bool: "true or false"}


def value_of(name: str, text: str, default: Any) -> Any:
    """``text`` as a value of the kind that the parameter's default is.

    Raises:
        InvalidInput: it is none, or below what makes sense.
    """
    kind = type(default)
    try:
        value = {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise InvalidInput(f"{name} must be {_KINDS.get(kind, kind.__name__)}, like {default}; got '{text}'.") from None
    least = 1 if kind is int and default > 0 else 0
    if kind in (int, float) and not least <= value < float("inf"):
        raise InvalidInput(f"{name} must be {least} or more; got '{text}'.")
    return value


def _report(task: Task, run: Run) -> None:
    """Ours beside the book's."""
    metrics = run.metrics
    sample = mark(run.read("params.json")["data"])
    names = list(dict.fromkeys([*task.book, task.metric]))
    rows = [
        (
            name,
            f"{metrics[name]:.4f}{sample}",
            f"{metrics['baseline']:.4f}" if name == task.metric and metrics["baseline"] is not None else None,
            task.book.get(name, task.shown or None),
        )
        for name in names
    ]
    print_table(("figure", "ours", "no skill", "book"), rows)
    click.echo(f"{metrics['epochs']} epochs in {metrics['seconds']:.1f} s → {run.path}\n")
