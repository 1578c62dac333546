"""Checkpoint: the state of a training after a whole epoch, in the one file ``checkpoint/epoch.npz`` of its run."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
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


def save(run: Run, model: keras.Model, progress: Progress) -> None:
    """Write every variable of the model and its optimizer, random generators included; whole or not at all."""
    folder = run.path / "checkpoint"
    folder.mkdir(exist_ok=True)
    arrays = {f"{index:05}": np.asarray(variable) for index, variable in enumerate(_variables(model))}
    partial = folder / ".epoch.npz"
    np.savez(partial, **arrays, progress=np.array(json.dumps(vars(progress))), allow_pickle=False)
    partial.replace(folder / "epoch.npz")


def load(run: Run, model: keras.Model) -> Progress:
    """Put the last checkpoint of ``run`` into a freshly built model; where there is none, nothing was done yet.

    Raises:
        Failed: the file is damaged, or belongs to a model of another form.
    """
    path = run.path / "checkpoint" / "epoch.npz"
    if not path.exists():
        return Progress()
    model.optimizer.build(model.trainable_variables)
    variables = _variables(model)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            progress = Progress(**json.loads(str(arrays["progress"])))
            for index, variable in enumerate(variables):
                variable.assign(arrays[f"{index:05}"])
    except Exception as error:  # a damaged zip or another model's arrays raise many kinds; each means the same here
        raise Failed(f"{path} cannot be continued from: {error}.", "Train again without --resume.") from error
    return progress


def remove(run: Run) -> None:
    """Delete the checkpoint of a run that has come to its end."""
    shutil.rmtree(run.path / "checkpoint", ignore_errors=True)


def _variables(model: keras.Model) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]
