"""SignatureDefs read out of ``saved_model.pb``, and what they mean for classify and regress, without TensorFlow."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bookserve.api import tfserving_pb2 as pb
from bookserve.errors import Failed, InvalidInput
from bookserve.graph import Arrays, Graph, TensorSpec
from serve.models.live_model import LiveModel
from serve.protocols.tfserving.classify_regress import check_task, make_result
from serve.protocols.tfserving.signatures import (
    CLASSIFY,
    PREDICT,
    REGRESS,
    is_foreign,
    read_signatures,
    saved_model_signatures,
    signature_defs,
)
from serve.protocols.tfserving.tensors import encode_varint
from tests.serve.models.versions import opened

TENSOR = pb.TensorInfo(name="t:0", dtype=pb.DT_STRING, tensor_shape=pb.TensorShapeProto(unknown_rank=True))
PREDICTS = pb.SignatureDef(inputs={"x": TENSOR}, outputs={"y": TENSOR}, method_name=PREDICT)
CLASSIFIES = pb.SignatureDef(inputs={"inputs": TENSOR}, outputs={"scores": TENSOR}, method_name=CLASSIFY)
RECORDS = {"inputs": TensorSpec("string", ("n",))}


def floats(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def texts(*shape: int) -> np.ndarray:
    return np.full(shape, b"label", object)


def field(number: int, content: bytes) -> bytes:
    return encode_varint(number << 3 | 2) + encode_varint(len(content)) + content


def part(tag: bytes, **signatures: pb.SignatureDef) -> bytes:
    """A MetaGraphDef: tags, a graph that is skipped, fields of other wire types, signatures."""
    others = bytes([8 << 3, 150, 1, 9 << 3 | 1, *range(8), 10 << 3 | 5, *range(4)])
    entries = [field(1, name.encode()) + field(2, one.SerializeToString()) for name, one in signatures.items()]
    return field(1, field(4, tag)) + field(2, b"\xff" * 1000) + others + b"".join(field(5, entry) for entry in entries)


def saved_model(*parts: bytes) -> bytes:
    return bytes([1 << 3, 1]) + b"".join(field(2, one) for one in parts)


def test_the_signatures_of_the_part_for_serving(tmp_path: Path) -> None:
    file = tmp_path / "saved_model.pb"
    file.write_bytes(saved_model(part(b"train", old=PREDICTS), part(b"serve", serving_default=PREDICTS, c=CLASSIFIES)))
    assert read_signatures(file) == {"serving_default": PREDICTS, "c": CLASSIFIES}
    file.write_bytes(saved_model(part(b"", only=PREDICTS), part(b"", other=CLASSIFIES)))
    assert read_signatures(file) == {"only": PREDICTS}
    file.write_bytes(saved_model())
    assert read_signatures(file) == {}


@pytest.mark.parametrize("cut", [1, 3, 10, 500])
def test_a_damaged_file_is_refused(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "saved_model.pb"
    file.write_bytes(saved_model(part(b"serve", serving_default=PREDICTS))[:-cut])
    with pytest.raises(Failed, match="not a SavedModel"):
        read_signatures(file)
    file.write_bytes(b"\xff" * 20)
    with pytest.raises(Failed, match="not a SavedModel"):
        read_signatures(file)


@pytest.fixture
def foreign(models: Path, tmp_path: Path) -> LiveModel:
    """A model without a bundle: an ONNX file that runs, and a SavedModel's signatures beside it."""
    home = tmp_path / "numbers/1"
    home.mkdir(parents=True)
    shutil.copy(models / "affine/1/model.onnx", home)
    (home / "saved_model.pb").write_bytes(saved_model(part(b"serve", serving_default=PREDICTS, c=CLASSIFIES)))
    return opened(tmp_path).find("numbers")


def test_metadata_are_those_of_the_file(foreign: LiveModel) -> None:
    assert is_foreign(foreign)
    assert signature_defs(foreign).signature_def == {"serving_default": PREDICTS, "c": CLASSIFIES}
    shutil.rmtree(foreign.bundle.path)
    assert saved_model_signatures(foreign).keys() == {"serving_default", "c"}


def test_a_bundle_is_not_foreign(models: Path) -> None:
    live = opened(models).find("affine")
    assert not is_foreign(live)
    assert signature_defs(live).signature_def["serving_default"].method_name == PREDICT
    name, graph = live.bundle.graph()
    assert check_task(CLASSIFY, live, name, graph) is False


def test_the_method_name_counts_where_the_operator_wants_it(foreign: LiveModel) -> None:
    takes_records = Graph(inputs=RECORDS, outputs={"scores": TensorSpec("float32", ("n", 1))})
    assert check_task(CLASSIFY, foreign, "serving_default", takes_records)
    assert check_task(CLASSIFY, foreign, "c", takes_records, check_method=True)
    with pytest.raises(InvalidInput, match=f"method_name to be {CLASSIFY}. Was: {PREDICT}"):
        check_task(CLASSIFY, foreign, "serving_default", takes_records, check_method=True)
    with pytest.raises(InvalidInput, match=f"method_name to be {REGRESS}. Was: {PREDICT}.*No regression inputs found"):
        check_task(REGRESS, foreign, "serving_default", foreign.bundle.graph()[1])


@pytest.mark.parametrize(
    ("task", "outputs", "error"),
    [
        (CLASSIFY, {"scores": floats(2)}, "but got [2]"),
        (CLASSIFY, {"scores": floats(3, 2)}, "Expected scores output batch size of 2. Got: 3"),
        (CLASSIFY, {"scores": floats(2, 2).astype("float64")}, "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        (CLASSIFY, {"classes": floats(2, 2)}, "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
        (CLASSIFY, {"classes": texts(2, 3), "scores": floats(2, 2)}, "match in dim_size(1). Got 3 vs. 2"),
        (REGRESS, {"outputs": floats(2, 2)}, "but got [2,2]"),
        (REGRESS, {"outputs": floats(3)}, "did not match output batch size: 2 vs. 3"),
        (REGRESS, {"outputs": floats(2).astype("float64")}, "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE"),
    ],
)
def test_outputs_that_do_not_fit_the_records(foreign: LiveModel, task: str, outputs: Arrays, error: str) -> None:
    specs = {name: TensorSpec("float32", ("n", 1)) for name in outputs}
    with pytest.raises(InvalidInput) as caught:
        make_result(task, foreign, "c", Graph(inputs=RECORDS, outputs=specs), outputs, rows=2)
    assert error in str(caught.value)
