"""Bundles that came from elsewhere: nothing in one leads out of it, and nothing of it is believed unchecked."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest

from bookserve import bundle
from bookserve.bundle import Bundle, external_data
from bookserve.bundle.publication import sha256
from bookserve.client import connect
from bookserve.errors import Failed
from tests import bundles

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def affine(tmp_path: Path) -> Path:
    """The version directory of a fresh bundle."""
    bundles.write_affine(tmp_path / "models")
    return tmp_path / "models" / "affine" / "1"


def rewrite(version: Path, change: Change) -> None:
    content = json.loads((version / "bundle.json").read_text())
    change(content)
    (version / "bundle.json").write_text(json.dumps(content))


def relist(version: Path) -> None:
    """List the files as they are now, as a forger would."""

    def change(content: dict[str, Any]) -> None:
        for name, file in content["files"].items():
            file |= {"size": (version / name).stat().st_size, "sha256": sha256(version / name)}

    rewrite(version, change)


def listed(path: str) -> Change:
    return lambda content: content["files"].update({path: {"size": 1, "sha256": "0" * 64}})


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "a/../../x",
        "/etc/passwd",
        "a\\b",
        "..\\x",
        "C:x",
        "a//b",
        "./a",
        "",
        "a\nb",
        "a\0b",
        "a/",
        "bundle.json",
    ],
)
def test_paths_that_are_not_inside_are_refused(affine: Path, path: str) -> None:
    rewrite(affine, listed(path))
    with pytest.raises(Failed, match="it lists"):
        Bundle.open(affine)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.update(unknown=1), "unknown field"),
        (lambda c: c["graphs"]["serving_default"].update(code="x"), "unknown field"),
        (lambda c: c["verb"].update(code="x"), "unknown field"),
        (lambda c: c["verb"]["inputs"]["x"][0].update(code="x"), "unknown field"),
        (lambda c: c["verb"]["inputs"]["x"].append({"step": "exec"}), "exec"),
        (lambda c: c.update(name="../../x"), "not a model name"),
        (lambda c: c.update(name=7), "Expected `str`"),
        (lambda c: c.update(files=[]), "Expected `object`"),
        (lambda c: c["files"]["model.onnx"].update(size=-1), ">= 0"),
        (lambda c: c["files"]["model.onnx"].update(sha256="../x"), "regex"),
        (lambda c: c["graphs"].update({"a\\b": c["graphs"]["serving_default"]}), "not a name of a graph"),
        (lambda c: c["graphs"]["serving_default"].update(onnx="../model.onnx"), "not listed"),
        (lambda c: c["graphs"]["serving_default"].update(onnx=None), "no SavedModel is listed"),
        (lambda c: c["graphs"]["serving_default"]["inputs"]["x"].update(dtype="object"), "unknown dtype"),
        (lambda c: c["graphs"]["serving_default"]["inputs"]["x"].update(shape=["batch", -3]), "negative size"),
        (lambda c: c.update(format=2, something="new"), "has bundle format 2"),
    ],
)
def test_a_manifest_that_no_exporter_writes_is_refused(affine: Path, change: Change, says: str) -> None:
    rewrite(affine, change)
    with pytest.raises(Failed, match=says):
        Bundle.open(affine)


@pytest.mark.parametrize(
    "content", [b"[" * 3_000_000, b'{"a":' * 1_000_000, b" " * 9_000_000, b'{"name":' + b"[" * 3_000_000]
)
def test_a_huge_or_endless_manifest_is_refused(affine: Path, content: bytes) -> None:
    (affine / "bundle.json").write_bytes(content)
    with pytest.raises(Failed):
        Bundle.open(affine)


def test_a_vocabulary_that_leads_outside_is_refused(tmp_path: Path) -> None:
    bundles.write_writer(tmp_path)
    asset = tmp_path / "writer/1/assets/characters.json"
    (tmp_path / "secret.json").write_text('["a"]')
    asset.unlink()
    asset.symlink_to(tmp_path / "secret.json")
    with pytest.raises(Failed, match="not a vocabulary"):
        bundle.open_bundle(tmp_path, "writer")


def point_outside(version: Path, location: str) -> None:
    """Let the model's constant live in another file."""
    proto = onnx.load(version / "model.onnx")
    tensor = proto.graph.initializer[0]
    size = len(onnx.numpy_helper.to_array(tensor).tobytes())
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(size))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    (version / "model.onnx").write_bytes(proto.SerializeToString())


@pytest.mark.parametrize(
    "location", ["../../../secret", "/etc/passwd", "junk/../../x", "..\\x", "*/_ORT_MEM_ADDR_/*", "x"]
)
def test_tensors_outside_the_bundle_are_refused_by_everyone(affine: Path, location: str) -> None:
    (affine.parent.parent.parent / "secret").write_bytes(bytes(100))
    (affine / "x").write_bytes(bytes(100))  # there, but not listed: nobody knows its checksum
    point_outside(affine, location)
    relist(affine)
    opened = Bundle.open(affine)
    for everything in (True, False):
        with pytest.raises(Failed, match=r"keeps tensors in .* not a file of the bundle"):
            opened.check_files(everything=everything)
    with pytest.raises(Failed, match="keeps tensors in"), connect(f"local:{affine.parent.parent}") as client:
        client.predict("affine", [[1, 2, 3]])


def test_tensors_in_a_listed_file_are_the_bundles_own(affine: Path) -> None:
    point_outside(affine, "weights.bin")
    (affine / "weights.bin").write_bytes(np.array(3, np.float32).tobytes())
    rewrite(affine, listed("weights.bin"))
    relist(affine)
    Bundle.open(affine).check_files()
    with connect(f"local:{affine.parent.parent}") as client:
        assert client.predict("affine", [[1, 2, 3]])[0]["y"].tolist() == [4, 7, 10]
    (affine / "weights.bin").write_bytes(np.array(4, np.float32).tobytes())
    with pytest.raises(Failed, match=r"weights\.bin is not the file"):
        Bundle.open(affine).check_files(everything=False)


def test_external_tensors_are_found_wherever_they_hide(tmp_path: Path) -> None:
    def hidden(name: str) -> onnx.TensorProto:
        tensor = onnx.TensorProto(name=name, data_location=onnx.TensorProto.EXTERNAL, dims=[1], data_type=1)
        tensor.external_data.add(key="location", value=name)
        return tensor

    inner = onnx.GraphProto(name="inner", initializer=[hidden("in a branch")])
    branch = onnx.helper.make_node("If", ["c"], ["y"])
    branch.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH).g.CopyFrom(inner)
    branch.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(hidden("in a constant"))
    proto = onnx.ModelProto(ir_version=10)
    proto.graph.node.append(branch)
    proto.graph.initializer.append(hidden("plain"))
    proto.graph.sparse_initializer.add().values.CopyFrom(hidden("sparse"))
    proto.functions.add(name="f").node.append(branch)
    proto.functions[0].attribute_proto.add(name="d").t.CopyFrom(hidden("a default"))
    proto.training_info.add().initialization.initializer.append(hidden("for training"))
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    everywhere = ["in a branch", "in a constant", "plain", "sparse", "a default", "for training"]
    assert sorted(external_data.external_data_locations(tmp_path / "m.onnx")) == sorted(everywhere)


@pytest.mark.parametrize("content", [b"", b"\x3a", b"\x3a\xff\xff\xff\xff\x0f", b"hello", b"\x3a\x80", b"\xff" * 50])
def test_what_is_no_onnx_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(Failed):
        external_data.external_data_locations(tmp_path / "m.onnx")


def test_damage_of_any_kind_ends_in_an_answer(affine: Path) -> None:
    """A thousand spoilt ONNX files: each is read as something, or refused in words."""
    whole = (affine / "model.onnx").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(1000):
        spoilt = bytearray(whole[: rng.integers(1, len(whole) + 1)])
        for at in rng.integers(0, len(spoilt), 4):
            spoilt[at] = rng.integers(256)
        (affine / "model.onnx").write_bytes(spoilt)
        try:
            external_data.external_data_locations(affine / "model.onnx")
        except Failed:
            continue


def test_a_pickle_among_the_examples_is_refused(affine: Path) -> None:
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(affine / "sprung"),)

    np.savez(affine / "examples.npz", rows=np.array([Trap()], object))
    relist(affine)
    opened = Bundle.open(affine)
    opened.check_files()
    with pytest.raises(Failed, match="cannot be read"):
        opened.examples()
    assert not (affine / "sprung").exists()


def test_examples_that_unpack_to_gigabytes_are_refused(affine: Path) -> None:
    import zipfile

    with (
        zipfile.ZipFile(affine / "examples.npz", "w", zipfile.ZIP_DEFLATED) as file,
        file.open("rows.npy", "w") as rows,
    ):
        for _ in range(1100):
            rows.write(bytes(1 << 20))
    with pytest.raises(Failed, match="larger than one gigabyte"):
        Bundle.open(affine).examples()


def test_what_nothing_runs_is_not_read_at_load(affine: Path) -> None:
    """Sizes are always compared, content of the SavedModel only where TensorFlow runs it."""
    (affine / "saved_model.pb").write_bytes(b"abc")
    rewrite(affine, listed("saved_model.pb"))
    relist(affine)
    (affine / "saved_model.pb").write_bytes(b"abd")
    opened = Bundle.open(affine)
    opened.check_files(everything=False)
    with pytest.raises(Failed, match=r"saved_model\.pb is not the file"):
        opened.check_files()
    graphs = {name: msgspec.structs.replace(graph, onnx=None) for name, graph in opened.manifest.graphs.items()}
    on_tensorflow = Bundle(affine, msgspec.structs.replace(opened.manifest, graphs=graphs))
    with pytest.raises(Failed, match=r"saved_model\.pb is not the file"):
        on_tensorflow.check_files(everything=False)
    (affine / "saved_model.pb").write_bytes(b"ab")
    with pytest.raises(Failed, match=r"saved_model\.pb is not the file"):
        opened.check_files(everything=False)


def test_a_directory_in_place_of_a_file_is_said(affine: Path) -> None:
    (affine / "model.onnx").unlink()
    (affine / "model.onnx").mkdir()
    with pytest.raises(Failed, match="missing"):
        Bundle.open(affine).check_files()


def test_a_linked_version_is_as_good_as_its_target(affine: Path, tmp_path: Path) -> None:
    """Orchestrators mount directories by links; only links that leave the version are refused."""
    (tmp_path / "mounted" / "affine").mkdir(parents=True)
    (tmp_path / "mounted" / "affine" / "1").symlink_to(affine)
    bundle.open_bundle(tmp_path / "mounted", "affine").check_files()
    shutil.move(affine / "model.onnx", tmp_path / "elsewhere.onnx")
    (affine / "model.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(Failed, match="outside"):
        bundle.open_bundle(tmp_path / "mounted", "affine").check_files()
