"""The list of tasks is complete and fast to read, and suggests similar names for unknown ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import trainers
from bookserve.errors import NotFound
from trainers import catalogue

HEAVY = ("keras", "tensorflow", "sklearn", "matplotlib", "PIL", "scipy", "rich")


def test_every_file_of_a_chapter_is_a_task() -> None:
    files = {file.stem for file in Path(trainers.__file__).parent.glob("ch*/*.py")} - {"__init__"}
    tasks = list(catalogue.load_tasks())
    assert {task.name for task in tasks} == files
    sections = [[int(part) for part in task.section.split(".")] for task in tasks]
    assert sections == sorted(sections)
    names = [task.name for task in tasks]
    assert names[0] == "mnist_dense"
    assert names.index("imdb_lstm") < names.index("mnist_vae")


@pytest.mark.parametrize("name", catalogue.task_names())
def test_a_task_says_what_is_needed_to_train_and_compare_it(name: str) -> None:
    task = catalogue.find_task(name)
    assert task.section.startswith(str(int(task.chapter.removeprefix("ch"))))
    assert task.book or task.shown
    assert {"epochs", "batch_size"} <= task.params.keys()
    assert all(type(task.sample[key]) is type(task.params[key]) for key in task.sample if key in task.params)
    assert task.sample.keys() <= task.defaults("real").keys()
    assert not {"data", "seed"} & task.params.keys()  # params.json holds these beside the parameters


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys, trainers.cli.train; from trainers import catalogue; assert len(list(catalogue.load_tasks())) >= 4;"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_answered_with_the_close_ones() -> None:
    with pytest.raises(NotFound, match="mnist_convnet"):
        catalogue.find_task("mnist_convnt")
    with pytest.raises(NotFound, match="bookserve tasks"):
        catalogue.find_task("zzz")
