"""Every kind of rows over every wire: the same answer or the same error, as written down here."""

from __future__ import annotations

import base64
import io
import json
from array import array
from collections import UserDict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image as Pillow

from bookserve.client import Client, connect
from bookserve.errors import BookserveError, InvalidInput, NotFound
from bookserve.graph import Graph, TensorSpec
from bookserve.images import encode_png
from bookserve.steps import Numbers
from bookserve.verb import Predict, plain_answers
from tests import bundles
from tests.servers import Server, start

BRIGHT = np.full((4, 4), 255, np.uint8)
SEVEN, NAN = [[3, 5, 7]], float("nan")
TWICE = SEVEN * 2
LARGE = 2**53 + 1


class Series:
    """A column with the methods that pandas' series has."""

    def __init__(self, values: list[Any], index: list[str] | None = None) -> None:
        self.iloc, self.index, self._values = None, index, values

    def tolist(self) -> list[Any]:
        return self._values

    def to_dict(self) -> dict[str, Any]:
        return dict(zip(self.index or [], self._values, strict=True))


class Frame:
    """A table with the methods that pandas' data frames have."""

    def __init__(self, columns: dict[Any, list[Any]] | list[tuple[Any, list[Any]]]) -> None:
        pairs = list(columns.items()) if isinstance(columns, dict) else columns
        self.columns, self._values = [name for name, _ in pairs], [values for _, values in pairs]

    @property
    def iloc(self) -> Any:
        class Places:
            def __getitem__(_, key: tuple[slice, int]) -> Series:  # noqa: N805
                return Series(self._values[key[1]])

        return Places()


class PolarsColumn:
    def __init__(self, name: str, values: list[Any]) -> None:
        self.name, self.values = name, values

    def to_list(self) -> list[Any]:
        return self.values


class Polars:
    """A table with the methods that polars' data frames have."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self._columns = columns
        self.columns = list(columns)

    def get_columns(self) -> list[PolarsColumn]:
        return [PolarsColumn(name, values) for name, values in self._columns.items()]

    def iter_rows(self) -> None:
        raise NotImplementedError


class ArrowColumn:
    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def to_pylist(self) -> list[Any]:
        return self.values


class Arrow:
    """A table with the methods that Arrow's tables have."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self._columns = columns
        self.column_names = list(columns)
        self.columns = list(columns.values())

    def column(self, place: int) -> ArrowColumn:
        return ArrowColumn(self.columns[place])

    def to_pydict(self) -> dict[str, list[Any]]:
        return self._columns


class Tensor:
    """An array of another library, on a device, with gradients."""

    shape = (1, 3)

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array([[1, 2, 3]], np.float32)


class NarrowTensor(Tensor):
    """A tensor of PyTorch's bfloat16, which PyTorch does not turn into a NumPy array; or one that is sparse."""

    dtype = "torch.bfloat16"

    def __init__(self, sparse: bool = False) -> None:
        self._sparse = sparse

    def float(self) -> Tensor:
        return self if self._sparse else Tensor()

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError("can't convert Sparse layout tensor" if self._sparse else "Got unsupported ScalarType BFloat16")


def written(name: str, content: bytes) -> Any:
    """Makes a file of that name in a directory, and gives its path."""

    def make(place: Path) -> Path:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
        return place / name

    return make


def directory(*files: tuple[str, bytes]) -> Any:
    """Makes a directory with files, and gives its path."""

    def make(place: Path) -> Path:
        for name, content in files:
            written(f"folder/{name}", content)(place)
        return place / "folder"

    return make


def picture(mode: str, value: Any) -> Pillow.Image:
    return Pillow.new(mode, (4, 4), value)


def png(picture: Pillow.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def moving(kind: str) -> bytes:
    """A file with three frames: dark, bright, dark."""
    buffer = io.BytesIO()
    frames = [picture("RGB", (value,) * 3) for value in (0, 255, 9)]
    frames[0].save(
        buffer, kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "webp" else {})
    )
    return buffer.getvalue()


class Line(NamedTuple):
    c: int
    a: int
    b: int


@dataclass
class Record:
    c: int
    a: int
    b: int


NPY = io.BytesIO()
np.save(NPY, np.array([[1, 2, 3]]))
RECORD = np.array([([1.0, 2.5], 3)], [("a", "f4", 2), ("b", "i8")])
#: Name → model, rows (or a function that makes them in a directory), the value of each answer.
ANSWERS: dict[str, tuple[str, Any, list[Any]]] = {
    "list": ("affine", [[1, 2, 3]], SEVEN),
    "tuple": ("affine", ((1, 2, 3),), SEVEN),
    "nested": ("affine", [[[1], [2], [3]]], SEVEN),
    "numbers of NumPy": ("affine", [[np.int8(1), np.float16(2), np.uint64(3)]], SEVEN),
    "booleans": ("affine", [[True, False, True]], [[3, 1, 3]]),
    "array": ("affine", np.array([[1, 2, 3]]), SEVEN),
    **{
        f"array of {d}": ("affine", np.array([[1, 2, 3]], d), SEVEN) for d in ("u1", "i2", "u8", "f2", "f4", "g", ">f8")
    },
    "array of bool": ("affine", np.array([[True, False, True]]), [[3, 1, 3]]),
    "array of objects": ("affine", np.array([[1, 2, 3]], object), SEVEN),
    "array not contiguous": ("affine", np.array([[1, 0, 2, 0, 3, 0]])[:, ::2], SEVEN),
    "array of Fortran": ("affine", np.asfortranarray(np.array([[1, 2, 3], [0, 0, 0]], "f4")), [*SEVEN, [1, 1, 1]]),
    "array that masks nothing": ("affine", np.ma.masked_array([[1, 2, 3]]), SEVEN),
    "rows of arrays": ("affine", [np.array([1, 2, 3], "f4")], SEVEN),
    "NaN": ("affine", [[NAN, 2, 3]], [[NAN, 5, 7]]),
    # The answers over HTTP have null for all numbers that JSON lacks: an infinite one comes back as NaN.
    "infinite": ("compare", np.array([[np.inf, 2, -np.inf]]), [[1, 0, 0]]),
    "tensor": ("affine", Tensor(), SEVEN),
    "tensor of bfloat16": ("affine", NarrowTensor(), SEVEN),
    "iterator": ("affine", iter([[1, 2, 3]]), SEVEN),
    "generator of 2500": ("affine", ([i, 2, 3] for i in range(2500)), [[2 * i + 1, 5, 7] for i in range(2500)]),
    "table": ("affine", Frame({"x": [1], "y": [2], "z": [3]}), SEVEN),
    "table in another order": ("affine", Frame({"z": [1], "x": [2], "y": [3]}), SEVEN),
    "table without names": ("affine", Frame({0: [1], 1: [2], 2: [3]}), SEVEN),
    "table by name": ("named", Frame({"c": [3], "a": [1.0], "b": [2]}), SEVEN),
    "table with more": ("named", Frame({"c": [3], "price": [0], "a": [1], "b": [2]}), SEVEN),
    "polars": ("named", Polars({"c": [3], "a": [1], "b": [2]}), SEVEN),
    "Arrow": ("named", Arrow({"c": [3], "a": [1], "b": [2]}), SEVEN),
    "line of a table": ("named", [Series([3, 1, 2], ["c", "a", "b"])], SEVEN),
    "record": ("named", [{"c": 3, "b": 2, "a": 1}], SEVEN),
    "named tuple": ("named", [Line(3, 1, 2)], SEVEN),
    "named tuple for a model without names": ("affine", [Line(1, 2, 3)], SEVEN),
    "data class": ("named", [Record(3, 1, 2)], SEVEN),
    "range": ("affine", [range(1, 4)], SEVEN),
    "array of the standard library": ("affine", [array("d", [1, 2, 3])], SEVEN),
    "decimal numbers and fractions": ("affine", [[Decimal(1), Fraction(2), 3]], SEVEN),
    "open file": ("reviews", [io.BytesIO(b"bad"), io.StringIO("bad")], ["negative", "negative"]),
    "parts of a table": (
        "named",
        [Frame({"c": [3], "a": [1], "b": [2]}), Polars({"b": [2], "a": [1], "c": [3]})],
        SEVEN * 2,
    ),
    "array of Arrow": ("reviews", ArrowColumn(["good " * 6, "bad"]), ["positive", "negative"]),
    "mapping": ("named", [UserDict({"c": 3, "b": 2, "a": 1})], SEVEN),
    "table of several inputs": ("pair", Frame({"b": [3], "a": [[1, 2.5]]}), [3.5]),
    "structured array": ("pair", RECORD, [3.5]),
    "large whole number": ("next", [{"a": [0], "b": LARGE}], [LARGE + 1]),
    "large numbers": ("next", [{"a": [0], "b": np.int64(2**62)}], [2**62 + 1]),
    "whole numbers beside floats": ("keep", [[LARGE, 1.0]], [[LARGE, 1]]),
    "text": ("reviews", ["good good good good good good"], ["positive"]),
    "bytes of a text": ("reviews", [b"bad"], ["negative"]),
    "bytearray": ("reviews", [bytearray(b"bad")], ["negative"]),
    "texts as array": ("reviews", np.array(["good " * 6, "bad"]), ["positive", "negative"]),
    "texts as objects": ("reviews", np.array(["good " * 6, "bad"], object), ["positive", "negative"]),
    "text of NumPy": ("reviews", [np.str_("bad")], ["negative"]),
    "series of texts": ("reviews", Series(["good " * 6, "bad"]), ["positive", "negative"]),
    "texts beside numbers": ("reviews", Frame({"id": [7], "review": ["good " * 6]}), ["positive"]),
    "table of texts": ("reviews", Frame({"review": ["good " * 6]}), ["positive"]),
    "ids": ("reviews", [[4, 4, 4, 4, 4, 4], np.array([5], np.uint8)], ["positive", "negative"]),
    "name of a directory in a list": ("reviews", ["bad"], ["negative"]),
    "picture": ("digits", [picture("L", 255)], ["bright"]),
    **{
        f"picture {mode}": ("digits", [picture(mode, value)], ["bright"])
        for mode, value in (
            *(("1", 1), ("LA", (255, 255)), ("RGB", (255,) * 3), ("RGBA", (255,) * 4), ("CMYK", (0, 0, 0, 0))),
            *(("YCbCr", (255, 128, 128)), ("HSV", (0, 0, 255)), ("I;16", 65535), ("I", 65535), ("F", 255.0)),
        )
    },
    "dark picture of 16 bits": ("digits", [picture("I;16", 10000)], ["dark"]),
    **{f"file of {kind}": ("digits", [png(picture("L", 255), kind)], ["bright"]) for kind in ("TIFF", "WEBP", "PPM")},
    "file of AVIF": ("digits", [png(picture("RGB", (255,) * 3), "AVIF")], ["bright"]),
    "pixels": ("digits", BRIGHT[None], ["bright"]),
    "path of a picture": ("digits", written("a.png", encode_png(BRIGHT)), ["bright"]),
    **{
        f"path of {kind} with frames": ("digits", written(f"a.{kind}", moving(kind)), ["dark", "bright", "dark"])
        for kind in ("gif", "png", "webp", "tiff", "avif")
    },
    "path of a TIFF": ("digits", written("a.tif", png(picture("I;16", 65535), "TIFF")), ["bright"]),
    "path of a directory": (
        "digits",
        directory(("b.png", encode_png(BRIGHT // 9)), ("a.png", encode_png(BRIGHT)), (".hidden.png", b"")),
        ["bright", "dark"],
    ),
    "path of CSV": ("named", written("a.csv", b"c,a,b\n3,1,2\n"), SEVEN),
    "path of NPY": ("affine", written("a.npy", NPY.getvalue()), SEVEN),
    "path of JSON lines": ("named", written("a.jsonl", b'{"c": 3, "b": 2, "a": 1}\n'), SEVEN),
    "path of columns": ("named", written("a.json", b'{"c": [3], "b": [2], "a": [1]}'), SEVEN),
    "path of instances": ("affine", written("a.json", b'{"instances": [[1, 2, 3]], "signature_name": "x"}'), SEVEN),
    "path in a list": ("reviews", lambda place: [written("a.txt", b"bad")(place)], ["negative"]),
}
#: Name → model, rows, the kind of error and a pattern of its message.
ERRORS: dict[str, tuple[str, Any, type[BookserveError], str]] = {
    "a text alone": ("reviews", "bad", InvalidInput, "list of rows"),
    "bytes alone": ("reviews", b"bad", InvalidInput, "list of rows"),
    "a number alone": ("affine", 3, InvalidInput, "list of rows"),
    "a dictionary alone": ("named", {"a": 1}, InvalidInput, "list of rows"),
    "a picture alone": ("digits", picture("L", 1), InvalidInput, "list of rows"),
    "an array of one number": ("affine", np.array(3), InvalidInput, "list of rows"),
    "nothing": ("affine", None, InvalidInput, "of type NoneType"),
    "no rows": ("affine", [], InvalidInput, "no rows"),
    "None": ("affine", [[1, 2, 3], None], InvalidInput, r"row 1: a row is nothing \(None\)"),
    "None inside": ("affine", [[1, None, 3]], InvalidInput, "row 0: a row has values of different types, or null"),
    "texts and numbers": ("reviews", [["good", 1]], InvalidInput, "row 0: a row has values of different types"),
    "ragged": ("affine", [[[1], [2, 3]]], InvalidInput, "row 0: a row has lists of different lengths"),
    "complex": ("affine", [[1j, 2, 3]], InvalidInput, "row 0: a row"),
    "dates": ("affine", np.array([["2020-01-01"] * 3], "M8[D]"), InvalidInput, "holds datetime64"),
    "an object": ("affine", [object()], InvalidInput, "row 0: a row is of type object"),
    "masked": ("affine", np.ma.masked_array([[1, 2, 3]], [[0, 1, 0]]), InvalidInput, "masked"),
    "sparse": ("affine", NarrowTensor(sparse=True), InvalidInput, "is no array that NumPy reads: can't convert Sparse"),
    "70 bits": ("affine", [[2**70, 1, 2]], InvalidInput, "more than 64 bits"),
    "rounded": ("keep", [[LARGE, 0.5]], InvalidInput, f"{LARGE} stands beside fractions"),
    "too few numbers": ("affine", [[1, 2]], InvalidInput, r"each row has shape \[2\]; expected float32\[3\]"),
    "a text for numbers": ("affine", ["bad"], InvalidInput, "the rows hold text; expected"),
    "numbers for a text": ("reviews", [[0.5, 1.5]], InvalidInput, "do not fit into int32"),
    "fractions for whole numbers": ("pair", [{"a": [1], "b": 0.5}], InvalidInput, "int64"),
    "wrong in row 1500": (
        "affine",
        ([1, 2, 3] if i != 1500 else [1, 2] for i in range(3000)),
        InvalidInput,
        "row 1500: each row has shape",
    ),
    "missing column": ("named", Frame({"a": [1], "c": [3]}), InvalidInput, "no 'b'; expected .*'a', 'b', 'c'"),
    "missing input": ("pair", Frame({"a": [[1]]}), InvalidInput, "keys 'a', 'b'.*lacks 'b'"),
    "other inputs": ("pair", [{"a": [1], "b": 2, "d": 3}], InvalidInput, "has 'd', too"),
    "columns named twice": ("named", Frame([("a", [1]), ("a", [1])]), InvalidInput, "more than one column named 'a'"),
    "a missing value": ("named", Arrow({"a": [1], "b": [None], "c": [2]}), InvalidInput, "'b' is missing a value"),
    "texts in two columns": (
        "reviews",
        Frame({"t": ["a"], "u": ["b"]}),
        InvalidInput,
        "columns t, u; the model takes one",
    ),
    "texts in a column": ("named", Frame({"a": ["x"], "b": [1], "c": [2]}), InvalidInput, "'a' holds the text 'x'"),
    "no file": ("digits", Path("nowhere.png"), NotFound, r"no file 'nowhere\.png'"),
    "an empty directory": ("digits", directory(("notes.doc", b"")), InvalidInput, "no files of a known kind"),
    "no picture": ("digits", [b"no picture"], InvalidInput, "not a picture"),
    "lone surrogate": ("reviews", ["\udcff"], InvalidInput, "row 0: a row is not UTF-8"),
}
WIRES = ("local", "http", "grpc")
#: As servers of tensors are called; the Steps are those of the bundles, in the client.
TENSOR_WIRES = ("tfserving+http", "tfserving+grpc", "oip+http", "oip+grpc")


def write_numbers(models: Path, name: str, steps: Numbers, node: str, number: Any) -> None:
    """A model of ``x``: "Add" is 2 x + number, "Greater" is 1 where x is above number, "Identity" is x."""
    spec = TensorSpec(steps.dtype, ("batch", *steps.shape))
    graph = Graph(inputs={"x": spec}, outputs={"y": spec}, onnx="model.onnx")
    nodes = [bundles._node("Mul", "x two", "twice"), bundles._node("Add", "twice one", "y")]
    constants = {"two": np.array(2, steps.dtype), "one": np.array(number, steps.dtype)}
    if node == "Identity":
        nodes, constants = [bundles._node("Identity", "x", "y")], {}
    elif node == "Greater":
        del constants["two"]
        nodes = [bundles._node("Greater", "x one", "above"), bundles._node("Cast", "above", "y", to=1)]
    feeds = {"x": np.zeros((1, *steps.shape), steps.dtype)}
    verb = Predict(inputs={"x": (steps,)}, outputs={"y": ()})
    bundles.write_bundle(models, name, verb, {"serving_default": (graph, nodes, constants)}, {"serving_default": feeds})


@pytest.fixture(scope="module")
def own_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    for write in (bundles.write_digits, bundles.write_reviews, bundles.write_affine, bundles.write_pair):
        write(models)
    write_numbers(models, "named", Numbers("float32", (3,), ("a", "b", "c")), "Add", 1)
    write_numbers(models, "compare", Numbers("float32", (3,)), "Greater", 100)
    write_numbers(models, "keep", Numbers("int64", (2,)), "Identity", 0)
    return models


@pytest.fixture(scope="module")
def own_server(own_models: Path) -> Iterator[Server]:
    with start(own_models) as running:
        yield running


@pytest.fixture(
    params=[
        "local",
        *(pytest.param(wire, marks=pytest.mark.slow) for wire in WIRES[1:]),
        *(pytest.param(wire, marks=[pytest.mark.slow, pytest.mark.sweep]) for wire in TENSOR_WIRES),
    ]
)
def anywhere(request: pytest.FixtureRequest, own_models: Path) -> Iterator[Client]:
    protocol, _, wire = request.param.rpartition("+")
    address = f"local:{own_models}" if wire == "local" else getattr(request.getfixturevalue("own_server"), wire)
    with connect(f"{protocol}+{address}", bundles=own_models) if protocol else connect(address) as client:
        yield client


def values(answers: list[Any], output: str) -> list[Any]:
    """The value of each answer, or its likeliest label."""
    found = [answer.get(output, next(iter(answer.values()))) for answer in plain_answers(answers)]
    return [value[0]["label"] if isinstance(value, list) and isinstance(value[0], dict) else value for value in found]


@pytest.mark.parametrize("kind", ANSWERS)
def test_what_has_a_meaning_has_the_same_everywhere(anywhere: Client, kind: str, tmp_path: Path) -> None:
    model, given, expected = ANSWERS[kind]
    if isinstance(given, Iterator):  # it can be read only once, and the three wires share it
        given = [[i, 2, 3] for i in range(2500)] if len(expected) > 1 else [[1, 2, 3]]
        given = iter(given)
    rows = given(tmp_path) if callable(given) else given
    for file in rows if isinstance(rows, list) else ():
        if isinstance(file, io.IOBase):
            file.seek(0)
    output = "next" if model == "next" else "sum"
    answers = anywhere.predict("pair" if model == "next" else model, rows)
    assert len(answers) == len(expected)
    np.testing.assert_array_equal(values(answers, output), expected)


@pytest.mark.parametrize("kind", ERRORS)
def test_what_has_none_is_refused_in_the_same_words(anywhere: Client, kind: str, tmp_path: Path) -> None:
    model, given, error, complaint = ERRORS[kind]
    if isinstance(given, Iterator):
        given = iter([[1, 2, 3]] * 1500 + [[1, 2]] + [[1, 2, 3]] * 1499)
    rows = given(tmp_path) if callable(given) else given
    with pytest.raises(error, match=complaint) as caught:
        anywhere.predict(model, rows)
    assert type(caught.value) is error


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_the_libraries_themselves_where_they_are_installed(library: str, own_models: Path) -> None:
    module = pytest.importorskip(library)
    columns = {"c": [3.0, 1.0], "a": [1.0, 0.0], "b": [2.0, 0.0]}
    table = module.table(columns) if library == "pyarrow" else module.DataFrame(columns)
    with connect(f"local:{own_models}") as client:
        answers = client.predict("named", table)
        assert values(answers, "y") == [[3, 5, 7], [1, 1, 3]]
        assert len(answers.to_arrow() if library == "pyarrow" else getattr(answers, f"to_{library}")()) == 2


def test_bytes_in_json_files_are_pictures(own_models: Path, tmp_path: Path) -> None:
    row = {"b64": base64.b64encode(encode_png(BRIGHT)).decode()}
    (tmp_path / "a.json").write_text(json.dumps({"instances": [row]}))
    with connect(f"local:{own_models}") as client:
        assert values(client.predict("digits", tmp_path / "a.json"), "") == ["bright"]
