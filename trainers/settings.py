"""Define the settings that every task has, and the decisions that depend on the figures of past epochs.

Each decision (early stopping, best epoch, learning rate) is a pure function of the figures after each epoch, so that a
resumed training decides like an uninterrupted one. Source: sections 4.2.1 (validation) and 7.2.1 (callbacks).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bookserve.errors import InvalidInput
from bookserve.run import Run

#: Default value and meaning of every setting.
SETTINGS: dict[str, tuple[Any, str]] = {
    "jit_compile": (
        False,
        "compile with XLA (always on with JAX); on a CPU this makes most recurrent and 1-D convolutional models faster",
    ),
    "device": ("auto", "cpu, cuda, cuda:N, or auto: a GPU if there is one"),
    "mixed_precision": (False, "compute in float16 on a GPU or bfloat16 on a CPU; weights and outputs stay float32"),
    "deterministic": (False, "make two runs with the same seed identical bit by bit; slower"),
    "distribute": ("", "train in several replicas: mirrored on one machine's devices, or multiworker"),
    "workers": (0, "number of replicas (mirrored) or processes (multiworker); 0: all GPUs, or as TF_CONFIG says"),
    "steps_per_epoch": (0, "batches per epoch; 0: one pass over all rows"),
    "hold_out": (0.0, "share of the training rows to validate on, for tasks without validation data"),
    "folds": (0, "number of folds of a K-fold validation before the final training; 0: no such validation"),
    "rounds": (1, "how many times K-fold validation is repeated, each time with other folds"),
    "fold_epochs": (0, "epochs of each fold; 0: as in the final training"),
    "fold_batch_size": (0, "batch size of each fold; 0: as in the final training"),
    "monitor": (
        "",
        "figure watched by patience, keep_best and plateau; empty: val_loss, or loss without validation data",
    ),
    "patience": (0, "stop after this many epochs without improvement; 0: never"),
    "keep_best": (False, "restore the weights of the best epoch at the end"),
    "plateau": (0, "lower the learning rate after this many epochs without improvement; 0: never"),
    "plateau_factor": (0.1, "factor by which the learning rate is multiplied on a plateau"),
    "histograms": (
        0,
        "every how many epochs to write histograms of the weights for TensorBoard, and word vectors; 0: never",
    ),
    "filters": (0, "for a convnet, draw the pattern of each filter in this many ascent steps (the book: 40); 0: no"),
    "samples_every": (0, "every how many epochs to show samples of a generative model; 0: only at the end"),
}
DEFAULTS: dict[str, Any] = {name: default for name, (default, _) in SETTINGS.items()}

History = Mapping[str, Sequence[float]]


def settings_of(run: Run) -> dict[str, Any]:
    """The parameters of a run; settings that were added after it was written have their default values."""
    return {**DEFAULTS, **run.read("params.json")}


def higher_is_better(figure: str) -> bool:
    """Whether larger values of the figure with that name are better."""
    return figure.endswith(("accuracy", "gain"))


def monitored_values(params: Mapping[str, Any], history: History) -> list[float]:
    """The watched figure after each epoch, negated if needed so that lower is better.

    Raises:
        InvalidInput: the training does not have this figure.
    """
    name = params["monitor"] or ("val_loss" if "val_loss" in history else "loss")
    if name not in history:
        raise InvalidInput(
            f"monitor is '{name}', a figure that this training does not have.", f"It has: {', '.join(history)}"
        )
    return [-value if higher_is_better(name) else value for value in history[name]]


def epochs_since_best(values: Sequence[float]) -> int:
    """Epochs since the first occurrence of the lowest value; 0 if it is the last value."""
    return len(values) - 1 - min(range(len(values)), key=values.__getitem__)


def lowers_learning_rate(values: Sequence[float], plateau: int) -> bool:
    """Whether the learning rate is lowered after the last of ``values`` (lower is better).

    That is ``plateau`` epochs after the best value, and again every ``plateau`` epochs without improvement.
    """
    best, waited, lowered = float("inf"), 0, False
    for value in values:
        lowered = False
        if value < best:
            best, waited = value, 0
        else:
            waited += 1
            if waited >= plateau:
                waited, lowered = 0, True
    return lowered
