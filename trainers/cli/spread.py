"""Train tasks on the nodes of a Ray cluster, and collect their runs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bookserve.cli.on_node import Written, run_command, unpack
from bookserve.cluster import Cluster, Node
from bookserve.errors import BookserveError, Failed
from bookserve.run import Run, create_run, latest_run
from trainers.task import Task


def train_on_cluster(
    tasks: Sequence[Task],
    parameter_sets: Sequence[Mapping[str, Any]],
    runs: Path,
    report: Callable[[Task, Run], None],
) -> None:
    """Train each task on some node; its run is then in ``runs``. A training whose node dies begins anew on another.

    Each node trains one task at a time, or one on each GPU. Data, and files that parameters name, must be there.

    Args:
        parameter_sets: parameters of each task, with ``data`` and ``seed``.
        report: is called with each finished run.

    Raises:
        Failed: some trainings failed; the others are finished.
    """
    commands = [
        [*task.command(dict(params))[1:], "--runs", "{}"] for task, params in zip(tasks, parameter_sets, strict=True)
    ]
    failed: list[tuple[str, BookserveError]] = []
    with Cluster() as cluster:
        cpus, gpus = share_of_node(cluster.nodes, any(params["device"] != "cpu" for params in parameter_sets))
        click.echo(f"tasks: {len(tasks)}, nodes: {len(cluster.nodes)}")
        for number, result in cluster.each(run_command, commands, cpus, gpus):
            task = tasks[number]
            if isinstance(result, BookserveError):
                click.echo(f"error: {task.name}: {result}", err=True)
                failed.append((task.name, result))
                continue
            click.echo(f"{task.name}: {task.summary} (section {task.section}), trained on {result.host}")
            report(task, collect_run(result, runs, task.name))
    if failed and len(tasks) == 1:
        raise failed[0][1]
    if failed:
        names = ", ".join(name for name, _ in failed)
        raise Failed(f"{len(failed)} of {len(tasks)} trainings failed: {names}.", "The errors above say why.")


def share_of_node(nodes: Sequence[Node], may_use_gpu: bool) -> tuple[float, float]:
    """CPUs and GPUs of one training: one GPU where there are any, else all CPUs of the smallest node."""
    if may_use_gpu and any(node.gpus for node in nodes):
        return 1, 1
    return min(node.cpus for node in nodes), 0


def collect_run(written: Written, runs: Path, task: str) -> Run:
    """Write the run that a node sent to its place in ``runs``; it appears whole."""
    runs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".arriving-", dir=runs) as directory:
        unpack(written, Path(directory))
        arrived = latest_run(Path(directory), task)
        place = create_run(runs, task)
        place.path.rmdir()
        arrived.path.rename(place.path)
    return place
