"""Commands of the trainers' room: ``bookserve tasks``, ``train``, ``runs`` and ``compare``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bookserve import run as runs_
from bookserve.errors import InvalidInput
from bookserve.run import Run
from bookserve.terminal import hushed, json_option, print_json, print_table, runs_option
from trainers import catalogue, results
from trainers.data.source import Kind
from trainers.task import Task


@click.command()
@runs_option
@json_option
def tasks(runs: Path, as_json: bool) -> None:
    """List the models of the book and how ours compare."""
    listed = [_listed(task, runs) for task in catalogue.tasks()]
    if as_json:
        print_json(listed)
        return
    rows = [
        (task["name"], task["section"], task["verb"], task["dataset"], _figures(task["book"]) or task["shown"])
        + (
            (f"{task['metric']} {task['best']['figure']:.4g}{_mark(task['best']['data'])}",)
            if task["best"]
            else (None,)
        )
        for task in listed
    ]
    print_table(("task", "section", "verb", "data", "book", "our best"), rows)


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
@runs_option
@click.option("-p", "given", metavar="KEY=VALUE", multiple=True, help="Set a parameter of the task; repeatable.")
@click.option("--resume", is_flag=True, help="Continue the newest unfinished run, as it was begun.")
def train(
    names: tuple[str, ...],
    every: bool,
    data: Kind,
    epochs: int | None,
    seed: int,
    runs: Path,
    given: tuple[str, ...],
    resume: bool,
) -> None:
    """Train tasks of the book; each leaves a run.

    Shows Keras's progress bar on a terminal and a line an epoch otherwise, and ends with our figure beside the book's.
    """
    if bool(names) == every:
        raise click.UsageError("Name at least one task, or give --all (and no names).")
    if resume and any(_is_given(name) for name in ("data", "epochs", "seed", "given")):
        raise click.UsageError("--resume continues a run as it was begun: only --runs can be given with it.")
    chosen = list(catalogue.tasks()) if every else [catalogue.find(name) for name in names]
    settings = [parameters(task, data, given, epochs) for task in chosen]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with hushed():
        from trainers import training

        training.start_backend()
    bar = sys.stdout.isatty()
    for task, params in zip(chosen, settings, strict=True):
        click.echo(f"{task.name}: {task.summary} (section {task.section})")
        try:
            if resume:
                run = training.resume(task, runs, say=click.echo, bar=bar)
            else:
                run = training.begin(task, data, params, seed=seed, runs=runs, say=click.echo, bar=bar)
        except KeyboardInterrupt:
            click.echo(f"\nto continue: bookserve train {task.name} --runs {runs} --resume", err=True)
            raise
        _report(task, run)


@click.command("runs")
@runs_option
@json_option
def runs(runs: Path, as_json: bool) -> None:
    """List the runs that training left."""
    listed = [_summary(run) for run in runs_.scan(runs)]
    if as_json:
        print_json(listed)
        return
    rows = [
        (run["name"], run["data"], run["state"], run["epochs"], run["seconds"], _figures(run["figures"]))
        for run in listed
    ]
    print_table(("run", "data", "state", "epochs", "seconds", "figures"), rows)


@click.command()
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="RUN")
@runs_option
@json_option
def compare(first: str, second: str, runs: Path, as_json: bool) -> None:
    """Compare the parameters and figures of two runs.

    A RUN is a task (its newest finished run), TASK/TIME, or the path of a run.
    """
    found = [runs_.find(runs, name) for name in (first, second)]
    described = [
        {**run.read("params.json"), **{name: value for name, value in run.metrics.items() if name != "book"}}
        for run in found
    ]
    names = list(dict.fromkeys(name for values in described for name in values))
    rows = [(name, *(values.get(name) for values in described)) for name in names]
    if as_json:
        print_json({"runs": [run.name for run in found], "values": {name: pair for name, *pair in rows}})
        return
    different = [(name, a, b, "" if a == b else "≠") for name, a, b in rows]
    print_table(("", *(run.name for run in found), ""), different)


def _is_given(option: str) -> bool:
    """Whether the running command was given ``option``, even with its default value."""
    return click.get_current_context().get_parameter_source(option) is not ParameterSource.DEFAULT


def _listed(task: Task, runs: Path) -> dict[str, Any]:
    return {
        "name": task.name,
        "section": task.section,
        "listings": task.listings,
        "summary": task.summary,
        "verb": task.verb,
        "dataset": task.dataset,
        "book": task.book,
        "shown": task.shown,
        "metric": task.metric,
        "best": results.best(task, runs),
        "params": task.defaults("real"),
    }


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
    if params["epochs"] and not task.params["epochs"]:
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
    mark = _mark(run.read("params.json")["data"])
    names = list(dict.fromkeys([*task.book, task.metric]))
    rows = [
        (
            name,
            f"{metrics[name]:.4f}{mark}",
            f"{metrics['baseline']:.4f}" if name == task.metric and metrics["baseline"] is not None else None,
            task.book.get(name, task.shown or None),
        )
        for name in names
    ]
    print_table(("figure", "ours", "no skill", "book"), rows)
    click.echo(f"{metrics['epochs']} epochs in {metrics['seconds']:.1f} s → {run.path}\n")


def _summary(run: Run) -> dict[str, Any]:
    metrics = run.metrics
    return {
        "name": run.name,
        "data": run.read("params.json")["data"],
        "state": "finished" if run.finished else "unfinished",
        "epochs": metrics.get("epochs"),
        "seconds": metrics.get("seconds"),
        "figures": run.figures,
    }


def _figures(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def _mark(data: str) -> str:
    return " (sample)" if data == "sample" else ""
