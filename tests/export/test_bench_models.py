"""Test ``bench/models.py``: the lines that it measures, and when it reports docs/models.md as stale."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from bookserve.bundle import Bundle
from bookserve.bundle.variant import Variant

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("models", ROOT / "bench" / "models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.SECONDS = 0.0
    return module


def test_a_line_for_each_graph_with_operators_and_both_runtimes(table: ModuleType, bundles: dict[str, Bundle]) -> None:
    lines = [dict(zip(table.COLUMNS[:7], row[:7], strict=True)) for row in table.rows(bundles["writer"])]
    assert [(line["task"], line["graph"]) for line in lines] == [
        ("`writer`", "`serving_default`"),
        ("`writer`", "`step`"),
    ]
    for line in lines:
        assert "LSTM" in line["ONNX operators"].split(", ")
        assert 0 < float(line["ONNX ms at 1"]) < float(line["TF ms at 1"].replace(",", ""))
        assert float(line["worst difference"]) < 1e-5


def test_operators_inside_loops_are_counted(table: ModuleType, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    branches = {
        f"{name}_branch": helper.make_graph([helper.make_node(kind, ["one"], ["out"])], name, [], [out])
        for name, kind in (("then", "Neg"), ("else", "Abs"))
    }
    graph = helper.make_graph([helper.make_node("If", ["flag"], ["out"], **branches)], "if", [flag], [out], [one])
    onnx.save(helper.make_model(graph), tmp_path / "if.onnx")
    assert set(table.operators(tmp_path / "if.onnx").split(", ")) == {"If", "Neg", "Abs"}


def test_a_line_for_each_variant(table: ModuleType, bundles: dict[str, Bundle]) -> None:
    import msgspec

    bundle = bundles["prices"]
    size = (bundle.path / "model.onnx").stat().st_size
    variant = Variant(
        file="variants/float16/model.onnx",
        bytes=size // 2,
        rows=6,
        difference=0.1,
        deviation=0.01,
        shift=0.25,
        milliseconds={"load": (1.0, 1.0), "1": (3.0, 1.0), "32": (1.0, 2.0)},
    )
    manifest = msgspec.structs.replace(bundle.manifest, variants={"float16": {"serving_default": variant}})
    (line,) = table.variants(Bundle(bundle.path, manifest))
    assert dict(zip(table.VARIANTS, line, strict=True)) == {
        "task": "`prices`",
        "graph": "`serving_default`",
        "variant": "float16",
        "kB": f"{size / 2000:,.0f}",
        "of float32": "50%",
        "faster at 1": "3 ×",
        "at 32": "0.5 ×",
        "deviation": "1.0e-02",
        "labels kept": "–",
        "shift": "0.25",
    }


def test_a_document_that_misses_a_task_or_a_column_is_stale(table: ModuleType) -> None:
    from trainers import catalogue

    lines = [(f"`{name}`", "`serving_default`", *["1"] * (len(table.COLUMNS) - 2)) for name in catalogue.task_names()]
    assert table.find_problem(table.document(lines, [])) == ""
    assert table.find_problem(table.document(lines[1:], [])) == f"misses {lines[0][0].strip('`')}"
    other = table.document(lines, []).replace("worst difference", "difference")
    assert table.find_problem(other) == "has other columns"


def test_nothing_is_written_if_tasks_are_missing(table: ModuleType, bundles: dict[str, Bundle], tmp_path: Path) -> None:
    before = (ROOT / "docs" / "models.md").read_bytes()
    only = tmp_path / "models" / "prices"
    only.parent.mkdir()
    only.symlink_to(bundles["prices"].path.parent)
    done = CliRunner().invoke(table.main, [str(only.parent)])
    assert done.exit_code == 1
    assert "the table misses " in done.output
    assert (ROOT / "docs" / "models.md").read_bytes() == before
    assert CliRunner().invoke(table.main, ["--check"]).exit_code == 0
