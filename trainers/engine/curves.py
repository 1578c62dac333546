"""Write the figures after each epoch as ``history.csv``, and as a plot like the book's ``plot(history)``."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

History = Mapping[str, list[float]]


def write_history_csv(folder: Path, history: History) -> None:
    """Write ``history.csv`` with a line per epoch and a column per figure; atomically."""
    partial = folder / ".history.csv"
    with partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["epoch", *history])
        table.writerows(zip(_epochs(history), *history.values(), strict=True))
    partial.replace(folder / "history.csv")


def write_history_plot(folder: Path, history: History) -> None:
    """Write ``history.png`` with a panel per figure: points for training, a line for validation."""
    from matplotlib.figure import Figure

    names = [name for name in history if not name.startswith("val_")]
    if not names:
        return
    figure = Figure(figsize=(6, 1 + 2 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for panel, name in zip(panels, names, strict=True):
        panel.plot(_epochs(history), history[name], "o", label="training")
        if f"val_{name}" in history:
            panel.plot(_epochs(history), history[f"val_{name}"], "-", label="validation")
        panel.set_ylabel(name)
        panel.grid(alpha=0.3)
    panels[0].legend()
    panels[-1].set_xlabel("epoch")
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(folder / "history.png", dpi=100)


def _epochs(history: History) -> range:
    return range(1, len(next(iter(history.values()), [])) + 1)
