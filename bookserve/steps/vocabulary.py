"""Read and write vocabularies: ordered lists of words or characters, whose positions are the ids.

In memory a vocabulary is a tuple. In a run or a bundle it is a JSON array in ``assets/``, so that ``bundle.json`` stays
readable, and TensorFlow Serving copies it together with the SavedModel.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bookserve.errors import Failed
from bookserve.steps.base import resolve_tag_aliases

T = TypeVar("T")

#: Maximum size of a file in bytes; ten thousand words have 0.1 MB.
_LARGEST = 64 << 20


class Vocabulary:
    """``name`` is the stem of its file in ``assets/``; ``entries[i]`` is the word or character with id ``i``."""

    def __init__(self, name: str, entries: Iterable[str]) -> None:
        self.name = name
        self.entries = tuple(entries)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Entry → id."""
        return {entry: index for index, entry in enumerate(self.entries)}

    def __len__(self) -> int:
        return len(self.entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and (self.name, self.entries) == (other.name, other.entries)

    def __hash__(self) -> int:
        return hash((self.name, self.entries))


def save_vocabularies(value: Any, path: Path) -> None:
    """Write ``value`` (a Struct) as indented JSON to ``path``, and its vocabularies to ``assets/`` beside it."""
    assets = path.parent / "assets"

    def hook(item: Any) -> Any:
        if not isinstance(item, Vocabulary):
            raise TypeError(f"{type(item)} has no JSON form")
        assets.mkdir(exist_ok=True)
        (assets / f"{item.name}.json").write_text(json.dumps(item.entries, ensure_ascii=False), "utf-8")
        return f"assets/{item.name}.json"

    path.write_bytes(msgspec.json.format(msgspec.json.encode(value, enc_hook=hook)) + b"\n")


def load_vocabularies(path: Path, kind: type[T]) -> T:
    """Read a value of type ``kind`` that ``save_vocabularies`` wrote.

    Raises:
        Failed: the file is not JSON of the expected form, or names a vocabulary that does not exist.
    """

    def hook(kind: type, item: Any) -> Any:
        if kind is not Vocabulary:
            raise TypeError(f"{kind} has no JSON form")
        asset = path.parent / "assets" / Path(item).name
        if not asset.is_file() or asset.is_symlink() or asset.stat().st_size > _LARGEST:
            raise ValueError(f"{asset} is not a vocabulary")
        return Vocabulary(asset.stem, msgspec.json.decode(asset.read_bytes(), type=tuple[str, ...]))

    try:
        fields = resolve_tag_aliases(msgspec.json.decode(path.read_bytes()))
        return msgspec.convert(fields, kind, dec_hook=hook)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failed(f"{path} cannot be read: {error}.", "It is damaged or incomplete: write it again.") from error
