"""Define the command ``bookserve compare``: what was set differently in two runs, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bookserve.cli.terminal import json_option, next_command, print_json, print_table, runs_option
from bookserve.run import COUNTS, Run, find_run
from trainers import settings

#: What a figure measures, by the last part of its name.
_MEASURES = {
    "accuracy": "share of right answers",
    "loss": "what training makes small",
    "mae": "mean absolute error",
    "celsius": "mean error in °C",
}
#: On which rows, by the first part of its name; without one it is the rows that the model was trained on.
_ROWS = {
    "test": "on rows it never saw",
    "val": "on validation rows",
    "best_val": "on validation rows, at its best epoch",
    "cv": "mean over the folds",
    "naive_val": "of the simplest guess, on validation rows",
    "naive_test": "of the simplest guess, on rows it never saw",
}
#: Figures that have a name of their own.
_NAMED = {
    "parameters": "numbers that were learnt",
    "epochs": "passes over the training rows",
    "seconds": "time that training took",
    "baseline": "what a model without skill gets",
    "best_epoch": "epoch with the best validation figure",
}


@click.command()
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="RUN")
@runs_option
@json_option
def compare(first: str, second: str, runs: Path, as_json: bool) -> None:
    """Compare two runs: what was set differently, and which is better.

    RUN is a task (its newest finished run), TASK/TIME, or the path of a run. A figure that begins with test_ was
    measured on rows that the model never saw; val_ on rows that only decided when to stop; the others on the rows that
    it was trained on.
    """
    found = [find_run(runs, name) for name in (first, second)]
    described = [run.read("params.json") for run in found]
    measured = [{name: value for name, value in run.metrics.items() if name != "book"} for run in found]
    if as_json:
        rows = _pairs([{**one, **other} for one, other in zip(described, measured, strict=True)])
        print_json({"runs": [run.name for run in found], "values": {name: pair for name, *pair in rows}})
        return
    for letter, run in zip("AB", found, strict=True):
        origin = run.recipe.origin if run.finished else None
        about = f": {origin.summary}" if origin else ": not finished"
        sample = ", trained on sample data" if run.read("params.json").get("data") == "sample" else ""
        click.echo(f"{letter}  {run.name}{about}{sample}")
    click.echo()
    changed = [(name, a, b) for name, a, b in _pairs(described) if a != b]
    same = len(_pairs(described)) - len(changed)
    if changed:
        print_table(("set differently", "A", "B"), changed)
        click.echo(f"{same} other settings are the same.\n")
    else:
        click.echo(f"All {same} settings are the same.\n")
    metric = found[0].recipe.origin.metric if found[0].finished else ""
    order = sorted(_pairs(measured), key=lambda row: (row[0] != metric, row[0] in (*COUNTS, "baseline")))
    figures = [(name, a, b, _explained(name)) for name, a, b in order]
    if figures:
        print_table(("figure", "A", "B", "what it is"), figures)
        click.echo()
    if best := _better(found):
        click.echo(best)
    better = found[_best_index(found) or 0]
    if better.finished:
        next_command(f"bookserve export {better.name} --runs {runs}")


def _pairs(values: list[dict[str, Any]]) -> list[tuple[str, Any, Any]]:
    """Every name with its value in both runs, None where a run has none."""
    names = dict.fromkeys(name for each in values for name in each)
    return [(name, values[0].get(name), values[1].get(name)) for name in names]


def _explained(name: str) -> str:
    if name in _NAMED:
        return _NAMED[name]
    rows, _, measure = name.rpartition("_")
    if measure == "deviation":
        return "how much the folds differ"
    words = _MEASURES.get(measure, "")
    return f"{words}, {_ROWS.get(rows, 'on the training rows')}" if words and (not rows or rows in _ROWS) else ""


def _best_index(runs: list[Run]) -> int | None:
    """0 or 1 for the better of two finished runs of one task; None for other pairs, and for equal ones."""
    if runs[0].task != runs[1].task or not all(run.finished for run in runs):
        return None
    metric = runs[0].recipe.origin.metric
    if not all(metric in run.metrics for run in runs):
        return None
    one, other = (float(run.metrics[metric]) for run in runs)
    return None if one == other else int((one > other) is not settings.higher_is_better(metric))


def _better(runs: list[Run]) -> str:
    """Which of two runs is better, and by which figure; or why that cannot be said."""
    if runs[0].task != runs[1].task:
        return "They are runs of different tasks: their figures cannot be compared."
    if not all(run.finished for run in runs):
        return "A run that is not finished has no figures to compare."
    metric = runs[0].recipe.origin.metric
    best = _best_index(runs)
    if best is None:
        return f"Both have the same {metric}, by which runs of {runs[0].task} are judged."
    wanted = "higher" if settings.higher_is_better(metric) else "lower"
    return f"{'AB'[best]} is better: runs of {runs[0].task} are judged by {metric}, and {wanted} is better."
