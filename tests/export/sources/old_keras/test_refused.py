"""Test that hostile, damaged and mistaken files are refused before anything is loaded, with a way out."""

from __future__ import annotations

import base64
import gzip
import json
import re
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bookserve.errors import InvalidInput
from export.sources.file_format import file_format
from export.sources.old_keras.allow_list import check_description
from export.sources.old_keras.archive import check_archive
from export.sources.old_keras.early_archive import rename_early_weights
from export.sources.old_keras.rebuilt import check_file

Write = Callable[[h5py.File], None]


def layer(kind: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": kind.lower(), **config}}


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    first = layer("Dense", units=2, activation="relu", batch_input_shape=[None, 3])
    return {"class_name": "Sequential", "config": {"name": "s", "layers": [first, *layers]}}


DENSE = sequential()


def hdf5(
    path: Path, description: Any = DENSE, change: Write | None = None, version: str = "2.2.4", block: int = 0
) -> Path:
    """Write a file as Keras 2 does, with one Dense layer, behind a user block; then change it."""
    with h5py.File(path, "w", userblock_size=block) as file:
        file.attrs["keras_version"] = version
        if description is not None:
            file.attrs["model_config"] = json.dumps(description)
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = np.array([b"dense"])
        group = weights.create_group("dense")
        group.attrs["weight_names"] = np.array([b"dense/kernel:0", b"dense/bias:0"])
        group["dense/kernel:0"] = np.ones((3, 2), np.float32)
        group["dense/bias:0"] = np.ones(2, np.float32)
        if change:
            change(file)
    return path


def archive(path: Path, description: Any = DENSE, version: str = "2.15.0", **others: bytes) -> Path:
    """Write a ``.keras`` file as Keras 2 does; ``others`` are further members by name."""
    weights = hdf5(path.with_name("weights.h5"))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.json", json.dumps({"keras_version": version}))
        file.writestr("config.json", json.dumps(description))
        file.write(weights, "model.weights.h5")
        for name, content in others.items():
            file.writestr(name, content)
    return path


def refused(path: Path, **settings: Any) -> str:
    """Check a file that must be refused; return the message and the hint."""
    with pytest.raises(InvalidInput) as error:
        check_file(path, **settings)
    return str(error.value)


def test_a_plain_file_is_accepted_with_its_version(tmp_path: Path) -> None:
    plan = check_file(hdf5(tmp_path / "net.keras"))  # HDF5 whatever its name says
    assert plan.maker == {"keras": "2.2.4"}
    assert plan.keras == "tf_keras"
    assert check_file(archive(tmp_path / "zip.h5")).maker == {"keras": "2.15.0"}  # a zip archive whatever its name says


def external_link(file: h5py.File) -> None:
    file["model_weights/dense/secret"] = h5py.ExternalLink("/etc/passwd", "/")


def soft_link(file: h5py.File) -> None:
    file["model_weights/other"] = h5py.SoftLink("/elsewhere")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "data", (3,))
    file.create_virtual_dataset("model_weights/virtual", layout)


def external(file: h5py.File) -> None:
    file.create_dataset("model_weights/outside", (4,), "u1", external=[("/etc/passwd", 0, 4)])


def huge_dataset(file: h5py.File) -> None:
    file.create_dataset("model_weights/huge", (1 << 40,), "f4", chunks=(1024,))


def compressed_bomb(file: h5py.File) -> None:
    for number in range(40):
        file.create_dataset(f"bomb{number}", (1 << 23,), "f4", chunks=(1 << 20,), compression=9)[:1] = 0


def references(file: h5py.File) -> None:
    file["reference"] = np.array([file.ref], h5py.ref_dtype)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (external_link, r"external link: '/model_weights/dense/secret' points to the file '/etc/passwd'"),
        (soft_link, "soft link: '/model_weights/other'"),
        (virtual, "virtual dataset"),
        (external, "external dataset: '/model_weights/outside' lies in the file '/etc/passwd'"),
        (huge_dataset, "declares 4398046511104 bytes"),
        (compressed_bomb, "declares"),
        (references, "no array of numbers"),
    ],
)
def test_hdf5_that_points_outside_or_bursts_is_refused(tmp_path: Path, change: Write, says: str) -> None:
    assert re.search(says, refused(hdf5(tmp_path / "net.h5", change=change)))


def test_an_attribute_that_declares_more_than_the_file_has_is_refused(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "net.h5", change=lambda file: file.attrs.create("many", np.zeros(4000, "f8")))
    content = path.read_bytes()
    rows = (4000).to_bytes(8, "little")
    assert rows in content
    path.write_bytes(content.replace(rows, (1 << 40).to_bytes(8, "little")))
    assert "attribute" in refused(path) or "damaged" in refused(path)


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    def loop(file: h5py.File) -> None:
        file["model_weights/dense/again"] = file["model_weights"]

    assert check_file(hdf5(tmp_path / "net.h5", change=loop)).by_layer


LAMBDA = layer("Lambda", function=[base64.b64encode(b"code").decode(), None, None], function_type="lambda")
MODULE_LAMBDA = {"module": "keras.layers", "registered_name": None, **LAMBDA}
FOREIGN: list[tuple[dict[str, Any], str]] = [
    (LAMBDA, "Python code of a Lambda layer"),
    (MODULE_LAMBDA, "Python code of a Lambda layer"),
    (layer("TimeDistributed", layer=LAMBDA), "Python code of a Lambda layer"),
    ({"class_name": "__lambda__", "config": {"value": "4w=="}}, "Python code of a Lambda layer"),
    (layer("Attention2"), "the class 'Attention2'"),
    ({"module": "builtins", "class_name": "eval", "config": {}, "registered_name": None}, "the class 'eval'"),
    ({"module": "os", "class_name": "system", "config": "id", "registered_name": None}, "the module 'os'"),
    ({"module": "keras.utils", "class_name": "get_file", "config": {"origin": "x"}}, "the class 'get_file'"),
    (
        {"module": None, "class_name": "Dense", "config": {}, "registered_name": "Custom>Dense"},
        "registered as 'Custom>Dense'",
    ),
    (layer("Dense", units=2, activation="my_function"), "the activation function 'my_function'"),
    (
        layer("Dense", units=2, activation={"module": "builtins", "class_name": "function", "config": "eval"}),
        "the function 'eval'",
    ),
    (
        layer("Dense", units=1, kernel_initializer={"module": "os", "class_name": "system", "config": {}}),
        "the module 'os'",
    ),
    (layer("TextVectorization", vocabulary="/etc/passwd"), "the file '/etc/passwd'"),
    (layer("StringLookup", vocabulary="/etc/passwd"), "the file '/etc/passwd'"),
    (layer("TFSMLayer", filepath="/tmp/evil"), "the class 'TFSMLayer'"),
    (layer("TFOpLambda", function="io.write_file"), "the function 'tf.io.write_file'"),
    (layer("TFOpLambda", function="py_function"), "the function 'tf.py_function'"),
    (layer("TensorFlowOpLayer", node_def='name: "x"\nop: "WriteFile"\n'), "the operator WriteFile"),
    (layer("TorchModuleWrapper", module="x"), "the class 'TorchModuleWrapper'"),
]


@pytest.mark.parametrize(("part", "says"), FOREIGN, ids=[says for _, says in FOREIGN])
@pytest.mark.parametrize("kind", ["hdf5", "hdf5 of Keras 3", "keras2"])
def test_code_and_foreign_names_are_refused_in_every_kind_of_file(
    tmp_path: Path, part: dict[str, Any], says: str, kind: str
) -> None:
    if kind == "keras2":
        path = archive(tmp_path / "net.keras", sequential(part))
    else:
        path = hdf5(tmp_path / "net.h5", sequential(part), version="3.5.0" if kind == "hdf5 of Keras 3" else "2.9.0")
    said = refused(path)
    assert says in said
    assert str(path) in said
    assert "In Python: " in said
    assert "In R: save_model_tf" in said


def test_keras_1_code_is_refused_too(tmp_path: Path) -> None:
    merge = layer("Merge", mode="<lambda>", mode_type="lambda", layers=[DENSE, DENSE])
    model = {"class_name": "Sequential", "config": [merge]}
    assert "Lambda" in refused(hdf5(tmp_path / "net.h5", model, version="1.2.2"))


def test_what_only_training_needs_may_be_the_users_own(tmp_path: Path) -> None:
    part = layer("Dense", units=2, kernel_regularizer={"class_name": "Mine", "config": {}}, kernel_initializer="mine")
    plan = check_file(hdf5(tmp_path / "net.h5", sequential(part)))
    assert plan.description["config"]["layers"][1]["config"]["kernel_regularizer"] is None


@pytest.mark.parametrize(
    ("member", "says"),
    [
        ("../evil", "leads outside"),
        ("/evil", "leads outside"),
        ("a\\b", "leads outside"),
        ("evil.py", "does not write"),
    ],
)
def test_archives_with_other_members_are_refused(tmp_path: Path, member: str, says: str) -> None:
    assert says in refused(archive(tmp_path / "net.keras", DENSE, **{member: b"x"}))


def test_a_member_that_is_a_link_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "net.keras")
    with zipfile.ZipFile(path, "a") as file:
        link = zipfile.ZipInfo("assets/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
    assert "leads outside" in refused(path)


def test_a_member_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "net.keras")
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("config.json", json.dumps(sequential(LAMBDA)))
    assert "more than once" in refused(path)


def test_a_user_block_before_the_model_hides_nothing(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "net.h5", sequential(LAMBDA), block=512)
    assert file_format(path) == "hdf5"
    assert "Python code of a Lambda layer" in refused(path)


def test_an_archive_of_zeros_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "net.keras")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file, file.open("assets/zeros", "w") as member:
        for _ in range(1100):
            member.write(bytes(1 << 20))
    assert "declares" in refused(path)


def test_a_description_that_is_larger_than_it_declares_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "net.keras")
    with zipfile.ZipFile(path) as file:
        size = file.getinfo("config.json").file_size
    content = path.read_bytes()
    path.write_bytes(content.replace(size.to_bytes(4, "little") * 2, (size // 2).to_bytes(4, "little") * 2))
    assert "not a complete .keras file" in refused(path) or "JSON" in refused(path)


def test_weights_only_get_the_way_out_in_python_and_r(tmp_path: Path) -> None:
    said = refused(hdf5(tmp_path / "weights.h5", None))
    assert "holds the weights of a model, but not its architecture" in said
    assert "model.load_weights('weights.h5')" in said
    assert "load_model_weights_hdf5(model, 'weights.h5')" in said
    assert "bookserve export model.json --weights weights.h5" in said


def test_an_architecture_names_the_weights_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(json.dumps({**DENSE, "keras_version": "2.2.4"}))
    weights = hdf5(tmp_path / "weights.h5", None)
    assert f"--weights {weights}" in refused(path)
    assert check_file(path, weights).maker["keras"] == "2.2.4"


def test_words_that_only_a_whole_file_has_are_missed_by_name(tmp_path: Path) -> None:
    weights = hdf5(tmp_path / "net.weights.h5", None)
    path = tmp_path / "net.json"
    for words, says in ((None, "layer 'textvectorization' learned with adapt"), (["oak"], "")):
        path.write_text(json.dumps(sequential(layer("TextVectorization", vocabulary=words))))
        if says:
            with pytest.raises(InvalidInput, match=says):
                check_file(path, weights)
        else:
            check_file(path, weights)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.h5", b"", "is empty"),
        ("a.h5", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of Git LFS"),
        ("a.h5", b"<!DOCTYPE html><html>", "web page"),
        ("a.h5", b"\x80\x04\x95\x00", "is a pickle"),
        ("a.pt", b"PK\x03\x04", "zip archive"),
        ("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(100), None),
        ("a.h5", b"RDX3\nX\n", "saveRDS"),
        ("a.rds", gzip.compress(b"X\n", mtime=0), "gzip"),
        ("a.h5", b"nonsense", "neither those of HDF5"),
        ("a.yaml", b"backend: tensorflow\nclass_name: Sequential\n", "YAML"),
        ("a.json", b'{"a": 1}', "not the architecture"),
        ("a.tflite", b"\x1c\x00\x00\x00TFL3", "TensorFlow Lite"),
    ],
)
def test_files_that_are_no_models_are_called_what_they_are(
    tmp_path: Path, name: str, content: bytes, says: str | None
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    if says is None:
        assert "damaged HDF5 file" in refused(path)
        return
    with pytest.raises(InvalidInput, match=says):
        file_format(path)


def test_a_truncated_file_is_called_so(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "net.h5")
    path.write_bytes(path.read_bytes()[:-100])
    assert f"{path} is truncated" in refused(path)


def test_a_pickle_of_pytorch_is_told_from_a_keras_file(tmp_path: Path) -> None:
    path = tmp_path / "net.keras"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", b"x")
    with pytest.raises(InvalidInput, match=r"pickle of PyTorch.*torch\.onnx\.export"):
        file_format(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"description": sequential(layer("StringLookup", vocabulary="/etc/passwd"))}, "the file '/etc/passwd'"),
        ({"../evil": b"x"}, "leads outside"),
        ({"evil.py": b"x"}, "does not write"),
    ],
)
def test_archives_of_keras_3_are_checked_too(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = archive(tmp_path / "net.keras", change.pop("description", DENSE), "3.5.0", **change)
    with pytest.raises(InvalidInput, match=says):
        check_archive(path)


def early_weights(path: Path, separator: str) -> Path:
    """Write the weights of two Dense layers in a model in a model as Keras 2.13 did, on Windows with backslashes."""
    with h5py.File(path, "w") as file:
        for number, name in enumerate(("dense", "dense_2", "functional/dense", "functional/dense_2")):
            parts = [
                "_layer_checkpoint_dependencies",
                *name.replace("/", "/_layer_checkpoint_dependencies/").split("/"),
            ]
            file[f"{separator.join(parts)}/vars/0"] = np.full(2, number)
    return path


@pytest.mark.parametrize("separator", ["/", "\\"])
def test_the_weights_of_the_first_archives_get_the_names_of_later_ones(tmp_path: Path, separator: str) -> None:
    path = early_weights(tmp_path / "weights.h5", separator)
    rename_early_weights(path)
    with h5py.File(path) as file:
        later = ("layers/dense", "layers/dense_1", "layers/functional/layers/dense", "layers/functional/layers/dense_1")
        assert [int(file[f"{name}/vars/0"][0]) for name in later] == [0, 1, 2, 3]
        assert list(file) == ["layers"]


def test_links_in_the_weights_of_an_archive_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.keras"
    weights = hdf5(tmp_path / "weights.h5", change=external_link)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("config.json", json.dumps(DENSE))
        file.write(weights, "model.weights.h5")
    with pytest.raises(InvalidInput, match="external link"):
        check_archive(path)


def operator(kind: str, module: str = "numpy", **config: Any) -> dict[str, Any]:
    named = {"module": f"keras.src.ops.{module}", "class_name": kind, "registered_name": kind}
    return named | {"config": {"name": kind.lower(), **config}}


def test_operators_of_keras_3_are_taken_unless_they_call_functions() -> None:
    taken = [operator("NotEqual"), operator("Erf", "math"), operator("Cast", "core", dtype="int32")]
    check_description(sequential(*taken), "net.h5", 3)
    for part, says in (
        (operator("Map", "core"), "the class 'Map'"),
        (operator("os"), "the class 'os'"),
        (operator("Absolute", "numpy.sub"), "the class 'Absolute'"),
        (operator("Absolute") | {"registered_name": "mine>Absolute"}, "registered as 'mine>Absolute'"),
    ):
        with pytest.raises(InvalidInput, match=says):
            check_description(sequential(part), "net.h5", 3)
    with pytest.raises(InvalidInput, match=r"'Absolute'.*keras\.ops.*save it as \.keras"):  # as HDF5 has it
        check_description(sequential(layer("Absolute")), "net.h5", 3)
    with pytest.raises(InvalidInput, match="the class 'NotEqual'"):
        check_description(sequential(operator("NotEqual")), "net.h5", 2)


def test_every_layer_of_keras_is_taken_but_those_that_hold_code() -> None:
    """Files name a layer by its class, which is not always its name in ``keras.layers`` (GroupedQueryAttention)."""
    import keras

    layers = {kind.__name__ for kind in vars(keras.layers).values() if isinstance(kind, type)}
    refused = set()
    for kind in sorted(layers):
        try:
            check_description(sequential(layer(kind)), "net.h5", 3)
        except InvalidInput:
            refused.add(kind)
    code = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "FlaxLayer", "JaxLayer"}
    assert refused == code | {"Layer", "Wrapper", "InputSpec"}  # and those that are no layers by themselves
