"""Weather files: any form, column order and distance of rows; computed columns, missing values, choice of a file."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bookserve.errors import Failed, InvalidInput, NotFound
from trainers.datasets import jena
from trainers.datasets.weather_table import COLUMNS, FORMULAS, WeatherTable, parse_table, unpack_csv

REAL = os.environ.get("BOOKSERVE_DATA")
FEW = ("p (mbar)", "T (degC)", "rh (%)", "VPmax (mbar)", "wv (m/s)")


def write_csv(
    rows: int,
    columns: tuple[str, ...] = FEW,
    *,
    minutes: int = 60,
    leave: tuple[int, ...] = (),
    start: str = "2009-01-01",
) -> str:
    """A table whose value in row i and column j is 1 + i + j / 100; the rows in ``leave`` are missing."""
    dates = np.datetime64(f"{start}T00:10:00") + np.arange(rows) * np.timedelta64(minutes, "m")
    lines = [",".join(["Date Time", *columns])]
    for index in range(rows):
        if index not in leave:
            day, time = str(dates[index]).split("T")
            date = f"{'.'.join(reversed(day.split('-')))} {time}"
            lines.append(",".join([date, *(f"{1 + index + place / 100:.2f}" for place in range(len(columns)))]))
    return "\n".join(lines) + "\n"


def column(table: WeatherTable, name: str) -> np.ndarray:
    return table.values[:, table.columns.index(name)]


def test_columns_may_stand_in_any_order_and_be_named_as_r_names_them() -> None:
    table = parse_table(
        '"","wv..m.s.","when","rain (mm)","T..degC.","p..mbar.","Date.Time"\n'
        '"1",2.5,"x",0,-8.02,996.52,"01.01.2009 00:10:00"\n'
        '"2",2.75,"x",0,-8.41,996.57,"01.01.2009 00:20:00"\n',
        "r.csv",
    )
    assert table.columns == ("p (mbar)", "T (degC)", "Tpot (K)", "wv (m/s)")
    assert table.computed == ("Tpot (K)",)
    assert table.unknown == ("when", "rain (mm)")
    assert set(table.left_out) == set(COLUMNS) - set(table.columns)
    assert table.minutes == 10
    assert column(table, "T (degC)").tolist() == np.float32([-8.02, -8.41]).tolist()
    assert column(table, "wv (m/s)").tolist() == [2.5, 2.75]


def test_iso_dates_semicolons_and_a_byte_order_mark_are_read() -> None:
    text = write_csv(3).replace(",", ";").replace("01.01.2009", "2009-01-01")
    table = parse_table(unpack_csv(b"\xef\xbb\xbf" + text.encode()), "iso.csv")
    assert table.dates == ("2009-01-01", "2009-01-01")
    assert np.array_equal(table.values, parse_table(write_csv(3), "german.csv").values)


def test_computed_columns_are_those_that_the_book_prints() -> None:
    """The first row of the file, listing 6.29; computed values are as exact as the printed ones."""
    row = "996.52,-8.02,93.3,3.33"
    text = f"Date Time,p (mbar),T (degC),rh (%),VPmax (mbar)\n01.01.2009 00:10:00,{row}\n01.01.2009 00:20:00,{row}\n"
    table = parse_table(text, "first.csv")
    wanted = {"Tpot (K)": (265.40, 0.02), "VPact (mbar)": (3.11, 0.006), "VPdef (mbar)": (0.22, 0.006)}
    wanted |= {"sh (g/kg)": (1.94, 0.006), "H2OC (mmol/mol)": (3.12, 0.006), "rho (g/m**3)": (1307.75, 0.15)}
    assert set(wanted) == set(table.computed) == set(FORMULAS)
    for name, (value, tolerance) in wanted.items():
        assert column(table, name) == pytest.approx(value, abs=tolerance), name


@pytest.mark.skipif(not REAL, reason="BOOKSERVE_DATA is not set")
def test_computed_columns_are_those_that_the_station_measured() -> None:
    path = Path(str(REAL)) / "timeseries" / "jena_2020_10min.csv.gz"
    if not path.is_file():
        pytest.skip("the weather of 2020 is not there")
    text = gzip.decompress(path.read_bytes()).decode()
    measured = parse_table(text, "2020.csv")
    assert measured.columns == COLUMNS
    assert not measured.computed
    hidden = text.replace("Tpot", "a").replace("VPact", "b").replace("VPdef", "c").replace("H2OC", "d")
    computed = parse_table(hidden.replace('"sh (', '"e (').replace('"rho (', '"f ('), "")
    assert set(computed.computed) == set(FORMULAS)
    # The inputs are rounded: humidity to 0.1 %, pressures to 0.01 mbar; so are the measured columns.
    tolerances = {"Tpot (K)": 0.05, "VPact (mbar)": 0.03, "VPdef (mbar)": 0.04, "sh (g/kg)": 0.03}
    tolerances |= {"H2OC (mmol/mol)": 0.04, "rho (g/m**3)": 0.3}
    for name, tolerance in tolerances.items():
        difference = np.abs(column(computed, name) - column(measured, name))
        assert difference.max() <= tolerance, (name, difference.max())


def test_the_interval_comes_from_the_dates_or_from_the_user() -> None:
    text = write_csv(5, minutes=30)
    assert parse_table(text, "half.csv").minutes == 30
    with pytest.raises(InvalidInput, match=r"minutes is 60, but the rows of half\.csv are 30 minutes apart"):
        parse_table(text, "half.csv", 60)
    undated = "\n".join(line.partition(",")[2] for line in text.splitlines())
    with pytest.raises(InvalidInput, match="no column of dates") as caught:
        parse_table(undated, "undated.csv")
    assert "-p minutes=60" in caught.value.hint
    table = parse_table(undated, "undated.csv", 60)
    assert (table.minutes, table.dates) == (60, ())
    assert np.array_equal(table.values, parse_table(text, "half.csv").values)
    with pytest.raises(Failed, match="not evenly spaced"):
        parse_table(write_csv(21, leave=tuple({*range(21)} - {0, 1, 5, 20})), "uneven.csv")


def test_rows_are_sorted_and_a_date_counts_once() -> None:
    head, *rows = write_csv(6).splitlines()
    table = parse_table("\n".join([head, *rows[3:], *rows[:4]]), "mixed.csv")
    assert np.array_equal(table.values, parse_table(write_csv(6), "plain.csv").values)
    assert table.dropped == 1


def test_a_gap_begins_a_new_stretch_but_a_late_row_does_not() -> None:
    table = parse_table(write_csv(8, leave=(3, 4)).replace("06:10:00", "06:20:00"), "gap.csv")
    assert table.stretch.tolist() == [0, 0, 0, 1, 1, 1]


def test_missing_values_take_the_last_one_for_six_hours() -> None:
    lines = write_csv(30).splitlines()
    place = FEW.index("wv (m/s)") + 1

    def spoil(index: int, field: int, value: str) -> None:
        fields = lines[index + 1].split(",")
        fields[field] = value
        lines[index + 1] = ",".join(fields)

    for index in range(3, 12):  # nine hours: six can be filled
        spoil(index, place, "-9999")
    spoil(15, place, "")
    spoil(17, FEW.index("T (degC)") + 1, "NA")
    table = parse_table("\n".join(lines), "holes.csv")
    wind = column(table, "wv (m/s)")
    before = wind[2]
    assert (wind[3:9] == before).all()  # never the value after the hole
    assert column(table, "p (mbar)").tolist() == [*range(1, 10), *range(13, 18), *range(19, 31)]
    assert wind[12] == wind[11]
    assert (table.filled, table.dropped) == (7, 4)
    assert table.stretch.tolist() == [0] * 9 + [1] * 5 + [2] * 12


def test_a_column_that_is_mostly_missing_is_left_out() -> None:
    lines = write_csv(9).splitlines()
    text = "\n".join([lines[0], *(f"{line.rpartition(',')[0]},-9999.00" for line in lines[1:])])
    table = parse_table(text, "calm.csv")
    assert "wv (m/s)" in table.left_out
    assert len(table.values) == 9


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("T (degC)", "temp"), "there.csv has no column T"),
        (("3.02", "cold"), "there.csv has 'cold' in line 4, field 4; expected a number"),
        ((",3.02,3.03,3.04", ""), "there.csv has 3 fields in line 4"),
        (("01.01.2009 02:10:00", "sometime"), "there.csv has a date that cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named(change: tuple[str, str], problem: str) -> None:
    text = write_csv(4)
    assert change[0] in text
    with pytest.raises(Failed, match=problem):
        parse_table(text.replace(*change), "there.csv")


def test_files_are_read_plain_gzipped_and_zipped(tmp_path: Path) -> None:
    text = write_csv(30, COLUMNS)
    (tmp_path / "a.csv").write_text(text)
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(text.encode()))
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as packed:
        packed.writestr("folder/weather.csv", text)
    plain, *others = (jena.load("real", str(tmp_path / name)) for name in ("a.csv", "b.csv.gz", "c.zip"))
    assert plain.table.shape == (30, 14)
    assert all(np.array_equal(plain.table, other.table) for other in others)
    checksum = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert (
        f"one row every 60 minutes from 2009-01-01 to 2009-01-02: 30 rows of 14 columns from a.csv (SHA-256 {checksum})"
        in plain.about
    )
    assert "Jena" not in plain.about
    with pytest.raises(NotFound, match="there is no file"):
        jena.load("real", str(tmp_path / "d.csv"))
    with zipfile.ZipFile(tmp_path / "c.zip", "a") as packed:
        packed.writestr("second.csv", text)
    with pytest.raises(Failed, match="it holds 2 CSV files"):
        jena.load("real", str(tmp_path / "c.zip"))


def test_what_is_measured_computed_and_left_out_is_said(tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    path.write_text(write_csv(30))
    about = jena.load("sample", str(path)).about
    assert "measured: p (mbar), T (degC), rh (%), VPmax (mbar), wv (m/s);" in about
    assert (
        "computed by formula: Tpot (K), VPact (mbar), VPdef (mbar), sh (g/kg), H2OC (mmol/mol), rho (g/m**3);" in about
    )
    assert about.endswith("left out, since the file lacks them: Tdew (degC), max. wv (m/s), wd (deg)")


def test_keras_s_file_comes_before_the_longest_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOKSERVE_DATA", str(tmp_path))
    monkeypatch.setattr(jena, "_LENGTH", 40)
    with pytest.raises(NotFound, match=r"jena_climate_2009_2016\.csv\.zip is missing"):
        jena.load("real")
    folder = tmp_path / "timeseries"
    folder.mkdir()
    (folder / "jena_fine.csv").write_text(write_csv(200, minutes=10))
    (folder / "jena_long.csv.gz").write_bytes(gzip.compress(write_csv(50).encode()))
    taken = jena.load("real")
    assert "weather in Jena, one row every 60 minutes" in taken.about
    assert "from jena_long.csv.gz" in taken.about
    archive = tmp_path / "keras" / "datasets" / "jena_climate_2009_2016.csv.zip"
    archive.parent.mkdir(parents=True)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        packed.writestr("jena_climate_2009_2016.csv", write_csv(40, COLUMNS, minutes=10))
    archive.write_bytes(content.getvalue())
    packed_table = jena.load("real").table
    assert packed_table.shape == (40, 14)
    (folder / "jena_climate_2009_2016.csv").write_text(write_csv(40, COLUMNS, minutes=10))
    assert "from jena_climate_2009_2016.csv (" in jena.load("real").about
    assert np.array_equal(jena.load("real").table, packed_table)
    for given in (str(folder / "jena_fine.csv"), "jena_fine.csv"):  # its name is enough
        assert "200 rows of 11 columns from jena_fine.csv" in jena.load("real", given).about
    monkeypatch.setattr(jena, "_LENGTH", 41)
    with pytest.raises(Failed, match="has 40 rows; expected 41"):
        jena.load("real")
