"""Record runs on the book's data in ``results/<task>.json``, and write the tables and the plot of them.

python -m trainers.results record RUN...       write results/<task>.json from runs (directories)
                                               --label WORD: results/<task>.<WORD>.json, for other data or settings
python -m trainers.results table [--check]     write docs/results.md, its plot and the rows in README.md;
                                               --check: write nothing, fail if a table is out of date

A file holds runs of one command on one machine that differ only in their seeds. A run of another command or machine
starts the file anew. The figures that are shown are medians over the seeds, with their range.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from bookserve.errors import BookserveError, Failed, InvalidInput
from bookserve.run import Run, list_runs
from trainers import catalogue
from trainers.task import Task

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
README, PAGE, PLOT = ROOT / "README.md", ROOT / "docs" / "results.md", ROOT / "docs" / "pictures" / "results.png"
BEGIN, END = "<!-- results -->", "<!-- /results -->"
#: The figures that the README shows: from every part of the book, one that its readers remember.
README_FIGURES = {
    "boston_housing": "cv_mae",
    "mnist_convnet": "test_accuracy",
    "cats_dogs_finetuned": "test_accuracy",
    "imagenet_classifier": "elephant_probability",
    "imdb_lstm": "best_val_accuracy",
    "jena_gru": "best_val_loss",
}


#: Why a task has no figures.
UNMEASURED = {
    "imagenet_vgg16": "VGG16's weights are at hand only without their 1,000 classes. `imagenet_classifier` answers for "
    "the book's photo with MobileNetV2.",
}


class Seed(msgspec.Struct, frozen=True, kw_only=True):
    """What one run measured; ``seconds`` of training."""

    seed: int
    figures: dict[str, float]
    epochs: int
    seconds: float


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Content of ``results/<task>.json``."""

    task: str
    section: str
    #: What is different from the book's data and settings, in a word; '' if nothing is.
    label: str = ""
    #: ``real`` or ``generated``, what the data is, and its fingerprint (``trainers/datasets/fingerprint.py``).
    data: str
    about: str = ""
    data_sha256: str
    #: The command of the first seed.
    command: str
    device: str
    machine: str
    versions: dict[str, str]
    parameters: int
    book: dict[str, float]
    #: The figure by which runs are compared, for a model without skill.
    baseline: float | None = None
    #: Why a figure differs from the book's, in words; written by hand, and kept when another run is recorded.
    note: str = ""
    seeds: list[Seed]

    def values(self, figure: str) -> list[float]:
        """The figure of every seed, from the lowest to the highest; empty if it was not measured."""
        return sorted(seed.figures[figure] for seed in self.seeds if figure in seed.figures)

    def median(self, figure: str) -> float:
        """The median of the figure over the seeds."""
        return statistics.median(self.values(figure))


def read_result(task: str, results: Path = RESULTS, label: str = "") -> Result | None:
    """The recorded result of a task, on the book's data or that with a label; None if there is none."""
    path = _path(results, task, label)
    return msgspec.json.decode(path.read_bytes(), type=Result) if path.exists() else None


def _path(results: Path, task: str, label: str) -> Path:
    return results / (f"{task}.{label}.json" if label else f"{task}.json")


def best_result(task: Task, runs: Path) -> dict[str, Any] | None:
    """The best figure of ``task`` in ``runs`` and ``results/``; any run on real data beats those on sample data."""
    known = [
        {"figure": run.metrics[task.metric], "data": run.read("params.json")["data"], "run": run.name}
        for run in list_runs(runs, task.name)
        if task.metric in run.metrics and not _has_own_data(run)
    ]
    recorded = read_result(task.name, RESULTS)
    if recorded and recorded.values(task.metric):
        known.append({"figure": recorded.median(task.metric), "data": "real", "run": f"results/{task.name}.json"})
    sign = 1 if task.higher_is_better else -1
    return max(known, key=lambda run: (run["data"] == "real", sign * run["figure"]), default=None)


def _has_own_data(run: Run) -> bool:
    """Whether the run was trained on a file that the user gave, so that its figures cannot be compared with others."""
    params = run.read("params.json")
    return bool(params.get("text") or params.get("weather"))


def record_result(run: Run, results: Path = RESULTS, label: str = "") -> Path:
    """Add a finished run on real data to the file of its task and label; it replaces a run with the same seed.

    Raises:
        InvalidInput: the run is unfinished or too old, or did not use the book's data.
    """
    task = catalogue.find_task(run.task)
    params = run.read("params.json")
    if not run.finished or params["data"] != "real" or params.get("text"):
        raise InvalidInput(f"{run.name} is not a finished run on real data.", "Only such runs are recorded.")
    metrics, environment = run.metrics, run.read("environment.json")
    if "data_sha256" not in environment:
        raise InvalidInput(f"{run.name} does not say which data it used: it is too old.", "Train it again.")
    measured = Seed(
        seed=params["seed"],
        figures={name: round(value, 6) for name, value in run.figures.items()},
        epochs=metrics["epochs"],
        seconds=metrics["seconds"],
    )
    fresh = Result(
        task=task.name,
        section=task.section,
        label=label,
        data="generated" if task.dataset == "generated" else "real",
        about=environment.get("dataset", ""),
        data_sha256=environment["data_sha256"],
        command=environment["command"],
        device=", ".join(environment.get("devices", ["cpu"])),
        machine=f"{environment['cpus']} × {environment['cpu']}",
        versions=environment["versions"],
        parameters=metrics["parameters"],
        book=metrics["book"],
        baseline=metrics.get("baseline"),
        seeds=[measured],
    )
    known = read_result(task.name, results, label)
    if known:
        fresh = msgspec.structs.replace(fresh, note=known.note)
        if _without_seed(known) == _without_seed(fresh):
            others = [seed for seed in known.seeds if seed.seed != measured.seed]
            seeds = sorted([*others, measured], key=lambda seed: seed.seed)
            fresh = msgspec.structs.replace(fresh, seeds=seeds, command=min((known, fresh), key=_first_seed).command)
    results.mkdir(exist_ok=True)
    path = _path(results, task.name, label)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(fresh), indent=1) + b"\n")
    return path


def _first_seed(result: Result) -> int:
    return min(seed.seed for seed in result.seeds)


def _without_seed(result: Result) -> tuple[str, ...]:
    """What runs of one file have in common: the command apart from its seed, the device and the machine."""
    words = result.command.split()
    if "--seed" in words:
        place = words.index("--seed")
        del words[place : place + 2]
    return (*words, result.device, result.machine)


class Figure(msgspec.Struct, frozen=True):
    """A figure of a task, beside the book's (None if it prints none)."""

    task: Task
    name: str
    book: float | None
    result: Result | None

    @property
    def measured(self) -> Result | None:
        """The result, if this figure was measured."""
        return self.result if self.result and self.result.values(self.name) else None


def load_figures(results: Path = RESULTS) -> Iterator[Figure]:
    """The figures that the book prints, task by task; for a task without one, that by which its runs are compared."""
    for task in catalogue.load_tasks():
        for name in list(task.book) or [task.metric]:
            yield Figure(task, name, task.book.get(name), read_result(task.name, results))


def labelled_figures(results: Path = RESULTS) -> Iterator[Figure]:
    """The figures of all results with a label, in the order of the book's sections."""
    for task in catalogue.load_tasks():
        for path in sorted(results.glob(f"{task.name}.*.json")):
            label = path.name.removeprefix(f"{task.name}.").removesuffix(".json")
            for name in list(task.book) or [task.metric]:
                yield Figure(task, name, task.book.get(name), read_result(task.name, results, label))


_HEAD = "| task | section | figure | book | ours | range | data | device | epochs | seconds |\n" + "|---" * 10 + "|"


def results_table(figures: list[Figure]) -> str:
    """Figures as a Markdown table, one line each."""
    return "\n".join([_HEAD, *map(_table_line, figures)])


def _table_line(figure: Figure) -> str:
    task, result = figure.task, figure.measured
    book = f"{figure.book:.4g}" if figure.book is not None else task.shown or "–"
    name = f"`{task.name}`" + (f" {figure.result.label}" if figure.result else "").rstrip()
    cells = [name, task.section, figure.name, book]
    if not result:
        return "| " + " | ".join([*cells, *"––––––"]) + " |"
    values = result.values(figure.name)
    spread = f"{values[0]:.4g}–{values[-1]:.4g} ({len(values)} seeds)" if len(values) > 1 else "one seed"
    epochs, seconds = (
        statistics.median(getattr(seed, name) for seed in result.seeds) for name in ("epochs", "seconds")
    )
    cells += [f"{result.median(figure.name):.4g}", spread, result.data, _short_device(result), f"{epochs:.0f}"]
    return "| " + " | ".join([*cells, f"{seconds:.0f}"]) + " |"


def _short_device(result: Result) -> str:
    """``cpu``, or the GPU's name without its number."""
    return result.device.partition("(")[2].rstrip(")") or result.device


def shuffled_table(results: Path = RESULTS) -> str:
    """The tasks on generated data: what they reach, and what is left when one input is shuffled between the rows."""
    lines = ["| task | figure | ours | with an input shuffled | without skill |", "|---|---|---|---|---|"]
    for task in catalogue.load_tasks():
        result = read_result(task.name, results)
        if not result or result.data != "generated":
            continue
        prefix = f"{task.metric}_shuffled_"
        names = sorted(name for name in result.seeds[0].figures if name.startswith(prefix))
        shuffled = ", ".join(f"{name.removeprefix(prefix)}: {result.median(name):.3g}" for name in names)
        baseline = "–" if result.baseline is None else f"{result.baseline:.3g}"
        ours = f"{result.median(task.metric):.3g}"
        lines.append(f"| `{task.name}` | {task.metric} | {ours} | {shuffled or '–'} | {baseline} |")
    return "\n".join(lines)


def climate_table(results: Path = RESULTS) -> str:
    """The errors of the climate tasks in °C beside those of predicting the last temperature again (section 6.3.3)."""
    lines = [
        "| task | validation, °C | common sense | test, °C | common sense | epochs |",
        "|---|---|---|---|---|---|",
    ]
    for task in catalogue.load_tasks():
        for path in (_path(results, task.name, ""), *sorted(results.glob(f"{task.name}.*.json"))):
            label = path.name.removeprefix(task.name).removesuffix(".json").removeprefix(".")
            result = read_result(task.name, results, label)
            if not result or not result.values("val_celsius"):
                continue
            names = ("val_celsius", "naive_val_celsius", "test_celsius", "naive_test_celsius")
            errors = (f"{result.median(name):.2f}" for name in names)
            lines.append(f"| {' | '.join([f'`{task.name}` {label}'.rstrip(), *errors, str(result.seeds[0].epochs)])} |")
    return "\n".join(lines)


def notes(results: Path = RESULTS) -> str:
    """The notes of all results, and why others are missing, as a Markdown list."""
    known = {task.name: read_result(task.name, results) for task in catalogue.load_tasks()}
    notes = {name: result.note if result else UNMEASURED.get(name, "") for name, result in known.items()}
    return "\n".join(f"- `{name}`: {note}" for name, note in notes.items() if note)


def results_page(results: Path = RESULTS) -> str:
    """The page ``docs/results.md``."""
    figures = list(load_figures(results))
    measured = {figure.task.name: figure.measured.data for figure in figures if figure.measured}
    real = sum(data == "real" for data in measured.values())
    return f"""# Results

*This page is generated from `results/` by `python -m trainers.results table`. Each file there holds the command, the
seeds, the versions, the machine with its device, and a fingerprint of the data.*

{len(measured)} tasks have figures: {real} on real data, {len(measured) - real} on generated data, because the book
has only random arrays for those. A figure is the median over the seeds; the range is from the lowest to the highest.
A dash means that the figure has not been measured, for the reason that stands below the table.

![Ours beside the book's figures](pictures/results.png)

{results_table(figures)}

## Why a figure differs

{notes(results) or "No notes."}

## Weather in °C

Errors are mean absolute errors. Common sense predicts that the temperature will be as it is now. On the eight years the
order is the book's: recurrent networks beat common sense by 0.2 °C, dense layers and the convnet with a GRU do not, and
the convnet alone is far worse. On 2020 alone nothing beats it: the networks learn from winter and spring, and are asked
about summer and autumn.

{climate_table(results)}

## Other data and settings

{results_table(list(labelled_figures(results)))}

## Generated data

A model that learned nothing from an input answers as well when this input is shuffled between the rows. So each
figure on generated data stands beside the same model's figure with one input shuffled, and beside that of a model
without skill. Where the other input says part of the answer, more is left: two sentences are never both about a topic
if one of them is not.

{shuffled_table(results)}
"""


def draw_plot(path: Path, results: Path = RESULTS) -> None:
    """Write a PNG: ours (a dot, and a line for the range) beside the book's figures (a ring), in two panels."""
    from matplotlib.figure import Figure as Drawing

    known = [figure for figure in load_figures(results) if figure.book is not None and figure.measured]
    panels = [
        (
            "accuracy or probability: more is better",
            [one for one in known if one.name.endswith(("accuracy", "ability"))],
        ),
        ("error: less is better", [one for one in known if not one.name.endswith(("accuracy", "ability"))]),
    ]
    panels = [(title, rows) for title, rows in panels if rows]
    heights = [len(rows) + 1.5 for _, rows in panels]
    drawing = Drawing(figsize=(8, 0.28 * sum(heights) + 0.6), layout="constrained")
    axes = drawing.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axis, (title, rows) in zip(axes, panels, strict=True):
        for place, one in enumerate(reversed(rows)):
            values = one.result.values(one.name) if one.result else []
            axis.plot([values[0], values[-1]], [place, place], color="#1f77b4", linewidth=3, alpha=0.5)
            axis.plot(statistics.median(values), place, "o", color="#1f77b4", label=None if place else "ours")
            axis.plot(one.book, place, "o", color="#d62728", fillstyle="none", label=None if place else "the book")
        axis.set_yticks(range(len(rows)), [f"{one.task.name}: {one.name}" for one in reversed(rows)], fontsize=8)
        axis.set_ylim(-0.7, len(rows) - 0.3)
        axis.set_title(title, fontsize=9)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="best")
    drawing.savefig(path, dpi=110)


def _more_is_better(figure: Figure) -> bool:
    return figure.name.endswith(("accuracy", "probability"))


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
    """Record results on the book's data, and write the tables of them."""


@cli.command("record")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--label", default="", help="A word that says what is different from the book's data and settings.")
def record_(paths: tuple[Path, ...], label: str) -> None:
    """Write results/<task>.json from the runs in PATHS."""
    for path in paths:
        click.echo(record_result(Run(path.resolve()), label=label))


@cli.command("table")
@click.option("--check", is_flag=True, help="Write nothing; fail if a table is out of date.")
def table_(check: bool) -> None:
    """Write docs/results.md with its plot, and the README's few rows."""
    few = results_table([one for one in load_figures() if README_FIGURES.get(one.task.name) == one.name])
    documents = {README: insert_table(README.read_text("utf-8"), few), PAGE: results_page()}
    for path, text in documents.items():
        if check and not (path.exists() and path.read_text("utf-8") == text):
            raise Failed(f"the results in {path.name} are out of date.", "Run: python -m trainers.results table")
    if not check:
        for path, text in documents.items():
            path.write_text(text, "utf-8")
        draw_plot(PLOT)


if __name__ == "__main__":
    try:
        cli()
    except BookserveError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
