"""Windows of weather: they end where their answer's day begins, for rows of any distance and any columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bookserve.errors import InvalidInput
from bookserve.run import Run
from bookserve.steps import Numbers, Scale, Unit
from bookserve.verb import Predict
from trainers import catalogue
from trainers.datasets import jena
from trainers.datasets.arrays import Windows
from trainers.datasets.jena import COLUMNS, TEMPERATURE
from trainers.preparation.climate import CELSIUS, weather_windows
from trainers.task import Data

SHORT = {"minutes": 0, "lookback_hours": 24.0, "step_hours": 1.0, "delay_hours": 6.0}
FEW = ("p (mbar)", "T (degC)", "rh (%)", "VPmax (mbar)", "wv (m/s)")


def write_weather(path: Path, every: int = 1, columns: tuple[str, ...] = COLUMNS, gap: range = range(0)) -> str:
    """Write every so many rows of the sample to a file, without those in ``gap``; return its path."""
    table = jena.load("sample").table[:6000]
    dates = np.datetime64("2009-01-01T00:10:00") + np.arange(len(table)) * np.timedelta64(10, "m")
    places = [COLUMNS.index(name) for name in columns]
    lines = [",".join(["Date Time", *columns])]
    lines += [
        f"{dates[row]},{','.join(repr(float(table[row, place])) for place in places)}"
        for row in range(0, len(table), every)
        if row not in gap
    ]
    path.write_text("\n".join(lines))
    return str(path)


def prepare(weather: str, **changes: Any) -> Data:
    return weather_windows("real", {**SHORT, "weather": weather, **changes})


def numbers(data: Data) -> Numbers:
    assert isinstance(data.verb, Predict)
    (step, _) = data.verb.inputs["weather"]
    assert isinstance(step, Numbers)
    return step


def windows(data: Data) -> Windows:
    assert isinstance(data.train.x, Windows)
    return data.train.x


def answer(data: Data, index: int) -> float:
    """The temperature in °C that is the answer to a training window."""
    assert isinstance(data.verb, Predict)
    decoded = data.verb.decode({"temperature": np.asarray(data.train.y)[index : index + 1]})
    return float(decoded[0]["temperature"][0])  # type: ignore[arg-type]


def test_a_window_ends_where_its_answer_s_day_begins() -> None:
    task = catalogue.find_task("jena_gru")
    data = task.data("sample", task.defaults("sample"))
    table, place = jena.load("sample").table, COLUMNS.index(TEMPERATURE)
    assert isinstance(data.verb, Predict)
    for pairs, start in ((data.train, 0), (data.validation, round(len(table) * 200_000 / 420_551))):
        assert pairs
        for index in (0, 100, len(pairs) - 1):
            x, y = pairs.batch(np.array([index]))
            last = start + index + 288 - 1
            assert np.array_equal(x, data.verb.encode([table[last - 282 : last + 1 : 6]])["weather"])
            predicted = data.verb.decode({"temperature": np.asarray(y)})[0]["temperature"]
            assert float(predicted[0]) == pytest.approx(table[last + 144, place], abs=1e-3)  # type: ignore[arg-type]
    assert data.validation
    assert round(len(table) * 200_000 / 420_551) >= len(data.train) + 288 + 144  # no window looks past its part


def test_mean_and_deviation_come_from_training_rows_only() -> None:
    task = catalogue.find_task("jena_dense")
    data = task.data("sample", task.defaults("sample"))
    table = jena.load("sample").table
    seen = table[: round(len(table) * 200_000 / 420_551), COLUMNS.index(TEMPERATURE)]
    assert isinstance(data.verb, Predict)
    scale, unit = data.verb.outputs["temperature"]
    assert isinstance(scale, Scale)
    assert unit == Unit("degC")
    assert scale.factor == pytest.approx(seen.std(), rel=1e-4)
    assert scale.offset == pytest.approx(seen.mean(), rel=1e-4)


def test_hourly_rows_make_the_windows_that_rows_of_ten_minutes_make(tmp_path: Path) -> None:
    fine = prepare(write_weather(tmp_path / "fine.csv"))
    hourly = prepare(write_weather(tmp_path / "hourly.csv", every=6))
    table = jena.load("sample").table
    assert numbers(fine).shape == numbers(hourly).shape == (24, 14)
    assert len(fine.train) == pytest.approx(6 * len(hourly.train), abs=6)  # the split is in proportion
    for data, first in ((fine, 5), (hourly, 0)):  # the first window of ten-minute rows ends five rows later
        x, _ = data.train.batch(np.array([0]))
        assert isinstance(data.verb, Predict)
        rows = table[first : first + 6 * 24 : 6]
        np.testing.assert_array_equal(x, data.verb.encode(rows[None])["weather"])
        assert answer(data, 0) == pytest.approx(table[first + 6 * 23 + 36, 1], abs=1e-3)
    assert "24 readings of all columns, 60 minutes apart" in fine.about
    assert "24 readings of all columns, 60 minutes apart" in hourly.about
    assert "6 hours after the latest" in hourly.about


def test_rows_coarser_than_the_step_are_all_taken(tmp_path: Path) -> None:
    weather = write_weather(tmp_path / "hourly.csv", every=6)
    assert numbers(prepare(weather, step_hours=0.5)).shape == (24, 14)
    task = catalogue.find_task("jena_conv_gru")
    params = {**task.defaults("real"), "weather": weather}
    assert numbers(task.data("real", params)).shape == (120, 14)


def test_windows_of_odd_lengths_end_with_the_latest_row(tmp_path: Path) -> None:
    weather = write_weather(tmp_path / "hourly.csv", every=6)
    taken = windows(prepare(weather, lookback_hours=10.0, step_hours=4.0))
    assert taken.offsets.tolist() == [5, 9]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"delay_hours": 1.5}, "delay_hours is 1.5, but the rows of the weather are 60 minutes apart"),
        ({"delay_hours": 0.0}, "delay_hours is 0,"),
        ({"step_hours": 0.0}, "step_hours is 0,"),
        ({"lookback_hours": 2.0, "step_hours": 3.0}, "lookback_hours is 2, less than step_hours"),
        ({"lookback_hours": 240.0}, "validation rows have no window of 240 rows with its answer 6 rows later"),
    ],
)
def test_windows_that_cannot_be_are_refused(changes: dict[str, float], problem: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=problem):
        prepare(write_weather(tmp_path / "hourly.csv", every=6), **changes)


def test_a_training_of_an_earlier_version_is_refused_clearly() -> None:
    old = {"weather": "", "minutes": 0, "lookback": 288, "step": 6, "delay": 144}
    with pytest.raises(InvalidInput, match="an earlier version, which counted lookback, step and delay in rows"):
        weather_windows("sample", old)


def test_no_window_crosses_a_break(tmp_path: Path) -> None:
    gap = range(600, 606)
    whole = prepare(write_weather(tmp_path / "whole.csv", every=6))
    broken = prepare(write_weather(tmp_path / "broken.csv", every=6, gap=gap))
    reach = 24 + 6  # rows from the start of a window to its answer
    last = 100 - reach  # row 100 is missing
    assert windows(broken).starts[: last + 2].tolist() == [*range(last + 1), 100]
    assert len(whole.train) - len(broken.train) == reach
    index = last + 1
    assert answer(broken, index) == pytest.approx(jena.load("sample").table[6 * (101 + 23 + 6), 1], abs=1e-3)


def test_a_network_has_as_many_inputs_as_there_are_columns(tmp_path: Path) -> None:
    weather = write_weather(tmp_path / "few.csv", every=6, columns=FEW)
    for name in ("jena_baseline", "jena_gru"):
        task = catalogue.find_task(name)
        params = {**task.defaults("real"), **SHORT, "weather": weather}
        data = task.data("real", params)
        model = task.build(data, params)
        columns = numbers(data).columns
        assert len(columns) == len(FEW) + 6  # six are computed
        assert columns.index(TEMPERATURE) == 1
        assert model.input_shape == (None, 24, 11)
        x, _ = data.train.batch(np.array([3]))
        if name == "jena_baseline":
            assert np.asarray(model(x))[0, 0] == x[0, -1, 1]


def test_rows_may_name_their_columns(tmp_path: Path) -> None:
    data = prepare(write_weather(tmp_path / "few.csv", every=6, columns=FEW))
    assert isinstance(data.verb, Predict)
    row = data.example_rows[0]
    named = {name: row[:, place].tolist() for place, name in reversed(list(enumerate(numbers(data).columns)))}
    encoded = data.verb.encode([{**named, "not a column": [1]}, row.tolist()])["weather"]
    np.testing.assert_array_equal(encoded, data.verb.encode(np.stack([row, row]))["weather"])
    del named["wv (m/s)"]
    with pytest.raises(InvalidInput, match=r"the row has no 'wv \(m/s\)'"):
        data.verb.encode([named])


def test_errors_stand_in_degrees_beside_the_common_sense_baseline(finished: Callable[[str], Run]) -> None:
    table, place = jena.load("sample").table, COLUMNS.index(TEMPERATURE)
    start, end = (round(len(table) * rows / 420_551) for rows in (200_000, 300_000))
    changes = np.abs(table[144:, place] - table[:-144, place])  # from the last row of a window to its answer
    naive = changes[start + 287 : end - 144 - 1].mean()
    for name in ("jena_baseline", "jena_dense"):
        metrics = finished(name).metrics
        assert metrics["naive_val_celsius"] == pytest.approx(naive, rel=1e-3)
        assert metrics["val_celsius"] / metrics["val_mae"] == pytest.approx(
            metrics["test_celsius"] / metrics["test_loss"], rel=1e-4
        )
        assert metrics.keys() >= set(CELSIUS)
    metrics = finished("jena_baseline").metrics
    assert metrics["val_celsius"] == pytest.approx(metrics["naive_val_celsius"], rel=1e-4)
    assert metrics["test_celsius"] == pytest.approx(metrics["naive_test_celsius"], rel=1e-4)
