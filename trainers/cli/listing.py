"""Define the commands that list tasks and runs: ``bookserve tasks`` and ``bookserve runs``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bookserve.cli.terminal import json_option, next_command, print_json, print_table, runs_option
from bookserve.run import Run, list_runs
from trainers import catalogue, results
from trainers.task import Task


@click.command()
@runs_option
@json_option
def tasks(runs: Path, as_json: bool) -> None:
    """List the models of the book, with its figures and ours."""
    listed = [_describe_task(task, runs) for task in catalogue.load_tasks()]
    if as_json:
        print_json(listed)
        return
    rows = [
        (task["name"], task["section"], task["verb"], task["dataset"], _format_figures(task["book"]) or task["shown"])
        + (
            (f"{task['metric']} {task['best']['figure']:.4g}{sample_mark(task['best']['data'])}",)
            if task["best"]
            else (None,)
        )
        for task in listed
    ]
    print_table(
        ("task", "section", "verb", "data", "book", "our best"), rows, optional=("our best", "data", "book", "verb")
    )
    next_command("bookserve train mnist_dense --data sample   (seconds, without a download)", "bookserve train TASK")


@click.command("runs")
@runs_option
@json_option
def runs(runs: Path, as_json: bool) -> None:
    """List the training runs."""
    found_runs = list(list_runs(runs))
    listed = [_describe_run(run) for run in found_runs]
    if as_json:
        print_json(listed)
        return
    rows = [
        (run["name"], run["data"], run["state"], run["epochs"], run["seconds"], _judged_by(found, run["data"]))
        for found, run in zip(found_runs, listed, strict=True)
    ]
    print_table(
        ("run", "data", "state", "epochs", "seconds", "figure"),
        rows,
        optional=("figure", "state", "data", "epochs", "seconds"),
    )
    finished = [run["name"] for run in listed if run["state"] == "finished"]
    if finished:
        next_command(f"bookserve export {finished[-1]} --runs {runs}")
    elif not listed:
        click.echo(f"There are no runs in {runs}. Make one with: bookserve train TASK")


def _describe_task(task: Task, runs: Path) -> dict[str, Any]:
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
        "best": results.best_result(task, runs),
        "params": task.defaults("real"),
    }


def _describe_run(run: Run) -> dict[str, Any]:
    metrics = run.metrics
    return {
        "name": run.name,
        "data": run.read("params.json")["data"],
        "state": "finished" if run.finished else "unfinished",
        "epochs": metrics.get("epochs"),
        "seconds": metrics.get("seconds"),
        "figures": run.figures,
    }


def _judged_by(run: Run, data: str) -> str | None:
    """The figure by which runs of the task are compared; all figures are in the JSON."""
    if not run.finished:
        return None
    figures, metric = run.figures, run.recipe.origin.metric
    return f"{metric} {figures[metric]:.4g}{sample_mark(data)}" if metric in figures else None


def _format_figures(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def sample_mark(data: str) -> str:
    """What is printed behind a figure to mark sample data."""
    return " (sample)" if data == "sample" else ""
