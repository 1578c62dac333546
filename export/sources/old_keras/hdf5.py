"""Check an HDF5 file before Keras sees it, and read the description of the model from it.

HDF5 can point to other files (external links, external and virtual datasets), can be read through plug-ins (filters),
and can declare arrays that are far larger than the file. Keras writes nothing of that kind, and such a file is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py

from bookserve.errors import InvalidInput
from export.sources.file_format import MAX_DESCRIPTION_BYTES, read_json

#: Filters that the HDF5 library has built in: deflate, shuffle, fletcher32, szip, nbit, scaleoffset; and h5py's lzf.
_FILTERS = {1, 2, 3, 4, 5, 6, 32000}
#: deflate makes data at most 1032 times smaller; a whole file of weights is never made smaller than this many times.
_MAX_DATASET_RATIO, _MAX_FILE_RATIO = 1100, 32
_SMALL_BYTES, _LARGE_BYTES = 1 << 16, 1 << 30
_MAX_OBJECTS = 1 << 18
_MAX_ATTRIBUTE_VALUES = 1 << 20
_COPY_HINT = "Save or copy it again."
_NOT_FROM_KERAS = "Keras writes no such file. Save the model again where it came from."


class Hdf5Model(NamedTuple):
    """What a file of Keras holds.

    ``config`` is the description of the model, None where the file has weights only. ``maker`` is the version of the
    Keras that wrote it ('1' where the file does not say), ``backend`` what computed for it. ``layers`` tells whether
    the weights lie in groups by layer, as Keras 1 and 2 write them, or by attribute, as Keras 3 does (.weights.h5).
    """

    config: dict[str, Any] | None
    maker: str
    backend: str
    layers: bool


def read_hdf5(path: Path, shown: Path) -> Hdf5Model:
    """Check the file ``path`` and read what it holds; ``shown`` is its name for messages.

    Raises:
        InvalidInput: it is damaged or truncated, was not written by Keras, or points outside itself.
    """
    with _checked(path, shown) as file:
        return _read(file, shown)


def check_hdf5(path: Path, shown: Path) -> None:
    """Check a file of weights.

    Raises:
        InvalidInput: it is damaged or truncated, or points outside itself.
    """
    with _checked(path, shown):
        pass


@contextmanager
def _checked(path: Path, shown: Path) -> Iterator[Any]:
    try:
        with h5py.File(path, "r") as file:
            _Check(shown, path.stat().st_size).group(file)
            yield file
    except InvalidInput:
        raise
    except Exception as error:  # h5py raises errors of many types for damaged files
        said = str(error)
        if "truncated file" in said:
            raise InvalidInput(f"{shown} is truncated: its end is missing.", "Download or copy it again.") from error
        reason = said.replace(str(path), str(shown)).partition("\n")[0].rstrip(".")
        raise InvalidInput(f"{shown} is a damaged HDF5 file: {reason}.", _COPY_HINT) from error


class _Check:
    """Walks through all links, datasets and attributes of one file; reads no data."""

    def __init__(self, shown: Path, size: int) -> None:
        self._shown, self._size = shown, size
        self._seen: set[int] = set()
        self._objects = self._declared = 0

    def group(self, group: Any) -> None:
        """Check a group and all that is in it; a loop of links ends where it was before."""
        waiting = [group]
        while waiting:
            here = waiting.pop()
            address = h5py.h5o.get_info(here.id).addr
            if address in self._seen:
                continue
            self._seen.add(address)
            self._attributes(here)
            for name in here:
                self._objects += 1
                if self._objects > _MAX_OBJECTS:
                    raise self._refusal(f"has more than {_MAX_OBJECTS} objects")
                where = f"{here.name.rstrip('/')}/{name}"
                self._link(here, name, where)
                item = here[name]
                if isinstance(item, h5py.Group):
                    waiting.append(item)
                elif isinstance(item, h5py.Dataset):
                    self._attributes(item)
                    self._dataset(item, where)
                else:
                    raise self._refusal(f"has a named data type, '{where}'")

    def _link(self, group: Any, name: str, where: str) -> None:
        try:
            link = group.get(name, getlink=True)
        except TypeError as error:  # a link of a kind that only a plug-in knows
            raise self._refusal(f"has a link of an unknown kind, '{where}'") from error
        if isinstance(link, h5py.ExternalLink):
            raise self._refusal(f"has an external link: '{where}' points to the file '{link.filename}'")
        if isinstance(link, h5py.SoftLink):
            raise self._refusal(f"has a soft link: '{where}' points to '{link.path}'")

    def _dataset(self, item: Any, where: str) -> None:
        if item.is_virtual:
            raise self._refusal(f"has a virtual dataset: '{where}' takes its values from other files")
        if item.external:
            raise self._refusal(f"has an external dataset: '{where}' lies in the file '{item.external[0][0]}'")
        plist = item.id.get_create_plist()
        filters = {plist.get_filter(number)[0] for number in range(plist.get_nfilters())}
        if unknown := filters - _FILTERS:
            raise self._refusal(f"needs a plug-in to read '{where}' (HDF5 filter {min(unknown)})")
        kind = item.dtype.kind
        if kind not in "fiubS" and h5py.check_string_dtype(item.dtype) is None:
            raise self._refusal(f"has a dataset that is no array of numbers, '{where}' ({item.dtype})")
        declared = math.prod(item.shape or (0,)) * item.dtype.itemsize
        stored = item.id.get_storage_size()
        self._declared += declared
        if declared > max(_SMALL_BYTES, _MAX_DATASET_RATIO * stored):
            raise self._refusal(f"declares {declared} bytes for '{where}', of which it holds {stored}")
        if self._declared > max(_LARGE_BYTES, _MAX_FILE_RATIO * self._size):
            raise self._refusal(f"declares arrays of {self._declared} bytes, though it has {self._size}")

    def _attributes(self, item: Any) -> None:
        for index in range(h5py.h5a.get_num_attrs(item.id)):
            attribute = h5py.h5a.open(item.id, index=index)
            values = attribute.get_space().get_simple_extent_npoints()
            kind = attribute.get_type()
            size = values * kind.get_size()
            variable = isinstance(kind, h5py.h5t.TypeVlenID) or (
                isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()
            )
            if values > _MAX_ATTRIBUTE_VALUES or size > MAX_DESCRIPTION_BYTES or size > max(self._size, 1 << 12):
                name = attribute.name.decode("utf-8", "replace")
                raise self._refusal(f"declares an attribute '{name}' of {values} values")
            if variable and values > 1 and values * self._size > _LARGE_BYTES * 64:
                raise self._refusal("declares attributes that are larger than the file")

    def _refusal(self, problem: str) -> InvalidInput:
        return InvalidInput(f"{self._shown} {problem}.", _NOT_FROM_KERAS)


def _read(file: Any, shown: Path) -> Hdf5Model:
    weights = file.get("model_weights", file)
    maker = _text(file.attrs.get("keras_version", weights.attrs.get("keras_version"))) or "1"
    backend = _text(weights.attrs.get("backend", file.attrs.get("backend")))
    description = _text(file.attrs.get("model_config"))
    by_layer = any(name in weights.attrs for name in ("layer_names", "layer_names0"))
    if not description:
        if "nb_layers" in file.attrs:
            raise InvalidInput(
                f"{shown} holds weights of a Keras before 1.0, which had another format.",
                "Load it with that version, and save it again with Keras 1 or 2.",
            )
        by_attribute = any(name in file for name in ("_layer_checkpoint_dependencies", "layers", "_functional"))
        if not by_layer and not by_attribute:
            has = ", ".join(sorted(file)[:5]) or "nothing"
            raise InvalidInput(
                f"{shown} is an HDF5 file, but holds no Keras model (it has: {has}).",
                "Save the model: in Python model.save('model.keras'), in R save_model_hdf5(model, 'model.h5').",
            )
        return Hdf5Model(None, maker, backend, by_layer)
    config = read_json(description.encode(), f"the model in {shown}")
    if not isinstance(config, dict):
        raise InvalidInput(f"the model in {shown} is not described as Keras does it.", _NOT_FROM_KERAS)
    if not by_layer:
        raise InvalidInput(f"{shown} describes a model, but holds no weights of its layers.", _COPY_HINT)
    return Hdf5Model(config, maker, backend, by_layer)


def _text(value: Any) -> str:
    """An attribute as text: Python 2 and 3, h5py 2 and 3, and R's hdf5r wrote bytes, strings and arrays of one."""
    if value is not None and not isinstance(value, (str, bytes)) and getattr(value, "size", 0) == 1:
        value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""
