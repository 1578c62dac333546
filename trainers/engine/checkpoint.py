"""Save and restore the state of a training after each epoch, in the file ``checkpoint/epoch.npz`` of its run.

If the setting ``keep_best`` is on, ``checkpoint/best.npz`` holds the weights of the best epoch so far.
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

#: The values of each figure after each epoch, by the figure's name.
History = dict[str, list[float]]


@dataclass
class Progress:
    """How far a training has come: the number of complete epochs, their figures, and the seconds they took."""

    epochs: int = 0
    seconds: float = 0.0
    history: History = field(default_factory=dict)
    #: Whether early stopping has ended the training.
    stopped: bool = False


def save_checkpoint(run: Run, model: keras.Model, progress: Progress) -> None:
    """Write all variables of the model and its optimizers, including the state of random generators; atomically."""
    _write_variables(_path(run), _all_variables(model), progress=np.array(json.dumps(vars(progress))))


def load_checkpoint(run: Run, model: keras.Model) -> Progress:
    """Restore the last checkpoint of ``run`` into a newly built model. Without a checkpoint, Progress is at its start.

    Raises:
        Failed: the file is damaged, or is from a model with other variables.
    """
    path = _path(run)
    if not path.exists():
        return Progress()
    if not hasattr(model, "optimizers"):
        model.optimizer.build(model.trainable_variables)
    arrays = _read_variables(path, _all_variables(model))
    return Progress(**json.loads(str(arrays["progress"])))


def save_best_weights(run: Run, model: keras.Model) -> None:
    """Save the model's current weights as the best so far."""
    _write_variables(_path(run, "best"), model.variables)


def load_best_weights(run: Run, model: keras.Model) -> None:
    """Restore the best weights into ``model``, if any were saved."""
    if _path(run, "best").exists():
        _read_variables(_path(run, "best"), model.variables)


def remove_checkpoint(run: Run) -> None:
    """Delete the checkpoints of a finished run."""
    shutil.rmtree(run.path / "checkpoint", ignore_errors=True)


def _path(run: Run, name: str = "epoch") -> Path:
    return run.path / "checkpoint" / f"{name}.npz"


def _all_variables(model: keras.Model) -> list[keras.Variable]:
    """The variables of the model and of its optimizer, or of all ``optimizers`` if the model has several."""
    optimizers = getattr(model, "optimizers", None) or [model.optimizer]
    return [*model.variables, *(variable for optimizer in optimizers for variable in optimizer.variables)]


def _write_variables(path: Path, variables: Sequence[keras.Variable], **more: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    arrays = {f"{index:05}": np.asarray(variable) for index, variable in enumerate(variables)}
    partial = path.with_name(f".{path.name}")
    np.savez(partial, **arrays, **more, allow_pickle=False)
    partial.replace(path)


def _read_variables(path: Path, variables: Sequence[keras.Variable]) -> dict[str, np.ndarray]:
    """Assign the arrays in the file to the variables, and return its other arrays by name."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            for index, variable in enumerate(variables):
                variable.assign(arrays[f"{index:05}"])
            return {name: arrays[name] for name in arrays.files if not name.isdecimal()}
    except Exception as error:  # damaged zip files and other models' arrays raise many types of errors
        raise Failed(f"{path} cannot be resumed from: {error}.", "Train again without --resume.") from error
