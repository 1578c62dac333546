"""Tell the format of a model file by its content; its name may say something else.

A file that is no model gets a message that says what it is, and how to come to a model that can be exported.
"""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any, Literal

from bookserve.errors import InvalidInput

Format = Literal["saved_model", "keras", "keras2", "hdf5", "architecture", "onnx"]

#: The largest description of a model (``config.json``, ``model.json``) that is read, in bytes.
MAX_DESCRIPTION_BYTES = 64 << 20
FORMATS_HINT = (
    "Name a task, a run, the directory of a SavedModel, a .keras, .h5 or .onnx file, "
    "or the .json file of an architecture with --weights."
)
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_PICKLE_HINT = (
    "Write a model file where you trust it. PyTorch: torch.onnx.export(…). scikit-learn: skl2onnx.to_onnx(…). "
    "Keras in Python: model.save('model.keras'). Keras in R: save_model_hdf5(model, 'model.h5')."
)
_COPY_HINT = "Save or copy it again."
#: First bytes of files that people take for models: pattern, what it is, what to do.
_NO_MODELS: tuple[tuple[re.Pattern[bytes], str, str], ...] = (
    (
        re.compile(rb"version https://git-lfs"),
        "is a pointer of Git LFS: the model itself was not downloaded",
        "Fetch it where the repository is: git lfs pull",
    ),
    (
        re.compile(rb"\s*(<!doctype|<html|<\?xml|<head)", re.IGNORECASE),
        "is a web page, not a model: the download saved a page about it",
        "Download the file itself ('raw' or 'download' on the page).",
    ),
    (re.compile(rb"\x80[\x02-\x05]"), "is a pickle, which runs code when it is read, and is not read", _PICKLE_HINT),
    (
        re.compile(rb"(RDX[23]|RDA[23]|[XA]\n\x00)"),
        "is a file of R's save() or saveRDS(), which do not keep a Keras model",
        "Write it in R with keras: save_model_hdf5(model, 'model.h5')",
    ),
    (
        re.compile(rb"\x1f\x8b"),
        "is compressed with gzip, and is no model as it is",
        "Unpack it. If R's saveRDS() wrote it: save_model_hdf5(model, 'model.h5') keeps the model.",
    ),
    (re.compile(rb"BZh|\xfd7zXZ|7z\xbc\xaf|Rar!"), "is an archive, and is no model as it is", "Unpack it."),
    (
        re.compile(rb"....TFL3", re.DOTALL),
        "is a TensorFlow Lite file, which was made for devices",
        "Export the model that it was made from: a SavedModel, a .keras or an .h5 file.",
    ),
    (
        re.compile(rb".{8}\{\"", re.DOTALL),
        "is a safetensors file, which holds weights only",
        "Write the whole model: torch.onnx.export(…), or with Keras model.save('model.keras').",
    ),
)


def file_format(path: Path) -> Format:
    """The format of the model in ``path``, a file or the directory of a SavedModel.

    Raises:
        InvalidInput: the file holds no model that can be exported; the message says what it is.
    """
    if path.is_dir():
        return "saved_model"
    try:
        with path.open("rb") as file:
            head = file.read(1 << 12)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error
    if not head:
        raise InvalidInput(f"{path} is empty.", _COPY_HINT)
    if is_hdf5(path):
        return "hdf5"
    if head.startswith(b"PK"):
        return _zip_format(path)
    for pattern, what, hint in _NO_MODELS:
        if pattern.match(head):
            raise InvalidInput(f"{path} {what}.", hint)
    if head.lstrip()[:1] in (b"{", b"["):
        return _json_format(path)
    if re.match(rb"\s*(backend|class_name|config): *\S*", head):
        raise InvalidInput(
            f"{path} is an architecture in YAML, which Keras itself no longer reads.",
            "Write it as JSON where it is: model.to_json(), in R model_to_json(model).",
        )
    if path.suffix == ".onnx" or _looks_like_onnx(head):
        return "onnx"
    if path.suffix in (".pt", ".pth", ".pkl", ".pickle", ".joblib", ".bin"):
        raise InvalidInput(f"{path} may be a pickle, which runs code when it is read, and is not read.", _PICKLE_HINT)
    if path.suffix in (".keras", ".h5", ".hdf5"):
        raise InvalidInput(
            f"{path} is damaged, or not a complete {path.suffix} file: its first bytes are neither those of HDF5 "
            "nor those of a .keras file.",
            _COPY_HINT,
        )
    raise InvalidInput(f"{path} is not a model in a format that bookserve reads.", FORMATS_HINT)


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5: its signature stands at the beginning, or behind a user block of 512, 1024, … bytes."""
    size, offset = path.stat().st_size, 0
    with path.open("rb") as file:
        while offset < min(size, 1 << 20):
            file.seek(offset)
            if file.read(8) == _HDF5_MAGIC:
                return True
            offset = offset * 2 or 512
    return False


def read_json(content: bytes, what: str) -> Any:
    """Parse JSON text; ``what`` names it for the error.

    Raises:
        InvalidInput: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        problem = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidInput(f"{what} is not JSON: {problem}.", _COPY_HINT) from error


def zip_json(file: zipfile.ZipFile, member: str, path: Path) -> Any:
    """Read a JSON text from a .keras file; its size is limited whatever the archive declares.

    Raises:
        InvalidInput: it is missing, too large or no JSON.
        zipfile.BadZipFile, OSError: the archive is damaged.
    """
    with file.open(member) as stream:
        content = stream.read(MAX_DESCRIPTION_BYTES + 1)
    if len(content) > MAX_DESCRIPTION_BYTES:
        raise InvalidInput(f"{member} in {path} is larger than {MAX_DESCRIPTION_BYTES >> 20} MiB, the limit.")
    return read_json(content, f"{member} in {path}")


def _zip_format(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
            if "config.json" in names:
                metadata = zip_json(file, "metadata.json", path) if "metadata.json" in names else {}
                version = str(metadata.get("keras_version", "3")) if isinstance(metadata, dict) else "3"
                return "keras2" if version.startswith(("1.", "2.")) else "keras"
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InvalidInput(
            f"{path} is not a complete .keras file, or a damaged zip archive: {str(error).rstrip('.')}.", _COPY_HINT
        ) from error
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        raise InvalidInput(f"{path} is a pickle of PyTorch, which runs code when it is read.", _PICKLE_HINT)
    if any(name.endswith(("saved_model.pb", ".keras", ".h5", ".onnx")) for name in names):
        raise InvalidInput(f"{path} is a zip archive with a model in it.", "Unpack it, and name what is in it.")
    if names and all(name.endswith(".npy") for name in names):
        raise InvalidInput(
            f"{path} holds NumPy arrays without a description of a model.", "Write the whole model: model.save(…)"
        )
    raise InvalidInput(f"{path} is not a complete .keras file: it has no config.json.", _COPY_HINT)


def _json_format(path: Path) -> Format:
    if path.stat().st_size > MAX_DESCRIPTION_BYTES:
        raise InvalidInput(f"{path} is larger than {MAX_DESCRIPTION_BYTES >> 20} MiB, the limit for an architecture.")
    description = read_json(path.read_bytes(), str(path))
    if isinstance(description, str):  # R's jsonlite writes the text of model_to_json() as one JSON string
        description = read_json(description.encode(), str(path))
    if isinstance(description, dict) and "class_name" in description and "config" in description:
        return "architecture"
    raise InvalidInput(f"{path} is JSON, but not the architecture of a Keras model.", FORMATS_HINT)


def _looks_like_onnx(head: bytes) -> bool:
    """Whether a file begins as ONNX's ``ModelProto`` does: the IR version, then the producer, graph or operators."""
    return len(head) > 2 and head[0] == 0x08 and head[1] < 0x20 and head[2] in (0x12, 0x1A, 0x22, 0x2A, 0x3A, 0x42)
