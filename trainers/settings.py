"""Settings: the parameters that every task has beneath its own, and what they decide from the history so far.

Each decision is a pure function of the figures after each epoch, so a resumed training decides as an uninterrupted one.
Source: sections 4.2.1 (validation) and 7.2.1 (callbacks) of the book.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bookserve.errors import InvalidInput
from bookserve.run import Run

#: Every setting with its default, and what it means.
SETTINGS: dict[str, tuple[Any, str]] = {
    "jit_compile": (
        False,
        "compile with XLA, as JAX always does: on a CPU faster for most recurrent and 1-D convolutional models",
    ),
    "device": ("auto", "cpu, gpu, gpu:N, or auto: a GPU where there is one"),
    "mixed_precision": (False, "compute in float16 on a GPU, in bfloat16 on a CPU; weights and results stay float32"),
    "deterministic": (False, "let two runs of one seed give the same bits, which takes longer"),
    "distribute": ("", "train in several replicas: mirrored on one machine's devices, or multiworker"),
    "workers": (0, "replicas of mirrored, or processes of multiworker; 0: all GPUs, or what TF_CONFIG says"),
    "steps_per_epoch": (0, "batches an epoch; 0: as many as the rows make"),
    "hold_out": (0.0, "share of the training rows to validate on, where the task holds none out itself"),
    "folds": (0, "parts of K-fold validation before the final training; 0: none"),
    "rounds": (1, "how often K-fold validation is done, each time with other folds"),
    "fold_epochs": (0, "epochs of each fold; 0: as many as the final training"),
    "fold_batch_size": (0, "batch size of each fold; 0: that of the final training"),
    "monitor": ("", "figure that the next three watch; empty: val_loss, or loss without validation"),
    "patience": (0, "stop after so many epochs without a better figure; 0: never"),
    "keep_best": (False, "end with the weights of the best epoch"),
    "plateau": (0, "lower the learning rate after so many epochs without a better figure; 0: never"),
    "plateau_factor": (0.1, "what the learning rate is multiplied with on a plateau"),
    "histograms": (
        0,
        "write histograms of the weights for TensorBoard every so many epochs, and words as points; 0: never",
    ),
    "filters": (0, "of a convnet, draw what each filter answers to, by so many steps of ascent (the book: 40); 0: no"),
    "samples_every": (0, "show samples of a generative model every so many epochs; 0: only at the end"),
}
DEFAULTS: dict[str, Any] = {name: default for name, (default, _) in SETTINGS.items()}

History = Mapping[str, Sequence[float]]


def settings_of(run: Run) -> dict[str, Any]:
    """The parameters in force of a run; settings that are younger than it have their defaults."""
    return {**DEFAULTS, **run.read("params.json")}


def higher_is_better(figure: str) -> bool:
    """Whether a larger value of the figure of that name is the better one."""
    return figure.endswith(("accuracy", "gain"))


def monitored_values(params: Mapping[str, Any], history: History) -> list[float]:
    """The watched figure after each epoch, with its sign turned so that lower is better.

    Raises:
        InvalidInput: the training has no such figure.
    """
    name = params["monitor"] or ("val_loss" if "val_loss" in history else "loss")
    if name not in history:
        raise InvalidInput(
            f"monitor names '{name}', which this training does not have.", f"It has: {', '.join(history)}"
        )
    return [-value if higher_is_better(name) else value for value in history[name]]


def epochs_since_best(values: Sequence[float]) -> int:
    """Epochs since the best value; 0 where the last one is it."""
    return len(values) - 1 - min(range(len(values)), key=values.__getitem__)


def lowers_learning_rate(values: Sequence[float], plateau: int) -> bool:
    """Whether the learning rate is lowered after the last of ``values``: ``plateau`` epochs after the best, or the last
    lowering."""
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
