"""Export model files of other makers, compare the answers with their own, and write ``docs/import.md``.

python -m bench.importing.table run FOLDER...   export every file, and keep what came of it in results.json beside this
python -m bench.importing.table page [--check]  write the table from results.json; --check: only fail if it is old

Each folder is called as the version that wrote its files, such as ``tf-2.15`` or ``keras-1.2.2``. Beside a file
``<name>.h5`` (or another kind) lies ``<name>.npz``: the inputs ``x0``, ``x1``, … in the order of the model, and the
maker's answers ``y0``, ``y1``, …. The other scripts of this folder write such folders.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import click
import msgspec
import numpy as np

from bookserve.bundle import Bundle
from bookserve.errors import BookserveError
from bookserve.graph import Arrays, numpy_dtype

#: A larger difference, as a part of the largest value of the maker's answers, counts as wrong.
TOLERANCE = 1e-4
PAGE = Path(__file__).parents[2] / "docs" / "import.md"
RECORD = Path(__file__).with_name("results.json")
_MARKS = "<!-- table -->", "<!-- /table -->"


class Case(NamedTuple):
    """A model file, the version that wrote it, and the file of its inputs and answers."""

    maker: str
    path: Path
    answers: Path


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a file: the largest difference relative to the largest answer, or why it was refused.

    ``kind`` is the ending of its name, or ``SavedModel``. ``onnx`` says whether the bundle has an ONNX form.
    """

    maker: str
    file: str
    kind: str
    difference: float | None = None
    problem: str = ""
    onnx: bool = False

    @property
    def ok(self) -> bool:
        """Whether it was exported and answers as its maker does."""
        return not self.problem and self.difference is not None and self.difference <= TOLERANCE


def find_cases(folder: Path) -> Iterator[Case]:
    """All model files of a folder that have answers; SavedModels are directories."""
    for answers in sorted(folder.glob("*.npz")):
        for path in sorted(folder.glob(f"{answers.stem}*")):
            named = path.name.removesuffix(path.suffix) == answers.stem or path.name == answers.stem
            if named and path.suffix not in (".npz", ".json"):
                yield Case(folder.name, path, answers)
        if (weights := answers.with_suffix(".weights.h5")).is_file():
            yield Case(folder.name, weights.with_name(f"{answers.stem}.json"), answers)


def _shuffled(case: Case) -> bytes:
    return hashlib.sha256(f"{case.maker}/{case.path.name}".encode()).digest()


def run_case(case: Case, models: Path) -> Result:
    """Export a file as ``bookserve export`` does, and compare the answers of all its forms with the maker's."""
    from export.sources.source import find_source
    from export.write import write_bundle

    name = f"{case.maker}-{case.path.name}".replace(".", "_")
    kind = "SavedModel" if case.path.is_dir() else case.path.suffix
    weights = case.answers.with_suffix(".weights.h5") if kind == ".json" else None
    kind = ".json and weights" if weights else kind
    config = _config(case, models)
    try:
        bundle = write_bundle(find_source(str(case.path), models, name, config, weights), models).bundle
        difference = max(compare(answers, case.answers) for answers in answers_of(bundle, case.answers))
    except (BookserveError, ValueError) as error:
        problem = str(error).replace(f"{case.path.parent}/", "")
        return Result(case.maker, case.path.name, kind, problem=problem)
    except Exception as error:  # a crash is a result, too
        return Result(case.maker, case.path.name, kind, problem=f"it crashed: {type(error).__name__}: {error}")
    rounded = float(f"{difference:.1e}") if np.isfinite(difference) else None
    problem = "" if np.isfinite(difference) else "answers NaN or infinity where its maker does not"
    return Result(case.maker, case.path.name, kind, rounded, problem, bundle.graph()[1].onnx is not None)


def _config(case: Case, models: Path) -> Path | None:
    """Theano mirrors the kernels of convolutions, and a file of Keras 1 does not say that Theano computed it."""
    if not case.maker.endswith("-theano"):
        return None
    models.mkdir(parents=True, exist_ok=True)
    config = models / "theano.toml"
    config.write_text('backend = "theano"\n', "utf-8")
    return config


def answers_of(bundle: Bundle, answers: Path) -> Iterator[list[np.ndarray]]:
    """The outputs of each served form, in the model's order of outputs."""
    from bookserve.runtime import open_session
    from export.sources.saved_model import SavedModel

    name, graph = bundle.graph()
    rows = _arrays(answers, "x")
    feeds: Arrays = {
        tensor: _texts(array) if spec.dtype == "string" else np.asarray(array, numpy_dtype(spec.dtype))
        for (tensor, spec), array in zip(graph.inputs.items(), rows, strict=True)
    }
    if graph.onnx:
        found = open_session(bundle.path / graph.onnx).run(feeds)
        yield [found[tensor] for tensor in graph.outputs]
    if (bundle.path / "saved_model.pb").is_file():
        found = SavedModel(bundle.path).run(name, feeds)
        yield [found[tensor] for tensor in graph.outputs]


def _texts(array: np.ndarray) -> np.ndarray:
    """Strings as sessions take them: bytes."""
    found = np.empty(array.shape, object)
    found.flat[:] = [item if isinstance(item, bytes) else str(item).encode() for item in array.ravel()]
    return found


def compare(found: list[np.ndarray], answers: Path) -> float:
    """The largest difference of any output, as a part of the largest value of the maker's answers; texts must be equal.

    Raises:
        ValueError: there are other outputs than the maker's, or of other shapes.
    """
    wanted = _arrays(answers, "y")
    if len(found) != len(wanted):
        raise ValueError(f"it has {len(found)} outputs, the maker's model {len(wanted)}")
    return max(map(_difference, found, wanted), default=0.0)


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    if one.shape != other.shape:
        raise ValueError(f"the answer has shape {one.shape}, the maker's {other.shape}")
    if other.dtype.kind in "SUO":
        texts = [value.decode() if isinstance(value, bytes) else str(value) for value in one.ravel()]
        return 0.0 if texts == [str(value) for value in other.ravel()] else float("inf")
    largest = max(float(np.abs(np.float64(other)).max(initial=0)), 1e-30)
    difference = float(np.abs(np.float64(one) - np.float64(other)).max(initial=0)) / largest
    return difference if np.isfinite(difference) else float("inf")


def _arrays(path: Path, letter: str) -> list[np.ndarray]:
    """The arrays ``x0``, ``x1``, … of a file; an array called ``x`` is the only one."""
    with np.load(path, allow_pickle=False) as given:
        keys = [key for key in given.files if key.startswith(letter)]
        return [given[key] for key in sorted(keys, key=lambda key: int(key[1:] or 0))]


def table(results: list[Result]) -> str:
    """The results as a table in Markdown: a row for each maker and kind of file, then what was refused or differs."""
    groups: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        groups[result.maker, result.kind].append(result)
    lines = ["| maker | kind | files | equal | as ONNX | worst difference |", "|---|---|---:|---:|---:|---:|"]
    for (maker, kind), group in sorted(groups.items()):
        good = [result for result in group if result.ok]
        worst = max((result.difference or 0.0 for result in good), default=0.0)
        onnx = sum(result.onnx for result in good)
        lines.append(f"| {maker} | {kind} | {len(group)} | {len(good)} | {onnx} | {worst:.0e} |")
    wrong = [result for result in results if not result.ok]
    equal = len(results) - len(wrong)
    share = equal / max(1, len(results))
    lines += [
        "",
        f"**{equal} of {len(results)} files give their maker's answers ({share:.1%}).**",
    ]
    if wrong:
        lines += ["The others:", ""]
        lines += [f"- {r.maker}, `{r.file}`: {r.problem or f'differs by {r.difference:.0e}'}" for r in wrong]
    without = [result for result in results if result.ok and not result.onnx]
    if without:
        named = ", ".join(f"{r.maker} `{r.file}`" for r in without)
        lines += ["", f"Without an ONNX form, these run on TensorFlow only: {named}."]
    return "\n".join(lines) + "\n"


def read_record() -> list[Result]:
    """What ``run`` kept."""
    return msgspec.json.decode(RECORD.read_bytes(), type=list[Result]) if RECORD.is_file() else []


def write_record(results: Iterable[Result]) -> None:
    """Keep results, one a line, in the order of makers and files."""
    rows = sorted(results, key=lambda result: (result.maker, result.kind, result.file))
    lines = ",\n".join(json.dumps(msgspec.to_builtins(row), ensure_ascii=False) for row in rows)
    RECORD.write_text(f"[\n{lines}\n]\n", "utf-8")


def page() -> str:
    """The text of ``docs/import.md`` with the table of what is kept."""
    before, _, rest = PAGE.read_text("utf-8").partition(_MARKS[0])
    return before + _MARKS[0] + "\n" + table(read_record()) + _MARKS[1] + rest.partition(_MARKS[1])[2]


@click.group()
def main() -> None:
    """Export model files of other makers, and write the table of docs/import.md."""


@main.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--models", required=True, type=click.Path(path_type=Path), help="Folder for the bundles.")
@click.option("--only", default="", help="Part of the names of files.")
@click.option("--again", is_flag=True, help="Also files that are known to be equal.")
def run(folders: tuple[Path, ...], models: Path, only: str, again: bool) -> None:
    """Export all files of FOLDERS, one of each in turn, and keep what came of them.

    The files of a folder are taken in an order that has nothing to do with their names, so that what was tried is a
    fair sample whenever it stops.
    """
    kept = {(result.maker, result.file): result for result in read_record()}
    turns = zip_longest(*(sorted(find_cases(folder), key=_shuffled) for folder in folders))
    for case in (case for turn in turns for case in turn if case and only in case.path.name):
        known = kept.get((case.maker, case.path.name))
        if known and known.ok and not again:
            continue
        start = time.perf_counter()
        result = kept[case.maker, case.path.name] = run_case(case, models)
        write_record(kept.values())
        said = result.problem or f"{result.difference:.1e}{'' if result.onnx else ', no ONNX'}"
        seconds = time.perf_counter() - start
        click.echo(f"{'ok ' if result.ok else 'NO '} {result.maker}/{result.file}: {said} ({seconds:.0f} s)")


@main.command("page")
@click.option("--check", is_flag=True, help="Write nothing; fail if the table is out of date.")
def write_page(check: bool) -> None:
    """Write the table into docs/import.md."""
    text = page()
    if check and text != PAGE.read_text("utf-8"):
        raise click.ClickException("docs/import.md is out of date: python -m bench.importing.table page")
    if not check:
        PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
