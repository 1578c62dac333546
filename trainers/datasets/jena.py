"""Load Jena Climate: fourteen measurements at a weather station in Jena, every ten minutes from 2009 to 2016.

The sample is generated from seasons, times of day and passing weather fronts; its columns are physically consistent.
Source: Max Planck Institute for Biogeochemistry, www.bgc-jena.mpg.de/wetter.
"""

from __future__ import annotations

import csv
import io
import os
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bookserve.errors import Failed
from trainers.datasets.dataset import KERAS_DATASETS_URL, Kind, cached_file, report_unreadable

COLUMNS = (
    "p (mbar)",
    "T (degC)",
    "Tpot (K)",
    "Tdew (degC)",
    "rh (%)",
    "VPmax (mbar)",
    "VPact (mbar)",
    "VPdef (mbar)",
    "sh (g/kg)",
    "H2OC (mmol/mol)",
    "rho (g/m**3)",
    "wv (m/s)",
    "max. wv (m/s)",
    "wd (deg)",
)
TEMPERATURE = COLUMNS.index("T (degC)")
_NAME = "jena_climate_2009_2016.csv"
_LENGTH = 420_551


class Weather(NamedTuple):
    """A table with one row every ten minutes, float32 [rows, 14], columns as in ``COLUMNS``."""

    about: str
    table: np.ndarray


def load(kind: Kind) -> Weather:
    """The whole table; the book trains on the rows 1–200,000 (section 6.3.1)."""
    return _real() if kind == "real" else _sample()


def _real() -> Weather:
    given = os.environ.get("BOOKSERVE_DATA")
    unpacked = Path(given or "") / "timeseries" / _NAME
    if given and unpacked.is_file():
        path = unpacked
        with report_unreadable(path):
            text = path.read_text("utf-8")
    else:
        path = cached_file(f"{_NAME}.zip", f"{KERAS_DATASETS_URL}{_NAME}.zip", None)
        with report_unreadable(path), zipfile.ZipFile(path) as packed:
            text = packed.read(_NAME).decode()
    table = parse_csv(text, str(path))
    if len(table) != _LENGTH:  # no checksum is published, but the length is known
        raise Failed(f"{path} has {len(table):,} rows; expected {_LENGTH:,}.", "Download the file again.")
    return Weather(f"the weather in Jena, 2009–2016: {_LENGTH:,} rows of 14 figures", table)


def parse_csv(text: str, path: str) -> np.ndarray:
    """The rows of the CSV file without the dates, float32 [rows, 14].

    Raises:
        Failed: the columns after the date are not ``COLUMNS``, or a field is not a number.
    """
    head, _, rest = text.partition("\n")
    columns = next(csv.reader([head]), [])
    if tuple(columns[1:]) != COLUMNS:
        missing = ", ".join(name for name in COLUMNS if name not in columns) or "none, but their order differs"
        raise Failed(f"{path} has other columns than expected; missing: {missing}.", "Download the file again.")
    with report_unreadable(Path(path)):
        return np.loadtxt(io.StringIO(rest), np.float32, delimiter=",", usecols=range(1, 15), ndmin=2)


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
    return Weather(f"generated weather: {rows:,} rows of 14 figures, one every ten minutes", table.astype(np.float32))


def _random_walk(rows: int, memory: float, rng: np.random.Generator) -> np.ndarray:
    """An autoregressive random walk [rows] with deviation 1: each value is ``memory`` times the last, plus noise."""
    from scipy.signal import lfilter

    steps = rng.normal(0, np.sqrt(1 - memory**2), rows)
    walked: np.ndarray = lfilter([1.0], [1.0, -memory], steps)
    return walked
