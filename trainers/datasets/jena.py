"""Load Jena Climate: measurements at a weather station in Jena, every ten minutes from 2009 to 2016; or any such file.

The sample is generated from seasons, times of day and passing weather fronts; its columns are physically consistent.
Source: Max Planck Institute for Biogeochemistry, www.bgc-jena.mpg.de/wetter.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bookserve.errors import Failed, NotFound
from trainers.datasets.dataset import KERAS_DATASETS_URL, Kind, cached_file, report_unreadable
from trainers.datasets.weather_table import COLUMNS, TEMPERATURE, WeatherTable, date_span, parse_table, unpack_csv

__all__ = ["COLUMNS", "TEMPERATURE", "Weather", "load"]

_NAME = "jena_climate_2009_2016.csv"
_LENGTH = 420_551


class Weather(NamedTuple):
    """Rows of weather in the order of time."""

    about: str
    #: float32 [rows, columns], and the names of the columns: those of ``COLUMNS`` that there are, in this order.
    table: np.ndarray
    columns: tuple[str, ...]
    #: int64 [rows]: the number of the stretch without a break in time that a row belongs to.
    stretch: np.ndarray
    #: Minutes between two rows of a stretch.
    minutes: int


def load(kind: Kind, file: str = "", minutes: int = 0) -> Weather:
    """The whole table; the book trains on the rows 1–200,000 of 420,551 (section 6.3.1).

    ``file`` is a CSV file of the user's, plain or compressed (``weather_table.py`` says which are read), or the name of
    one in ``$BOOKSERVE_DATA/timeseries``. ``minutes`` is the time between its rows, which only a file without dates
    needs. Without a file, real data is, in this order:
    Keras's file under ``$BOOKSERVE_DATA``; of the other files ``jena_*.csv`` (or ``.csv.gz``, ``.csv.zip``) in
    ``$BOOKSERVE_DATA/timeseries`` the one that covers the longest time; Keras's file from its cache, or a download.

    Raises:
        NotFound: there is no such file.
        Failed: the file cannot be read, has no temperatures, or uneven rows.
        InvalidInput: the time between the rows is not known.
    """
    if file:
        return _read(_existing(file), minutes)
    return _real(minutes) if kind == "real" else _sample()


def _existing(file: str) -> Path:
    """The path of ``file``, or of the file with this name in ``$BOOKSERVE_DATA/timeseries``."""
    path = Path(file)
    if not path.is_file() and (given := os.environ.get("BOOKSERVE_DATA")):
        path = Path(given) / "timeseries" / file
    if not path.is_file():
        raise NotFound(f"there is no file {file}.", "Give the path of a CSV file with weather: -p weather=FILE")
    return path


def _real(minutes: int) -> Weather:
    given = os.environ.get("BOOKSERVE_DATA")
    folder = Path(given or "") / "timeseries"
    names = (_NAME, f"{_NAME}.gz", f"{_NAME}.zip")
    kept = [folder / name for name in names] + [Path(given or "") / "keras" / "datasets" / names[-1]] if given else []
    path = next((path for path in kept if path.is_file()), None)
    if path is None and given:
        others = sorted(path for ending in ("csv", "csv.gz", "csv.zip") for path in folder.glob(f"jena_*.{ending}"))
        path = max(others, key=_span, default=None)
    path = path or cached_file(names[-1], f"{KERAS_DATASETS_URL}{names[-1]}", None)
    weather = _read(path, minutes, _LENGTH if path.name in names else None)
    return weather._replace(about=f"weather in Jena, {weather.about.removeprefix('weather, ')}")


def _span(path: Path) -> float:
    """The days that the file at ``path`` covers."""
    with report_unreadable(path):
        text = unpack_csv(path.read_bytes())
    return date_span(text, str(path))


def _read(path: Path, minutes: int, length: int | None = None) -> Weather:
    """The table in the file at ``path``, which must have ``length`` rows if that is known."""
    with report_unreadable(path):
        content = path.read_bytes()
        text, checksum = unpack_csv(content), hashlib.sha256(content).hexdigest()
    table = parse_table(text, str(path), minutes)
    rows = len(table.values) + table.dropped
    if length and rows != length:  # no checksum is published, but the length is known
        raise Failed(f"{path} has {rows:,} rows; expected {length:,}.", "Download the file again.")
    about = "; ".join(_describe(table, path.name, checksum))
    return Weather(about, table.values, table.columns, table.stretch, table.minutes)


def _describe(table: WeatherTable, name: str, checksum: str) -> Iterator[str]:
    """Say what the table is, which columns it has, and what was done to it."""
    dates = f" from {table.dates[0]} to {table.dates[1]}" if table.dates else ""
    yield (
        f"weather, one row every {table.minutes} minutes{dates}: {len(table.values):,} rows of {len(table.columns)} "
        f"columns from {name} (SHA-256 {checksum[:16]})"
    )
    yield f"measured: {', '.join(column for column in table.columns if column not in table.computed)}"
    if table.computed:
        yield f"computed by formula: {', '.join(table.computed)}"
    if table.left_out:
        yield f"left out, since the file lacks them: {', '.join(table.left_out)}"
    if table.unknown:
        yield f"in the file and not used: {', '.join(table.unknown)}"
    if table.filled:
        yield f"missing values that took the value before them: {table.filled:,}"
    if table.dropped:
        yield f"rows left out, as they lack a value or their date occurs twice: {table.dropped:,}"
    if breaks := int(table.stretch[-1]) if len(table.stretch) else 0:
        yield f"breaks in time, which no window crosses: {breaks:,}"


def _sample(rows: int = 20_000) -> Weather:
    rng = np.random.default_rng(0)
    day, year = np.arange(rows) / 144, np.arange(rows) / 52_560
    front = _random_walk(rows, 0.998, rng)  # a weather front passes in three or four days
    air = _random_walk(rows, 0.9995, rng)
    season = -10 * np.cos(2 * np.pi * (year - 0.05))
    sun = np.sin(2 * np.pi * (day - 0.35))
    temperature = 9 + season + (3 + 2 * np.tanh(front)) * sun + 4 * air + 2.5 * front + rng.normal(0, 0.2, rows)
    # The pressure shows a front half a day before the temperature does.
    pressure = 989 + 7 * np.roll(front, -72) + 2 * air + rng.normal(0, 0.1, rows)
    humidity = np.clip(75 - 12 * sun - 8 * front + 5 * _random_walk(rows, 0.99, rng), 15, 100)
    most = 6.11 * np.exp(17.6 * temperature / (243 + temperature))
    actual = most * humidity / 100
    dew = 243 * np.log(actual / 6.11) / (17.6 - np.log(actual / 6.11))
    wind = np.abs(2.1 + _random_walk(rows, 0.98, rng))
    table = np.stack(
        [
            pressure,
            temperature,
            (temperature + 273.15) * (1000 / pressure) ** 0.286,
            dew,
            humidity,
            most,
            actual,
            most - actual,
            622 * actual / pressure,
            1000 * actual / pressure,
            pressure * 100 / (287 * (temperature + 273.15)) * 1000,
            wind,
            wind * 1.7 + np.abs(rng.normal(0, 0.3, rows)),
            (180 + 60 * _random_walk(rows, 0.99, rng)) % 360,
        ],
        axis=1,
    )
    about = f"generated weather: {rows:,} rows of 14 figures, one every ten minutes"
    return Weather(about, table.astype(np.float32), COLUMNS, np.zeros(rows, np.int64), 10)


def _random_walk(rows: int, memory: float, rng: np.random.Generator) -> np.ndarray:
    """An autoregressive random walk [rows] with deviation 1: each value is ``memory`` times the last, plus noise."""
    from scipy.signal import lfilter

    steps = rng.normal(0, np.sqrt(1 - memory**2), rows)
    walked: np.ndarray = lfilter([1.0], [1.0, -memory], steps)
    return walked
