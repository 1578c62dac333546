"""Bring whatever a caller has into one form of rows, before any wire: the same answer, or the same error, over each.

======================================  ==========================================================================
text, ``bytes`` of a file, open file    one row, as it is
``Path``                                the rows of that file; of a directory, those of the files in it
PIL image                               one row: the picture as PNG
number, list, NumPy array, tensor       one row of numbers or texts, without loss
dictionary, named tuple, data class     one row by name: of a model's inputs, or of the columns of a table
pandas, polars or Arrow table           one row per line, by the names of its columns; also parts of a table in turn
series or array of these                one row per entry
======================================  ==========================================================================

A row in its one form is a ``str``, ``bytes``, a number, a NumPy array of numbers, nested lists of ``str`` or ``bytes``,
or a dictionary of these. Other libraries' types are recognised by their methods and never imported.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from bookserve.errors import InvalidInput
from bookserve.images import encode_lossless

_EXPECTED = "expected text, the bytes of a file, numbers, or an object that names each input"
#: Below this number a float64 holds every integer exactly.
_EXACT = 2**53
#: Types of rows that are seen at once to be no tables.
_NO_TABLES = (list, tuple, str, bytes, dict, int, float, np.ndarray)


def as_rows(rows: Any) -> Iterator[Any]:
    """The rows in their one form, one at a time; ``rows`` may be an iterator of any length.

    Raises:
        InvalidInput: ``rows`` is a single row or no rows at all, or a row has no meaning; the message has its number.
        NotFound: a ``Path`` does not exist.
    """
    if isinstance(rows, str | bytes | bytearray | Mapping) or _is_picture(rows) or isinstance(rows, numbers.Number):
        raise InvalidInput("rows must be a list of rows.", "For a single one, send [row].")
    for index, row in enumerate(_items(rows)):
        try:
            yield as_row(row)
        except InvalidInput as error:
            raise InvalidInput(f"row {index}: {error.message}", error.hint) from error


def as_row(value: Any) -> Any:
    """One row in its one form.

    Raises:
        InvalidInput: it has no meaning as a row: None, lists of different lengths, complex numbers, dates, …
        NotFound: a ``Path`` does not exist.
    """
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return as_row(_named_fields(value)) if hasattr(value, "_fields") else _list_row(value)
    if type(value) is np.ndarray and value.ndim:
        return _plain_array(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, Mapping):
        return {str(name): as_row(item) for name, item in value.items()}
    if isinstance(value, np.void) and value.dtype.names:
        return {name: as_row(value[name]) for name in value.dtype.names}
    if isinstance(value, Path):
        (row,) = _file_rows(value, only_one=True)
        return row
    if _is_picture(value):
        return encode_lossless(value)
    if _is_series(value) and hasattr(value, "to_dict"):  # a line of a pandas table
        return as_row(value.to_dict())
    if isinstance(value, numbers.Number) and not isinstance(value, np.generic):
        return _number(value)
    if hasattr(value, "read"):
        return as_row(value.read())
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return {name: as_row(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Sequence):
        return _list_row(list(value))
    array = _as_array(value)
    if array is None:
        what = "nothing (None)" if value is None else f"of type {type(value).__name__}"
        raise InvalidInput(f"a row is {what}; {_EXPECTED}.")
    plain = _plain_array(array)
    return plain.item() if isinstance(plain, np.ndarray) and not plain.ndim else plain


def _items(rows: Any) -> Iterator[Any]:
    """The rows as they were given."""
    if isinstance(rows, Path):
        return iter(_file_rows(rows))
    columns = _columns(rows)
    if columns is not None:
        return _records(columns)
    if _is_series(rows):
        return iter(rows.to_list() if hasattr(rows, "to_list") else rows.tolist())
    if hasattr(rows, "to_pylist"):  # an array of Arrow
        return iter(rows.to_pylist())
    array = None if isinstance(rows, list | tuple) else _as_array(rows)
    if array is not None:
        if not array.ndim:
            raise InvalidInput("rows must be a list of rows.", "For a single one, send [row].")
        return iter(array if array.dtype.names else _plain_array(array))
    if not isinstance(rows, Iterable):
        raise InvalidInput(f"rows are of type {type(rows).__name__}; expected a list, a table, an array or a file.")
    return _each_row(rows)


def _each_row(rows: Iterable[Any]) -> Iterator[Any]:
    """The rows, with those of files and of parts of a table in place of these."""
    for row in rows:
        if isinstance(row, Path):
            yield from _file_rows(row)
        elif type(row) not in _NO_TABLES and (columns := _columns(row)) is not None:
            yield from _records(columns)
        else:
            yield row


def _file_rows(path: Path, only_one: bool = False) -> list[Any]:
    from bookserve.client.files import read_path

    rows = [row for _, row in read_path(path)]
    if only_one and len(rows) != 1:
        raise InvalidInput(f"{path} holds {len(rows)} rows; expected one.", "Send its rows one by one.")
    return rows


# Tables


def _columns(table: Any) -> list[tuple[Any, list[Any]]] | None:
    """The columns of a table of pandas (or one like it), polars or Arrow; None if it is none."""
    if hasattr(table, "collect") and hasattr(table, "collect_schema"):
        raise InvalidInput("a lazy table has no rows yet.", "Send table.collect().")
    if hasattr(table, "columns") and hasattr(table, "iloc"):
        return [(name, table.iloc[:, place].tolist()) for place, name in enumerate(table.columns)]
    if hasattr(table, "get_columns") and hasattr(table, "iter_rows"):
        return [(column.name, column.to_list()) for column in table.get_columns()]
    if hasattr(table, "column_names") and hasattr(table, "to_pydict") and hasattr(table, "column"):
        return [(name, table.column(place).to_pylist()) for place, name in enumerate(table.column_names)]
    return None


def _named_fields(value: Any) -> dict[str, Any]:
    """The entries of a named tuple by name, without the name of the row that pandas puts in front."""
    index = "Index" if type(value).__name__ == "Pandas" else ""
    return {name: item for name, item in zip(value._fields, value, strict=True) if name != index}


def _records(columns: list[tuple[Any, list[Any]]]) -> Iterator[Any]:
    """The lines of a table, by name; as lists where its columns are only numbered."""
    names = [name for name, _ in columns]
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise InvalidInput(f"the table has more than one column named {', '.join(map(repr, twice))}.", "Rename them.")
    if any(isinstance(name, tuple) for name in names):
        raise InvalidInput("the table's columns have names of several levels.", "Give each column a single name.")
    numbered = names == list(range(len(names)))
    for line in zip(*(values for _, values in columns), strict=True):
        for name, value in zip(names, line, strict=True):
            if _is_missing(value):
                hint = "A row needs a value in every column; leave the row out or fill it in."
                raise InvalidInput(f"column '{name}' is missing a value.", hint)
        yield list(line) if numbered else dict(zip(map(str, names), line, strict=True))


def _is_missing(value: Any) -> bool:
    """Whether it is None, or one of pandas' own marks of a missing value; NaN is a number."""
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _is_series(value: Any) -> bool:
    return not hasattr(value, "columns") and (
        (hasattr(value, "iloc") and hasattr(value, "tolist"))
        or (hasattr(value, "to_frame") and hasattr(value, "to_list"))
    )


# Pictures


def _is_picture(value: Any) -> bool:
    return all(hasattr(value, name) for name in ("mode", "size", "getbands", "save"))


# Numbers and texts


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("a row is not UTF-8 text.", "Save the file as UTF-8.") from error
    return str(value)


def _number(value: Any) -> int | float:
    if isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral):
        whole = int(value)
        if not -(2**63) <= whole < 2**64:
            raise InvalidInput("a row has a number of more than 64 bits.")
        return whole
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"a row is of type {type(value).__name__}; {_EXPECTED}.") from error


def _list_row(value: Any) -> Any:
    array = _plain_numbers(value)
    if array is not None:
        return array
    leaves = list(_leaves(value))
    if leaves and all(isinstance(leaf, str | bytes) for leaf in leaves):
        _check_shape(value)
        return _mapped(value, as_row)
    if leaves and all(_is_picture(leaf) or isinstance(leaf, Path | Mapping) for leaf in leaves):
        raise InvalidInput(f"a row is a list of {type(leaves[0]).__name__}; {_EXPECTED}.", "Send them as rows.")
    if not all(isinstance(leaf, numbers.Number | np.ndarray) or _as_array(leaf) is not None for leaf in leaves):
        raise InvalidInput(f"a row has values of different types, or null; {_EXPECTED}.")
    try:
        array = np.asarray(_mapped(value, _leaf))
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"a row has lists of different lengths; {_EXPECTED}.") from error
    if array.dtype.kind not in "fO":
        return _plain_array(array)
    # Beside fractions and negative numbers NumPy would round large whole numbers.
    large = [leaf for leaf in leaves if isinstance(leaf, numbers.Integral) and abs(int(leaf)) > _EXACT]
    if large or array.dtype == object:
        if not all(isinstance(leaf, numbers.Real) and leaf == leaf // 1 for leaf in leaves):
            if large:
                raise InvalidInput(
                    f"the whole number {large[0]} stands beside fractions and would be rounded.", "Send it as text."
                )
            return _plain_array(array)
        whole = np.array([int(leaf) for leaf in leaves], object).reshape(array.shape)
        try:
            return whole.astype(np.int64 if min(whole.ravel()) < 0 else np.uint64)
        except OverflowError as error:
            raise InvalidInput("a row has a number of more than 64 bits.") from error
    return _plain_array(array)


def _plain_numbers(value: Any) -> np.ndarray | None:
    """The array of nested lists of numbers none of which NumPy rounds: nearly all lists; None for any other."""
    first = value
    while isinstance(first, list | tuple) and first:
        first = first[0]
    if not isinstance(first, int | float | np.number | np.bool_):
        return None
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError):
        return None
    if array.dtype.kind in "biu":
        return array
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        return None
    if not array.size or -_EXACT < array.min() <= array.max() < _EXACT:  # False with NaN
        return array
    return None if (np.isfinite(array) & (np.abs(array) >= _EXACT)).any() else array


def _leaf(value: Any) -> Any:
    """A number as Python or NumPy has it: also decimal numbers and fractions."""
    return _number(value) if isinstance(value, numbers.Number) and not isinstance(value, np.generic) else value


def _leaves(value: Any) -> Iterator[Any]:
    for item in value:
        if isinstance(item, list | tuple):
            yield from _leaves(item)
        else:
            yield item


def _mapped(value: Any, function: Any) -> Any:
    return [_mapped(item, function) if isinstance(item, list | tuple) else function(item) for item in value]


def _check_shape(value: Any) -> None:
    try:
        np.array(value)
    except ValueError as error:
        raise InvalidInput(f"a row has lists of different lengths; {_EXPECTED}.") from error


def _as_array(value: Any) -> np.ndarray | None:
    """An array or tensor of any library as a NumPy array; None if it is none."""
    if isinstance(value, np.ndarray | np.generic):
        return np.ma.asanyarray(value) if isinstance(value, np.ma.MaskedArray) else np.asarray(value)
    if hasattr(value, "detach") and hasattr(value, "cpu"):  # PyTorch, perhaps with gradients or on a GPU
        value = value.detach().cpu()
    if hasattr(value, "__array__") and hasattr(value, "shape"):
        return _read_tensor(value)
    return None


def _read_tensor(value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except (TypeError, RuntimeError, NotImplementedError) as error:
        if hasattr(value, "float"):  # PyTorch's bfloat16 and float8, which NumPy lacks
            with suppress(TypeError, RuntimeError, NotImplementedError):
                return np.asarray(value.float())
        reason = str(error).rstrip(".")
        raise InvalidInput(
            f"a {type(value).__name__} of {value.dtype} is no array that NumPy reads: {reason}.",
            "Turn it into a dense array of numbers first.",
        ) from error


def _plain_array(array: np.ndarray) -> Any:
    """The array with one of the number types of a graph; texts as nested lists."""
    if isinstance(array, np.ma.MaskedArray):
        if np.ma.is_masked(array):
            raise InvalidInput("an array has masked (missing) values.", "Fill them in, or leave the rows out.")
        array = array.data
    kind = array.dtype.kind
    if kind in "biu" or (kind == "f" and array.dtype.itemsize <= 8):
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if kind == "f":  # more digits than any graph takes
        return array.astype(np.float64)
    if kind in "SUT":
        return array.tolist()
    if kind == "O":
        leaves = array.ravel().tolist()
        if array.ndim and leaves and all(isinstance(leaf, str | bytes | numbers.Number) for leaf in leaves):
            return _list_row(array.tolist())
        if array.ndim == 1:
            return [as_row(leaf) for leaf in leaves]
    if array.dtype.type.__module__.startswith("ml_dtypes"):  # bfloat16 and other types of accelerators
        return array.astype(np.float32)
    raise InvalidInput(f"a row holds {array.dtype}; {_EXPECTED}.")
