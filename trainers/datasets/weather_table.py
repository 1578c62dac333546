"""Read a table of weather from a CSV file: any of Jena's columns in any order, one row every so many minutes.

Columns that follow from others by formula are computed. Missing values are filled or their rows left out, and rows are
sorted by date, so that every stretch of the table without a break is evenly spaced in time.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bookserve.errors import Failed, InvalidInput

#: The columns of the book's file, in its order.
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
TEMPERATURE = "T (degC)"

#: The columns that follow from others, in an order in which each needs only those before it. Source: the ideal gas
#: law, the potential temperature for 1000 mbar, and the mixing ratios of water vapour; they hold in the station's rows.
FORMULAS: dict[str, tuple[tuple[str, ...], Callable[..., np.ndarray]]] = {
    "VPact (mbar)": (("VPmax (mbar)", "rh (%)"), lambda most, humidity: most * humidity / 100),
    "VPdef (mbar)": (("VPmax (mbar)", "VPact (mbar)"), lambda most, actual: most - actual),
    "sh (g/kg)": (("VPact (mbar)", "p (mbar)"), lambda actual, p: 622 * actual / (p - 0.378 * actual)),
    "H2OC (mmol/mol)": (("VPact (mbar)", "p (mbar)"), lambda actual, p: 1000 * actual / p),
    "Tpot (K)": (("T (degC)", "p (mbar)"), lambda t, p: (t + 273.15) * (1000 / p) ** 0.286),
    "rho (g/m**3)": (
        ("p (mbar)", "T (degC)", "sh (g/kg)"),
        lambda p, t, sh: 1e5 * p / (287.06 * (t + 273.15) * (1 + 0.608 * sh / 1000)),
    ),
}

#: No weather has values at or below these limits, or below 0 in the other columns. The station writes -9999 where an
#: instrument failed.
_LIMITS = {"p (mbar)": 0.0, TEMPERATURE: -273.15, "Tdew (degC)": -273.15, "Tpot (K)": 0.0, "rho (g/m**3)": 0.0}
_LIMIT = -1e-9
#: A missing value is replaced by the last measured one for at most this many hours.
FILL_HOURS = 6
#: What programs write for a missing value.
_MISSING = ("", "na", "n/a", "nan", "null", "none")


class WeatherTable(NamedTuple):
    """Rows of weather in the order of time."""

    #: float32 [rows, columns].
    values: np.ndarray
    #: The names of the columns, in the order of ``COLUMNS``; those that were computed; and those that are not there.
    columns: tuple[str, ...]
    computed: tuple[str, ...]
    left_out: tuple[str, ...]
    #: Columns of the file that are not among ``COLUMNS`` and were not read.
    unknown: tuple[str, ...]
    #: int64 [rows]: the number of the stretch without a break in time that a row belongs to.
    stretch: np.ndarray
    #: Minutes between two rows of a stretch.
    minutes: int
    #: The dates of the first and the last row as YYYY-MM-DD; empty if the file has no dates.
    dates: tuple[str, ...] = ()
    #: How many values were filled, and how many rows were left out (a missing value, or the same date twice).
    filled: int = 0
    dropped: int = 0


def unpack_csv(content: bytes) -> str:
    """The text of a CSV file, which may be compressed by gzip or be the only CSV file in a ZIP archive.

    Raises:
        ValueError: the archive has no CSV file, or several; zipfile and gzip raise their own errors.
    """
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    elif content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            members = [member for member in packed.namelist() if member.lower().endswith(".csv")]
            if len(members) != 1:
                raise ValueError(f"it holds {len(members)} CSV files, expected one")
            content = packed.read(members[0])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def date_span(text: str, name: str) -> float:
    """The days between the first and the last row of a CSV text; 0 if it has no dates."""
    header = _Header.parse(text, name)
    if header.date is None:
        return 0.0
    first, last = (text[start : start + 400] for start in (text.find("\n") + 1, text.rstrip().rfind("\n") + 1))
    rows = [next(csv.reader([line.splitlines()[0]], delimiter=header.delimiter)) for line in (first, last) if line]
    ends = _parse_dates(np.array([row[header.date] for row in rows]), name)
    return float((ends[-1] - ends[0]) / np.timedelta64(1, "D"))


def parse_table(text: str, name: str, minutes: int = 0) -> WeatherTable:
    """The rows of a CSV text with a header. ``name`` stands for the file in messages.

    Column names are those of ``COLUMNS``; case, spaces and punctuation do not matter (R writes ``p..mbar.``). A column
    of dates (``Date Time``: 31.12.2016 23:50:00, or ISO 8601) gives the time between rows; without one, ``minutes``
    must.

    Raises:
        Failed: there is no temperature, a field is not a number or a date, or the rows are not evenly spaced.
        InvalidInput: ``minutes`` is needed, or contradicts the dates.
    """
    header = _Header.parse(text, name)
    values = _parse_numbers(text, header, name)
    values[~(values > [_LIMITS.get(column, _LIMIT) for column in header.columns])] = np.nan
    times: np.ndarray | None = None
    count = len(values)
    if header.date is not None:
        times, order = np.unique(_parse_dates(_parse_date_fields(text, header, name), name), return_index=True)
        values = values[order]
    minutes = _row_interval(times, minutes, name)
    elapsed = np.arange(len(values)) * float(minutes) if times is None else (times - times[0]) / np.timedelta64(1, "m")

    columns = [column for column in COLUMNS if column in header.columns]
    values = values[:, [list(header.columns).index(column) for column in columns]]
    usable = np.isfinite(values).mean(axis=0) > 0.5  # else nearly every row would have to be left out
    columns, values = [column for column, use in zip(columns, usable, strict=True) if use], values[:, usable]
    if TEMPERATURE not in columns:
        raise Failed(f"the column {TEMPERATURE} of {name} is nearly empty.", "Give a file with temperatures.")
    values, filled = _fill_missing(values, elapsed, columns.index(TEMPERATURE))
    whole = np.isfinite(values).all(axis=1)
    values, elapsed = values[whole], elapsed[whole]

    by_name = dict(zip(columns, values.T, strict=True))
    for column, (needs, formula) in FORMULAS.items():
        if column not in by_name and all(need in by_name for need in needs):
            by_name[column] = formula(*(by_name[need] for need in needs))
    found = tuple(column for column in COLUMNS if column in by_name)
    ends = () if times is None or not len(values) else tuple(str(times[whole][end])[:10] for end in (0, -1))
    return WeatherTable(
        values=np.stack([by_name[column] for column in found], axis=1).astype(np.float32),
        columns=found,
        computed=tuple(column for column in found if column not in columns),
        left_out=tuple(column for column in COLUMNS if column not in found),
        unknown=header.unknown,
        stretch=np.concatenate([[0], np.cumsum(np.round(np.diff(elapsed) / minutes) != 1)])[: len(values)],
        minutes=minutes,
        dates=ends,
        filled=filled,
        dropped=count - len(values),
    )


class _Header(NamedTuple):
    """The first line of a CSV file: where its columns are."""

    delimiter: str
    #: Place of each known column by its name in ``COLUMNS``, and of the dates.
    columns: dict[str, int]
    date: int | None
    unknown: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, name: str) -> _Header:
        line = text[: text.find("\n") + 1 or None].strip()
        delimiter = max(",;\t", key=line.count)
        fields = next(csv.reader([line], delimiter=delimiter), [])
        plain = {_plain_name(column): column for column in COLUMNS}
        columns: dict[str, int] = {}
        date, unknown = None, []
        for place, field in enumerate(fields):
            column = plain.get(_plain_name(field))
            if column and column not in columns:
                columns[column] = place
            elif date is None and _plain_name(field).startswith(("date", "time")):
                date = place
            elif field.strip():
                unknown.append(field.strip())
        if TEMPERATURE not in columns:
            raise Failed(
                f"{name} has no column {TEMPERATURE}; its first line is {line[:80]!r}.",
                f"The first line must name the columns, such as: Date Time, {', '.join(COLUMNS[:5])}",
            )
        return cls(delimiter, columns, date, tuple(unknown))


def _plain_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _body(text: str) -> io.StringIO:
    body = io.StringIO(text)
    body.readline()
    return body


def _parse_numbers(text: str, header: _Header, name: str) -> np.ndarray:
    """float64 [rows, columns], in the order of ``header.columns``; NaN where a value is missing."""
    places = list(header.columns.values())
    try:
        return np.loadtxt(
            _body(text), delimiter=header.delimiter, usecols=places, ndmin=2, comments=None, quotechar='"'
        )
    except ValueError:  # a field is missing or wrong: read slowly, and say which
        rows = []
        for number, row in enumerate(csv.reader(_body(text), delimiter=header.delimiter), 2):
            if row:
                rows.append([_parse_field(row, place, number, name) for place in places])
        return np.array(rows, np.float64).reshape(-1, len(places))


def _parse_field(row: list[str], place: int, number: int, name: str) -> float:
    if place >= len(row):
        raise Failed(f"{name} has {len(row)} fields in line {number}; expected more than {place}.", "Mend this line.")
    field = row[place].strip()
    if field.lower() in _MISSING:
        return float("nan")
    try:
        return float(field)
    except ValueError:
        raise Failed(
            f"{name} has '{field}' in line {number}, field {place + 1}; expected a number with a decimal point.",
            "Mend this line, or leave the field empty.",
        ) from None


def _parse_date_fields(text: str, header: _Header, name: str) -> np.ndarray:
    """The fields of the column of dates, str [rows]."""
    try:
        return np.loadtxt(
            _body(text), "U32", delimiter=header.delimiter, usecols=header.date, ndmin=1, comments=None, quotechar='"'
        )
    except ValueError as error:
        raise Failed(f"the dates of {name} cannot be read: {error}.", "Every row needs a date.") from error


_GERMAN_DATE = re.compile(r"\d\d\.\d\d\.\d{4} \d\d:\d\d(:\d\d)?")


def _parse_dates(fields: np.ndarray, name: str) -> np.ndarray:
    """Dates such as ``31.12.2016 23:50:00`` or ``2016-12-31 23:50:00`` → datetime64[s] [rows]."""
    fields = np.char.strip(fields)
    try:
        if len(fields) and _GERMAN_DATE.fullmatch(str(fields[0])):
            letters = np.ascontiguousarray(fields).view("U1").reshape(len(fields), -1)
            dash = np.full((len(fields), 1), "-")
            parts = [letters[:, 6:10], dash, letters[:, 3:5], dash, letters[:, :2], letters[:, 10:]]
            fields = np.ascontiguousarray(np.concatenate(parts, axis=1)).view(f"U{letters.shape[1]}")[:, 0]
        return fields.astype("datetime64[s]")
    except ValueError as error:
        raise Failed(
            f"{name} has a date that cannot be read: {error}.", "Write dates as 31.12.2016 23:50:00 or in ISO 8601."
        ) from error


def _row_interval(times: np.ndarray | None, minutes: int, name: str) -> int:
    """Minutes between two rows: the commonest distance of ``times`` (sorted), or what the user says."""
    if times is None:
        if minutes:
            return minutes
        raise InvalidInput(
            f"{name} has no column of dates, so the time between its rows is not known.",
            "Give it in minutes: -p minutes=60",
        )
    if len(times) < 2:
        raise Failed(f"{name} has {len(times)} rows with different dates; expected a long series.")
    distances = np.diff(times) / np.timedelta64(1, "m")
    measured = round(float(np.median(distances)))
    if measured < 1 or np.mean(np.round(distances / measured) == 1) < 0.5:
        raise Failed(
            f"the rows of {name} are not evenly spaced: half of them are within {np.median(distances):g} minutes.",
            "Give a file with one row every so many minutes.",
        )
    if minutes not in (0, measured):
        raise InvalidInput(
            f"minutes is {minutes}, but the rows of {name} are {measured} minutes apart.",
            "Leave minutes out: the dates say it.",
        )
    return measured


def _fill_missing(values: np.ndarray, elapsed: np.ndarray, temperature: int) -> tuple[np.ndarray, int]:
    """Replace NaN by the value before it, if that is at most ``FILL_HOURS`` old; and count the replacements.

    Only the past is used, as a forecast would have to. Temperatures are never filled: they are the answers.
    """
    values, filled = values.copy(), 0
    for column in np.flatnonzero(np.isnan(values).any(axis=0)):
        if column == temperature:
            continue
        known = np.isfinite(values[:, column])
        last = np.maximum.accumulate(np.where(known, np.arange(len(values)), 0))
        fill = ~known & known[last] & (elapsed - elapsed[last] <= FILL_HOURS * 60)
        values[fill, column] = values[last[fill], column]
        filled += int(fill.sum())
    return values, filled
