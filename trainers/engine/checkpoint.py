"""Checkpoint: the state of a training after a whole epoch, in the one file ``checkpoint/epoch.npz`` of its run.

Beside it, where a task keeps its best epoch, ``checkpoint/best.npz`` has the weights of that.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bookserve.errors import Failed
from bookserve.run import Run

if TYPE_CHECKING:
    import keras

#: By figure name, its value after each epoch.
History = dict[str, list[float]]


@dataclass
class Progress:
    """How far a training has come: whole epochs done, their figures, and the seconds they took."""

    epochs: int = 0
    seconds: float = 0.0
    history: History = field(default_factory=dict)
    #: Whether it came to an end before its last epoch because nothing got better.
    stopped: bool = False


def save_checkpoint(run: Run, model: keras.Model, progress: Progress) -> None:
    """Write every variable of the model and its optimizers, random generators included; whole or not at all."""
    _write_variables(_path(run), _all_variables(model), progress=np.array(json.dumps(vars(progress))))


def load_checkpoint(run: Run, model: keras.Model) -> Progress:
    """Put the last checkpoint of ``run`` into a freshly built model; where there is none, nothing was done yet.

    Raises:
        Failed: the file is damaged, or belongs to a model of another form.
    """
    path = _path(run)
    if not path.exists():
        return Progress()
    if not hasattr(model, "optimizers"):
        model.optimizer.build(model.trainable_variables)
    arrays = _read_variables(path, _all_variables(model))
    return Progress(**json.loads(str(arrays["progress"])))


def save_best_weights(run: Run, model: keras.Model) -> None:
    """Keep the model's present weights as the best so far."""
    _write_variables(_path(run, "best"), model.variables)


def load_best_weights(run: Run, model: keras.Model) -> None:
    """Put the best weights into ``model``, where an epoch left any."""
    if _path(run, "best").exists():
        _read_variables(_path(run, "best"), model.variables)


def remove_checkpoint(run: Run) -> None:
    """Delete the checkpoint of a run that has come to its end."""
    shutil.rmtree(run.path / "checkpoint", ignore_errors=True)


def _path(run: Run, name: str = "epoch") -> Path:
    return run.path / "checkpoint" / f"{name}.npz"


def _all_variables(model: keras.Model) -> list[keras.Variable]:
    """A model that trains two networks against each other has ``optimizers``; every other one has one."""
    optimizers = getattr(model, "optimizers", None) or [model.optimizer]
    return [*model.variables, *(variable for optimizer in optimizers for variable in optimizer.variables)]


def _write_variables(path: Path, variables: Sequence[keras.Variable], **more: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    arrays = {f"{index:05}": np.asarray(variable) for index, variable in enumerate(variables)}
    partial = path.with_name(f".{path.name}")
    np.savez(partial, **arrays, **more, allow_pickle=False)
    partial.replace(path)


def _read_variables(path: Path, variables: Sequence[keras.Variable]) -> dict[str, np.ndarray]:
    """Assign the arrays to the variables; what else the file holds is returned."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            for index, variable in enumerate(variables):
                variable.assign(arrays[f"{index:05}"])
            return {name: arrays[name] for name in arrays.files if not name.isdecimal()}
    except Exception as error:  # a damaged zip or another model's arrays raise many kinds; each means the same here
        raise Failed(f"{path} cannot be continued from: {error}.", "Train again without --resume.") from error
