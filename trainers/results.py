"""Record the best run of each task on the book's data in ``results/<task>.json``, and write the README's table of them.

python -m trainers.results record RUN          write results/<task>.json from a run (a directory)
python -m trainers.results table [--check]     write the table into README.md; --check: fail if it is out of date
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from bookserve.errors import BookserveError, Failed, InvalidInput
from bookserve.run import COUNTS, Run, list_runs
from trainers import catalogue
from trainers.task import Task

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
BEGIN, END = "<!-- results -->", "<!-- /results -->"


def best_result(task: Task, runs: Path) -> dict[str, Any] | None:
    """The best figure of ``task`` in ``runs`` and ``results/``; any run on real data beats those on sample data."""
    known = [
        {"figure": run.metrics[task.metric], "data": run.read("params.json")["data"], "run": run.name}
        for run in list_runs(runs, task.name)
        if task.metric in run.metrics and not run.read("params.json").get("text")
    ]
    recorded = RESULTS / f"{task.name}.json"
    if recorded.exists():
        figures = msgspec.json.decode(recorded.read_bytes())["figures"]
        known.append({"figure": figures[task.metric], "data": "real", "run": f"results/{recorded.name}"})
    sign = 1 if task.higher_is_better else -1
    return max(known, key=lambda run: (run["data"] == "real", sign * run["figure"]), default=None)


def record_result(run: Run, results: Path = RESULTS) -> Path:
    """Write ``results/<task>.json`` from a finished run on real data: figures, command, machine and versions.

    Raises:
        InvalidInput: the run is unfinished, or did not use the book's data.
    """
    task = catalogue.find_task(run.task)
    params = run.read("params.json")
    if not run.finished or params["data"] != "real" or params.get("text"):
        raise InvalidInput(f"{run.name} is not a finished run on real data.", "Only such runs are recorded.")
    metrics, environment = run.metrics, run.read("environment.json")
    fields = {
        "task": task.name,
        "section": task.section,
        "book": metrics["book"],
        "figures": {name: round(value, 6) for name, value in run.figures.items()},
        **{name: metrics[name] for name in COUNTS},
        "seed": params["seed"],
        "command": environment["command"],
        "machine": f"{environment['cpus']} × {environment['cpu']}",
        "versions": environment["versions"],
    }
    results.mkdir(exist_ok=True)
    path = results / f"{task.name}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(fields), indent=1) + b"\n")
    return path


def results_table(results: Path = RESULTS) -> str:
    """The recorded results as a Markdown table, one line a figure."""
    lines = ["| task | section | figure | book | ours | epochs | seconds |", "|---|---|---|---|---|---|---|"]
    for task in catalogue.load_tasks():
        path = results / f"{task.name}.json"
        ours: dict[str, Any] = msgspec.json.decode(path.read_bytes()) if path.exists() else {}
        for name in list(task.book) or [task.metric]:
            figure = f"{ours['figures'][name]:.4g}" if ours else "–"
            book = f"{task.book[name]:.4g}" if name in task.book else task.shown or "–"
            took = f"{ours['epochs']} | {ours['seconds']:.0f}" if ours else "– | –"
            lines.append(f"| `{task.name}` | {task.section} | {name} | {book} | {figure} | {took} |")
    return "\n".join(lines)


def insert_table(readme: str, rows: str) -> str:
    """The document ``readme`` with ``rows`` between its two markers.

    Raises:
        Failed: a marker is missing.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise Failed(f"the document has no place for the results: {BEGIN} … {END}.", "Add these two markers to it.")
    return f"{before}{BEGIN}\n{rows}\n{END}{after}"


@click.group()
def cli() -> None:
    """Record results on the book's data, and write the README's table of them."""


@cli.command("record")
@click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path))
def record_(path: Path) -> None:
    """Write results/<task>.json from the run in PATH."""
    click.echo(record_result(Run(path.resolve())))


@cli.command("table")
@click.option("--check", is_flag=True, help="Write nothing; fail if the table is out of date.")
def table_(check: bool) -> None:
    """Write the table of results into README.md."""
    readme = ROOT / "README.md"
    old = readme.read_text("utf-8")
    new = insert_table(old, results_table())
    if check and new != old:
        raise Failed("the table of results in README.md is out of date.", "Run: python -m trainers.results table")
    readme.write_text(new, "utf-8")


if __name__ == "__main__":
    try:
        cli()
    except BookserveError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
