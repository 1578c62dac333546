"""Write answers as cells of a table, as JSON, and to files."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

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


def write_answers(path: Path, names: list[str], answers: list[Answer]) -> None:
    """Write answers to ``path`` in the format of its suffix (one of ``SUFFIXES``).

    Raises:
        InvalidInput: the format cannot hold these answers.
        Failed: the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        content = json.dumps(plain_answers(answers), indent=1, ensure_ascii=False).encode() + b"\n"
    elif suffix == ".jsonl":
        content = b"".join(json.dumps(answer, ensure_ascii=False).encode() + b"\n" for answer in plain_answers(answers))
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


def _csv(names: list[str], answers: list[Answer]) -> bytes:
    """One line for each row: the name of its input, then for each output its numbers, or the best label and score."""
    lines = [{"input": name} | _flat(answer) for name, answer in zip(names, answers, strict=True)]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(dict.fromkeys(key for line in lines for key in line)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue().encode()


def _flat(answer: Answer) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for (name, value), (_, plain) in zip(answer.items(), plain_answers([answer])[0].items(), strict=True):
        if isinstance(value, list):
            cells |= {name: value[0].label, f"{name}_score": value[0].score}
        elif value.size == 1:
            cells[name] = np.ravel(plain).tolist()[0]
        else:
            cells |= {f"{name}_{index}": item for index, item in enumerate(np.ravel(plain).tolist())}
    return cells


def _numpy(suffix: str, answers: list[Answer]) -> bytes:
    """Stack the rows of each output. For labels, ``<output>`` holds the names and ``<output>_scores`` the scores."""
    arrays: dict[str, np.ndarray] = {}
    try:
        for name, first in answers[0].items():
            values = [answer[name] for answer in answers]
            if isinstance(first, list):
                arrays[name] = np.array([[item.label for item in value] for value in values])
                arrays[f"{name}_scores"] = np.array([[item.score for item in value] for value in values])
            elif first.dtype == object:
                arrays[name] = np.array([item[name] for item in plain_answers(answers)])
            else:
                arrays[name] = np.stack([np.asarray(value) for value in values])
    except ValueError as error:
        raise InvalidInput("the answers differ in shape and cannot form one array.", "Write them as JSON.") from error
    if suffix == ".npz":
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays, allow_pickle=False)
        return buffer.getvalue()
    if len(arrays) > 1:
        raise InvalidInput(f"an NPY file holds one array; these answers have {', '.join(arrays)}.", "Use .npz")
    return npy_bytes(next(iter(arrays.values())))
