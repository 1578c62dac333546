"""Write answers as cells of a table, as JSON, and to files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bookserve.client.answers import Answers, flat_answer
from bookserve.errors import Failed, InvalidInput
from bookserve.steps import Label
from bookserve.verb import Answer, plain_answers

#: File suffixes that ``write_answers`` accepts.
SUFFIXES = (".json", ".jsonl", ".csv", ".npy", ".npz")


def answer_cell(value: list[Label] | np.ndarray) -> str:
    """One output of one row as a short text for a table."""
    if isinstance(value, list):
        return ", ".join(f"{item.label} ({item.score:.3f})" for item in value)
    text = np.array2string(value, precision=4, separator=", ", threshold=12, edgeitems=3, max_line_width=10_000)
    return text.replace("\n", "")


def with_unit(name: str, units: Mapping[str, str]) -> str:
    """The name of an output as the head of a column, with its unit if it has one: ``price (thousand dollars)``."""
    return f"{name} ({units[name]})" if name in units else name


def json_line(answer: Answer) -> str:
    """The answer to one row as a line of JSON."""
    return json.dumps(plain_answers([answer])[0], ensure_ascii=False) + "\n"


def write_answers(path: Path, names: list[str], answers: Answers) -> None:
    """Write answers to ``path`` in the format of its suffix (one of ``SUFFIXES``).

    Raises:
        InvalidInput: the format cannot hold these answers.
        Failed: the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        content = json.dumps(plain_answers(answers), indent=1, ensure_ascii=False).encode() + b"\n"
    elif suffix == ".jsonl":
        content = "".join(map(json_line, answers)).encode()
    elif suffix == ".csv":
        content = _csv(names, answers)
    else:
        content = _numpy(suffix, answers)
    write_file(path, content)


def write_file(path: Path, content: bytes) -> None:
    """Write a file.

    Raises:
        Failed: it cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise Failed(f"{path} cannot be written: {error.strerror}.") from error


def npy_bytes(array: np.ndarray) -> bytes:
    """An array as the bytes of an NPY file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _csv(names: list[str], answers: Answers) -> bytes:
    """One line for each row: the name of its input, then for each output its numbers, or the best label and score."""
    lines = [
        {"input": name} | {with_unit(cell, answers.units): value for cell, value in flat_answer(answer).items()}
        for name, answer in zip(names, answers, strict=True)
    ]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(dict.fromkeys(key for line in lines for key in line)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue().encode()


def _numpy(suffix: str, answers: Answers) -> bytes:
    """The arrays of all outputs; an NPY file has the only one, or the probabilities of the only output with labels.

    NPZ: for labels, ``<output>`` holds the names and ``<output>_scores`` the scores, likeliest first;
    ``<output>_probabilities`` holds the scores in the order of ``<output>_classes``.
    """
    first = answers[0]
    labelled = [name for name, value in first.items() if isinstance(value, list)]
    if suffix == ".npz":
        arrays = answers.arrays()
        for name in labelled:
            arrays[f"{name}_classes"], arrays[f"{name}_probabilities"] = map(np.asarray, answers.probabilities(name))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays, allow_pickle=False)
        return buffer.getvalue()
    if len(first) > 1:
        raise InvalidInput(f"an NPY file holds one array; these answers have {', '.join(first)}.", "Use .npz")
    return npy_bytes(answers.probabilities()[1] if labelled else next(iter(answers.arrays().values())))
