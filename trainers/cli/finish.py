"""Define the command ``bookserve finish``, which writes what a training left out."""

from __future__ import annotations

import os
from pathlib import Path

import click

from bookserve.cli.terminal import next_command, runs_option, silence_stderr
from bookserve.run import find_run


@click.command()
@click.argument("names", metavar="RUN...", nargs=-1, required=True)
@runs_option
def finish(names: tuple[str, ...], runs: Path) -> None:
    """Write the SavedModel of runs that were trained without TensorFlow.

    RUN is a task (its newest finished run), TASK/TIME, or the path of a run. No data set is needed. Figures are left as
    they are: if a run has none, but its model and its history, they are measured, which does need the data set.
    """
    found = [find_run(runs, name) for name in names]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with silence_stderr():
        from trainers.artifacts.finish import finish_run
    for run in found:
        finish_run(run, click.echo)
    next_command(f"bookserve export {found[-1].name} --runs {runs}")
