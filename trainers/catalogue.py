"""Catalogue: every task there is. The list of tasks is the list of files ``trainers/chNN/<name>.py``."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from collections.abc import Iterator
from pathlib import Path

from bookserve.errors import NotFound
from trainers.task import Task


def task_names() -> dict[str, str]:
    """Chapter folder of every task by name, in the order of the book's chapters."""
    files = sorted(Path(__file__).parent.glob("ch[0-9][0-9]/*.py"))
    return {file.stem: file.parent.name for file in files if not file.stem.startswith("_")}


def load_tasks() -> Iterator[Task]:
    """Every task, in the order of the book's sections."""
    return iter(sorted(map(find_task, task_names()), key=lambda task: [int(part) for part in task.section.split(".")]))


def find_task(name: str) -> Task:
    """The task of that name.

    Raises:
        NotFound: there is none; the hint names those that are spelled like it.
    """
    chapters = task_names()
    if name not in chapters:
        close = difflib.get_close_matches(name, chapters, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(close)}?" if close else "See them all with: bookserve tasks"
        raise NotFound(f"there is no task '{name}'.", hint)
    module = importlib.import_module(f"trainers.{chapters[name]}.{name}")
    task: Task = module.TASK
    return dataclasses.replace(task, name=name, chapter=chapters[name])
