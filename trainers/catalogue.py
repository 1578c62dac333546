"""Find and load tasks. The list of tasks is the list of files ``trainers/chNN/<name>.py``."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator
from pathlib import Path

from bookserve.errors import NotFound, did_you_mean
from trainers.task import Task


def task_names() -> dict[str, str]:
    """The chapter folder of every task, by the task's name, in the order of the book's chapters."""
    files = sorted(Path(__file__).parent.glob("ch[0-9][0-9]/*.py"))
    return {file.stem: file.parent.name for file in files if not file.stem.startswith("_")}


def load_tasks() -> Iterator[Task]:
    """Load every task, in the order of the book's sections."""
    return iter(sorted(map(find_task, task_names()), key=lambda task: [int(part) for part in task.section.split(".")]))


def find_task(name: str) -> Task:
    """Load the task called ``name``.

    Raises:
        NotFound: there is no such task; the hint gives tasks with a similar name.
    """
    chapters = task_names()
    if name not in chapters:
        hint = did_you_mean(name, chapters) or "List all tasks with: bookserve tasks"
        raise NotFound(f"there is no task '{name}'.", hint.strip())
    module = importlib.import_module(f"trainers.{chapters[name]}.{name}")
    task: Task = module.TASK
    return dataclasses.replace(task, name=name, chapter=chapters[name])
