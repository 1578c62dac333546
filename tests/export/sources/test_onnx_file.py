"""Test external ONNX models: they are served unchanged, or refused with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bookserve.bundle import Bundle, open_bundle
from bookserve.client import connect
from bookserve.errors import Failed, InvalidInput
from export.sources import onnx_file
from export.sources.source import find_source
from tests.servers import start

WEIGHTS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
Value = onnx.ValueInfoProto


def value(name: str, *shape: int | str | None, kind: int = TensorProto.FLOAT) -> Value:
    return helper.make_tensor_value_info(name, kind, shape)


def linear(
    *, x: Value | None = None, y: Value | None = None, nodes: list[onnx.NodeProto] | None = None, **header: Any
) -> onnx.ModelProto:
    """``y = x · WEIGHTS``, or other nodes between the same tensors."""
    graph = helper.make_graph(
        nodes or [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [x or value("x", "N", 6)],
        [y or value("y", "N", 4)],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    header.setdefault("opset_imports", [helper.make_opsetid("", 17)])
    header.setdefault("ir_version", 8)
    return helper.make_model(graph, **header)


@pytest.fixture
def write(tensorflow, tmp_path: Path, models: Path) -> Callable[..., Any]:
    """Write an ONNX file and export it."""

    def write(proto: onnx.ModelProto | bytes, config: str = "") -> Any:
        from export.write import write_bundle

        path = tmp_path / "net.onnx"
        path.write_bytes(proto if isinstance(proto, bytes) else proto.SerializeToString())
        (tmp_path / "net.toml").write_text(config)
        return write_bundle(find_source(str(path), tmp_path, None, tmp_path / "net.toml"), models)

    return write


def test_a_model_is_shipped_unchanged(bookserve, write, tmp_path: Path, models: Path) -> None:
    bundle: Bundle = write(linear()).bundle
    manifest = bundle.manifest
    assert (bundle.path / "model.onnx").read_bytes() == (tmp_path / "net.onnx").read_bytes()
    assert set(manifest.files) == {"model.onnx", "examples.npz", "README.md"}
    _, graph = bundle.graph()
    assert [str(spec) for spec in (*graph.inputs.values(), *graph.outputs.values())] == [
        "float32[batch, 6]",
        "float32[batch, 4]",
    ]
    assert manifest.parameters == WEIGHTS.size
    assert "TensorFlow Serving cannot" in (bundle.path / "README.md").read_text()
    example = bundle.examples().graphs["serving_default"]
    np.testing.assert_allclose(example.outputs["y"], example.inputs["x"] @ WEIGHTS, rtol=1e-5)
    code, out, _ = bookserve("verify", "net", "--models", models, "--json")
    check = json.loads(out)[0]
    assert (code, check["ok"], check["saved_model_difference"], check["onnx_difference"]) == (0, True, None, 0)


def test_every_way_to_call_it_gives_the_same(write, models: Path) -> None:
    write(linear())
    row = np.arange(6, dtype=np.float32)
    with start(models) as server:
        for address in (f"local:{models}", server.http, server.grpc):
            with connect(address) as client:
                np.testing.assert_allclose(client.predict("net", [row, row])[1]["y"], row @ WEIGHTS, rtol=1e-5)


def test_axes_keep_their_names_and_share_their_sizes(write) -> None:
    nodes = [
        helper.make_node("Mul", ["x", "mask"], ["kept"]),
        helper.make_node("ReduceMax", ["kept"], ["y"], axes=[1], keepdims=0),
    ]
    proto = linear(x=value("x", None, "words"), y=value("y", None), nodes=nodes)
    proto.graph.input.append(value("mask", "N", "words"))
    bundle: Bundle = write(proto).bundle
    _, graph = bundle.graph()
    assert {name: str(spec) for name, spec in graph.inputs.items()} == {
        "x": "float32[batch, words]",
        "mask": "float32[batch, words]",
    }
    assert graph.batched


def test_rows_that_depend_on_each_other_are_no_batch_whatever_their_axis_is_called(write) -> None:
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=1),
        helper.make_node("Div", ["x", "sum"], ["y"]),
    ]
    proto = linear(x=value("x", "batch", 6), y=value("y", "batch", 6), nodes=nodes)
    assert not write(proto).bundle.graph()[1].batched


def test_a_fixed_batch_is_kept(write) -> None:
    graph = write(linear(x=value("x", 1, 6), y=value("y", 1, 4))).bundle.graph()[1]
    assert (str(graph.inputs["x"]), graph.batched) == ("float32[1, 6]", False)


@pytest.mark.parametrize("rows", [-1, 0])
def test_an_axis_without_a_size_is_free(write, rows: int) -> None:
    """MXNet writes 0 for the rows, and old exporters of Keras -1; ONNX itself has no number there."""
    _, graph = write(linear(x=value("x", rows, 6), y=value("y", rows, 4))).bundle.graph()
    assert graph.inputs["x"].shape == ("batch", 6)
    assert graph.outputs["y"].shape == ("batch", 4)


def test_texts_are_served_where_onnx_runtime_reads_them(write) -> None:
    encode = helper.make_node(
        "LabelEncoder",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        keys_strings=["one", "two"],
        values_int64s=[1, 2],
        default_int64=-1,
    )
    proto = linear(
        x=value("x", "N", kind=TensorProto.STRING),
        y=value("y", "N", kind=TensorProto.INT64),
        nodes=[encode],
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)],
    )
    bundle: Bundle = write(proto).bundle
    with connect(f"local:{bundle.path.parent.parent}") as client:
        assert [int(answer["y"]) for answer in client.predict("net", ["two", "one", "six"])] == [2, 1, -1]


def external(path: Path, location: str, *, offset: int = 0) -> None:
    """Write ``linear`` with its weights in the file ``location``."""
    proto = linear()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    fields = {"location": location, "offset": str(offset), "length": str(WEIGHTS.nbytes)}
    for key, text in fields.items():
        tensor.external_data.add(key=key, value=text)
    path.write_bytes(proto.SerializeToString())


@pytest.mark.parametrize("limit", [1 << 30, 10])
def test_external_weights_are_copied(
    tensorflow, tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    from export.write import write_bundle

    monkeypatch.setattr(onnx_file, "_MAX_EMBEDDED_BYTES", limit)
    (tmp_path / "from").mkdir()
    external(tmp_path / "from" / "net.onnx", "net.weights")
    (tmp_path / "from" / "net.weights").write_bytes(WEIGHTS.tobytes())
    bundle = write_bundle(find_source(str(tmp_path / "from" / "net.onnx"), tmp_path), models).bundle
    assert ("net.weights" in bundle.manifest.files) is (limit == 10)
    (tmp_path / "from" / "net.weights").unlink()
    bundle.check_files()
    row = np.ones(6, np.float32)
    with connect(f"local:{models}") as client:
        np.testing.assert_allclose(client.predict("net", [row])[0]["y"], row @ WEIGHTS, rtol=1e-5)


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("../net.weights", "not a plain file in its own directory"),
        ("/etc/passwd", "not a plain file in its own directory"),
        ("junk/../../net.weights", "not a plain file in its own directory"),
        ("..\\net.weights", "not a plain file in its own directory"),
        ("link", "not a plain file in its own directory"),
        ("gone", "does not exist"),
        ("bundle.json", "not a plain file in its own directory"),
        ("README.md", "a file name that bundles use"),
        ("short", "external data of .* cannot be read"),
    ],
)
def test_weights_outside_the_directory_are_refused(
    tensorflow, tmp_path: Path, models: Path, location: str, says: str
) -> None:
    from export.write import write_bundle

    home = tmp_path / "from"
    home.mkdir()
    for name in ("../net.weights", "README.md", "bundle.weights"):
        (home / name).write_bytes(WEIGHTS.tobytes())
    (home / "short").write_bytes(b"1234")
    (home / "link").symlink_to(tmp_path / "net.weights")
    external(home / "net.onnx", location)
    with pytest.raises(InvalidInput, match=says):
        write_bundle(find_source(str(home / "net.onnx"), tmp_path), models)
    assert not models.exists() or not list(models.iterdir())


FOO = helper.make_node("Foo", ["x"], ["y"])
OWN = helper.make_node("Foo", ["x"], ["y"], domain="my.ops")
SEQUENCE = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)


@pytest.mark.parametrize(
    ("proto", "says"),
    [
        (b"", "is empty"),
        (b"hello", "not a complete ONNX file"),
        (linear().SerializeToString()[:-20], "not a complete ONNX file"),
        (linear(ir_version=onnx.IR_VERSION + 1), "IR version"),
        (linear(opset_imports=[helper.make_opsetid("", onnx.defs.onnx_opset_version() + 1)]), "operator set"),
        (linear(nodes=[FOO]), "operator 'Foo', which"),
        (linear(nodes=[OWN], opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("my.ops", 1)]), "my.ops"),
        (linear(nodes=[helper.make_node("MatMul", ["x", "nothing"], ["y"])]), "not valid ONNX"),
        (linear(x=value("x", "N", 6, kind=TensorProto.COMPLEX64), y=value("y", "N", 4)), "not valid|load|complex64"),
        (linear(y=SEQUENCE, nodes=[helper.make_node("SequenceConstruct", ["x"], ["y"])]), "is a sequence"),
        (
            linear(x=value("w", 6, 4), y=value("y", 6, 6), nodes=[helper.make_node("MatMul", ["w", "w2"], ["y"])]),
            "not valid ONNX",
        ),
    ],
)
def test_what_cannot_be_served_is_refused(write, models: Path, proto: Any, says: str) -> None:
    with pytest.raises((InvalidInput, Failed), match=says):
        write(proto)
    assert not list(models.glob("*"))


def test_functions_of_the_model_are_its_own_operators(write) -> None:
    function = helper.make_function(
        "my.ops", "Foo", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    proto = linear(
        x=value("x", "N", 6),
        y=value("y", "N", 6),
        nodes=[OWN],
        functions=[function],
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("my.ops", 1)],
    )
    assert write(proto).bundle.graph()[1].batched


def test_a_model_that_draws_random_numbers_is_served_without_an_example(bookserve, write, models: Path) -> None:
    noise = helper.make_node("RandomNormalLike", ["x"], ["y"])
    done = write(linear(x=value("x", "N", 6), y=value("y", "N", 6), nodes=[noise]))
    assert "it gives another answer to the same input each time" in done.notes[0]
    code, out, _ = bookserve("verify", "net", "--models", models)
    assert code == 0
    assert "no example" in out


def test_exporting_again_makes_the_next_version(write, models: Path) -> None:
    assert [write(linear()).bundle.version for _ in range(3)] == [1, 2, 3]
    first, last = open_bundle(models, "net", 1), open_bundle(models, "net")
    assert first.manifest.files["model.onnx"] == last.manifest.files["model.onnx"]
