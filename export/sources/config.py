"""Config: what the maker of a model knows and no file of it says – labels, Steps, a sentence, a licence – as TOML.

::

    summary = "ResNet-18, trained on ImageNet"
    licence = "BSD-3-Clause"
    labels = "imagenet.txt"        # or ["cat", "dog"]; one a line, in the order of the model's classes

    [inputs]                       # by name of the default graph's inputs; Steps as in every bundle.json
    image = [
      { step = "image", height = 224, width = 224 },
      { step = "scale", factor = 0.00392156862745098 },
      { step = "standardise", mean = [0.485, 0.456, 0.406], deviation = [0.229, 0.224, 0.225] },
      { step = "channelsfirst" },
    ]

    [outputs]                      # only where ``labels`` is not enough
    logits = [{ step = "softmax" }, { step = "toplabels", labels = ["cat", "dog"], k = 2 }]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from bookserve.errors import InvalidInput, NotFound
from bookserve.steps import Step
from bookserve.steps.base import resolve_tag_aliases
from bookserve.steps.vocabulary import Vocabulary

#: Bytes of a file: a vocabulary may be large.
_LARGEST = 64 << 20


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Content of the file; every field may be left out."""

    summary: str = ""
    licence: str = ""
    #: The labels, or (until ``load`` has read it) the file that holds them.
    labels: tuple[str, ...] | str = ()
    inputs: dict[str, tuple[Step, ...]] = {}
    outputs: dict[str, tuple[Step, ...]] = {}

    @classmethod
    def load(cls, path: Path) -> Config:
        """Read a TOML file; names of files in it are relative to its directory.

        Raises:
            NotFound: it, or a file that it names, is not there.
            InvalidInput: it is no TOML, or says something unknown; the message says where.
        """

        def hook(kind: type, item: Any) -> Any:
            if kind is not Vocabulary:
                raise TypeError(f"{kind} has no TOML form")
            return Vocabulary(Path(item).stem, _entries(path.parent / item))

        try:
            config = msgspec.convert(resolve_tag_aliases(msgspec.toml.decode(_read(path))), cls, dec_hook=hook)
        except (msgspec.DecodeError, RecursionError) as error:
            raise InvalidInput(f"{path}: {error}.", "See what such a file may say in docs/export.md.") from error
        if isinstance(config.labels, str):
            config = msgspec.structs.replace(config, labels=_entries(path.parent / config.labels))
        return config


def _entries(path: Path) -> tuple[str, ...]:
    """A JSON array of strings, or the lines of any other text file."""
    text = _read(path)
    if path.suffix != ".json":
        return tuple(text.splitlines())
    try:
        return msgspec.json.decode(text, type=tuple[str, ...])
    except msgspec.DecodeError as error:
        raise InvalidInput(f"{path} is no JSON array of strings: {error}.") from error


def _read(path: Path) -> str:
    if not path.is_file():
        raise NotFound(f"there is no file {path}.")
    if path.stat().st_size > _LARGEST:
        raise InvalidInput(f"{path} is too large to be read.")
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from error
