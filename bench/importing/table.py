"""Export model files of other makers, compare the answers with their own, and write ``docs/import.md``.

``python -m bench.importing.table FOLDER…``, where each folder is called as the version that wrote its files, such as
``tf-2.15`` or ``keras-1.2.2``. Beside a file ``<name>.h5`` (or another kind) lies ``<name>.npz``: the inputs ``x0``,
``x1``, … in the order of the model, and the maker's answers ``y0``, ``y1``, …. ``keras1_files.py`` and
``keras2_files.py`` write such folders. ``HOSTILE`` in ``bench/importing/hostile.py`` lists what must be refused.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from bookserve.bundle import Bundle
from bookserve.errors import BookserveError
from bookserve.graph import Arrays, numpy_dtype

#: A larger difference, as a part of the largest value of the maker's answers, counts as wrong.
TOLERANCE = 1e-4
PAGE = Path(__file__).parents[2] / "docs" / "import.md"
_MARKS = "<!-- table -->", "<!-- /table -->"


class Case(NamedTuple):
    """A model file, the version that wrote it, and the file of its inputs and answers."""

    maker: str
    path: Path
    answers: Path


class Result(NamedTuple):
    """What became of a case: the largest difference relative to the largest answer, or why it was refused."""

    case: Case
    difference: float
    problem: str
    onnx: bool
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether it was exported and answers as its maker does."""
        return not self.problem and self.difference <= TOLERANCE


def find_cases(folder: Path) -> Iterator[Case]:
    """All model files of a folder that have answers; SavedModels are directories."""
    for answers in sorted(folder.glob("*.npz")):
        for path in sorted(folder.glob(f"{answers.stem}*")):
            named = path.name.removesuffix(path.suffix) == answers.stem or path.name == answers.stem
            if named and path.suffix not in (".npz", ".json"):
                yield Case(folder.name, path, answers)


def run_case(case: Case, models: Path) -> Result:
    """Export a file as ``bookserve export`` does, and compare the answers of all its forms with the maker's."""
    from export.sources.source import find_source
    from export.write import write_bundle

    start = time.perf_counter()
    name = f"{case.maker}-{case.path.name}".replace(".", "_")
    try:
        bundle = write_bundle(find_source(str(case.path), models, name), models).bundle
        difference = max(compare(answers, case.answers) for answers in answers_of(bundle, case.answers))
    except (BookserveError, ValueError) as error:
        return Result(case, float("inf"), str(error), False, time.perf_counter() - start)
    return Result(case, difference, "", bundle.graph()[1].onnx is not None, time.perf_counter() - start)


def answers_of(bundle: Bundle, answers: Path) -> Iterator[list[np.ndarray]]:
    """The outputs of the served form, in the model's order of outputs."""
    from bookserve.runtime import open_session
    from export.sources.saved_model import SavedModel

    name, graph = bundle.graph()
    with np.load(answers, allow_pickle=False) as given:
        rows = [given[key] for key in sorted(given.files, key=_order) if key.startswith("x")]
    feeds: Arrays = {
        tensor: np.asarray(array, numpy_dtype(spec.dtype))
        for (tensor, spec), array in zip(_in_order(bundle, graph.inputs), rows, strict=True)
    }
    outputs = [tensor for tensor, _ in _in_order(bundle, graph.outputs)]
    if graph.onnx:
        found = open_session(bundle.path / graph.onnx).run(feeds)
        yield [found[tensor] for tensor in outputs]
    if (bundle.path / "saved_model.pb").is_file():
        found = SavedModel(bundle.path).run(name, feeds)
        yield [found[tensor] for tensor in outputs]


def compare(found: list[np.ndarray], answers: Path) -> float:
    """The largest difference of any output, as a part of the largest value of the maker's answers."""
    with np.load(answers, allow_pickle=False) as given:
        wanted = [given[key] for key in sorted(given.files, key=_order) if key.startswith("y")]
    worst = 0.0
    for one, other in zip(_matched(found, wanted), wanted, strict=True):
        if one.shape != other.shape:
            raise ValueError(f"the answer has shape {one.shape}, the maker's {other.shape}")
        largest = max(float(np.abs(other).max(initial=0)), 1e-30)
        difference = float(np.abs(np.float64(one) - other).max(initial=0)) / largest
        worst = max(worst, difference if np.isfinite(difference) else float("inf"))
    return worst


def _matched(found: list[np.ndarray], wanted: list[np.ndarray]) -> list[np.ndarray]:
    if len(found) != len(wanted):
        raise ValueError(f"it has {len(found)} outputs, the maker's model {len(wanted)}")
    return found


def _in_order(bundle: Bundle, tensors: dict[str, object]) -> list[tuple[str, object]]:
    return list(tensors.items())


def _order(key: str) -> int:
    return int(key[1:]) if key[1:].isdigit() else 0


def table(results: list[Result]) -> str:
    """The results as a table in Markdown: a row for each maker and kind of file, then what was refused or differs."""
    groups: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        groups[result.case.maker, result.case.path.suffix or "SavedModel"].append(result)
    lines = ["| kind | maker | files | equal | as ONNX | worst difference |", "|---|---|---:|---:|---:|---:|"]
    for (maker, kind), group in sorted(groups.items()):
        good = [result for result in group if result.ok]
        worst = max((result.difference for result in good), default=0.0)
        onnx = sum(result.onnx for result in good)
        lines.append(f"| {kind} | {maker} | {len(group)} | {len(good)} | {onnx} | {worst:.0e} |")
    wrong = [result for result in results if not result.ok]
    equal = len(results) - len(wrong)
    lines += ["", f"{equal} of {len(results)} files give their maker's answers ({equal / max(1, len(results)):.1%})."]
    lines += [
        "",
        *(f"- {r.case.maker}, `{r.case.path.name}`: {r.problem or f'differs by {r.difference:.0e}'}" for r in wrong),
    ]
    return "\n".join(lines).rstrip() + "\n"


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--models", required=True, type=click.Path(path_type=Path), help="Folder for the bundles.")
@click.option("--only", default="", help="Part of the names of files.")
@click.option("--results", type=click.Path(path_type=Path), help="Also write every result to this file, as JSON.")
@click.option("--page/--no-page", default=True, help="Write the table into docs/import.md.")
def main(folders: tuple[Path, ...], models: Path, only: str, results: Path | None, page: bool) -> None:
    """Export all files of FOLDERS and write the table."""
    cases = [case for folder in folders for case in find_cases(folder) if only in case.path.name]
    done = []
    for case in cases:
        result = run_case(case, models)
        done.append(result)
        said = result.problem or f"{result.difference:.1e}{'' if result.onnx else ', no ONNX'}"
        click.echo(f"{'ok ' if result.ok else 'NO '} {case.maker}/{case.path.name}: {said} ({result.seconds:.0f} s)")
    if results:
        rows = [[r.case.maker, r.case.path.name, r.difference, r.problem, r.onnx] for r in done]
        results.write_text(json.dumps(rows, indent=1))
    if page:
        before, _, rest = PAGE.read_text("utf-8").partition(_MARKS[0])
        PAGE.write_text(before + _MARKS[0] + "\n" + table(done) + _MARKS[1] + rest.partition(_MARKS[1])[2], "utf-8")


if __name__ == "__main__":
    main()
