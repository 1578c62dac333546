"""Prepare weather: windows of past weather, and the temperature a day after each window (section 6.3).

All times are in hours, so that the same task takes rows of ten minutes, of an hour, or of any other distance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bookserve.errors import InvalidInput
from bookserve.steps import Numbers, Scale, Standardise, Unit
from bookserve.verb import Predict
from trainers.datasets import jena
from trainers.datasets.arrays import TrainingArrays, Windows
from trainers.datasets.dataset import Kind
from trainers.datasets.jena import TEMPERATURE
from trainers.preparation import baseline
from trainers.task import Data, Params

if TYPE_CHECKING:
    import keras

#: Parameters that every climate task has. ``weather``: a CSV file, instead of the book's data; ``minutes``: the time
#: between its rows, if it has no dates. The rest is listing 6.33, where rows of ten minutes are counted (1440, 6, 144):
#: a window has a row every ``step_hours`` of the last ``lookback_hours``; the answer follows ``delay_hours`` later.
PARAMS: dict[str, Any] = {
    "weather": "",
    "minutes": 0,
    "lookback_hours": 240.0,
    "step_hours": 1.0,
    "delay_hours": 24.0,
}

#: Figures that are shown beside the book's: errors in °C, and those of predicting the last temperature again.
CELSIUS = ("val_celsius", "naive_val_celsius", "test_celsius", "naive_test_celsius")

#: The ends of the training and the validation rows, as shares of the table: rows 200,000 and 300,000 (listing 6.34).
_ENDS = (200_000 / 420_551, 300_000 / 420_551)


def weather_windows(kind: Kind, params: Params) -> Data:
    """Windows of ``lookback_hours`` (a row every ``step_hours``), and the temperature ``delay_hours`` after the window.

    The graph's input is ``weather`` float32 [batch, rows, columns], standardised; which columns there are, the data
    decides. Its output is ``temperature`` float32 [batch, 1], also standardised; the verb converts it to °C. Mean and
    standard deviation are those of the training rows. No window crosses a break in time.

    Raises:
        InvalidInput: a time is not a whole number of rows, or the table is too short for such windows.
    """
    weather = jena.load(kind, params["weather"], params["minutes"])
    table, columns, place = weather.table, weather.columns, weather.columns.index(TEMPERATURE)
    window = _Window.of(params, weather.minutes)
    train_end, validation_end = (round(share * len(table)) for share in _ENDS)
    mean, deviation = (getattr(table[:train_end].astype(np.float64), name)(axis=0) for name in ("mean", "std"))
    deviation[deviation == 0] = 1  # a column that never changes
    standardise = Standardise(tuple(mean.tolist()), tuple(deviation.tolist()))
    verb = Predict(
        inputs={"weather": (Numbers("float32", (len(window.offsets), len(columns)), columns), standardise)},
        outputs={"temperature": (Scale(float(deviation[place]), float(mean[place])), Unit("degC"))},
    )
    standardised = standardise(table)
    targets = ((table[:, place] - mean[place]) / deviation[place]).astype(np.float32)

    def windows_between(name: str, start: int, end: int) -> TrainingArrays:
        """All windows that, with their targets, lie between the rows ``start`` and ``end`` and have no break."""
        starts = np.arange(start, max(start, end - window.rows - window.delay))
        ends = starts + window.rows - 1 + window.delay
        unbroken = weather.stretch[starts] == weather.stretch[ends]
        if not unbroken.any():
            raise InvalidInput(
                f"the {end - start:,} {name} rows have no window of {window.rows:,} rows with its answer "
                f"{window.delay:,} rows later.",
                "Give a longer series, or shorter windows, such as: -p lookback_hours=48",
            )
        return TrainingArrays(Windows(standardised, starts[unbroken], window.offsets), targets[ends[unbroken]][:, None])

    train = windows_between("training", 0, train_end)
    validation = windows_between("validation", train_end, validation_end)
    test = windows_between("test", validation_end, len(table))
    shown = _windows_of(validation).starts[: 16 * 100 : 100]
    rows = Windows(table, shown, window.offsets)[np.arange(len(shown))]
    return Data(
        verb=verb,
        about=f"{weather.about}. {window.describe(weather.minutes)}",
        train=train,
        validation=validation,
        test=test,
        example_rows=rows,
        example_feeds={"serving_default": verb.encode(rows)},
        baseline=baseline.median_error(np.asarray(train.y), np.asarray(validation.y)),
    )


def weather_input(data: Data) -> keras.KerasTensor:
    """The network's input ``weather`` [batch, rows, columns], as the data has it."""
    import keras

    return keras.Input(_numbers(data).shape, name="weather")


def temperature_column(data: Data) -> int:
    """The place of the temperature among the columns of the input."""
    return (_numbers(data).columns or ()).index(TEMPERATURE)


def errors_in_celsius(model: keras.Model, data: Data, params: Params) -> dict[str, float]:
    """The mean absolute errors on validation and test rows in °C, beside those of the common-sense baseline.

    ``val_mae`` is the validation error before it is scaled. The baseline (``naive_…``) predicts that the temperature
    will be what it was in the last row of the window (section 6.3.3).
    """
    from trainers.engine.batches import evaluate

    if not (data.validation and data.test and isinstance(data.verb, Predict)):
        raise TypeError("a climate task needs validation and test rows and the verb predict")
    scale = data.verb.outputs["temperature"][0]
    if not isinstance(scale, Scale):
        raise TypeError("the temperature of a climate task is scaled to °C")
    figures = {}
    for name, arrays in (("val", data.validation), ("test", data.test)):
        error = evaluate(model, arrays, params["batch_size"])["loss"]
        if name == "val":
            figures["val_mae"] = error
        windows = _windows_of(arrays)
        last = windows.table[windows.starts + windows.offsets[-1], temperature_column(data)]
        naive = np.abs(last - np.asarray(arrays.y)[:, 0]).mean(dtype=np.float64)
        figures |= {f"{name}_celsius": error * scale.factor, f"naive_{name}_celsius": float(naive) * scale.factor}
    return figures


def _numbers(data: Data) -> Numbers:
    numbers = data.verb.inputs["weather"][0] if isinstance(data.verb, Predict) else None
    if not isinstance(numbers, Numbers):
        raise TypeError("the rows of a climate task are numbers")
    return numbers


def _windows_of(arrays: TrainingArrays) -> Windows:
    if not isinstance(arrays.x, Windows):
        raise TypeError("the inputs of a climate task are windows")
    return arrays.x


class _Window(NamedTuple):
    """Which rows a window takes."""

    #: Rows that it spans, rows from its last row to the answer, and rows between two rows that it takes.
    rows: int
    delay: int
    step: int

    @classmethod
    def of(cls, params: Params, minutes: int) -> _Window:
        """The window that ``params`` ask for, if rows are ``minutes`` apart.

        A ``step_hours`` shorter than that becomes one row: finer rows are not there.
        """
        if "lookback_hours" not in params:
            raise InvalidInput(
                "this training was started by an earlier version, which counted lookback, step and delay in rows.",
                "Start it again; times are now given in hours: lookback_hours, step_hours, delay_hours.",
            )
        step = 1 if 0 < params["step_hours"] * 60 < minutes else _count_rows(params, "step_hours", minutes)
        rows = _count_rows(params, "lookback_hours", minutes)
        if rows < step:
            raise InvalidInput(
                f"lookback_hours is {params['lookback_hours']:g}, less than step_hours ({params['step_hours']:g})."
            )
        return cls(rows, _count_rows(params, "delay_hours", minutes), step)

    @property
    def offsets(self) -> np.ndarray:
        """The rows that the window takes, counted from its first: every ``step``-th, and always the last."""
        return np.arange(self.rows // self.step)[::-1] * -self.step + self.rows - 1

    def describe(self, minutes: int) -> str:
        """Say in a sentence what a raw row of the model is, and what the answer."""
        return (
            f"One row for the model is a window of {len(self.offsets):,} readings of all columns, "
            f"{self.step * minutes:,} minutes apart, the latest last; the answer is the temperature in °C "
            f"{self.delay * minutes / 60:g} hours after the latest"
        )


def _count_rows(params: Params, name: str, minutes: int) -> int:
    """The number of rows in a time of ``params``, which must be a whole number and at least 1."""
    count = float(params[name]) * 60 / minutes
    if round(count) < 1 or abs(count - round(count)) > 1e-6 * count:
        raise InvalidInput(
            f"{name} is {params[name]:g}, but the rows of the weather are {minutes} minutes apart.",
            f"Give {name} as a multiple of {minutes / 60:g} hours.",
        )
    return round(count)
