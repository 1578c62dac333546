"""Read the TOML file that describes an external model: its labels, Steps, summary and licence.

A model's own file does not contain these. Every field may be left out::

    summary = "ResNet-18, trained on ImageNet"
    licence = "BSD-3-Clause"
    backend = "theano"             # only for files of Keras 1 that Theano trained: they do not say it themselves
    labels = "imagenet.txt"        # one label per line, in the order of the classes; or a list: ["cat", "dog"]

    [inputs]                       # Steps by name of the default graph's inputs, as in bundle.json
    image = [
      { step = "image", height = 224, width = 224 },
      { step = "scale", factor = 0.00392156862745098 },
      { step = "standardise", mean = [0.485, 0.456, 0.406], deviation = [0.229, 0.224, 0.225] },
      { step = "channelsfirst" },
    ]

    [outputs]                      # only needed where ``labels`` is not enough
    logits = [{ step = "softmax" }, { step = "toplabels", labels = ["cat", "dog"], k = 2 }]

    [shapes]                       # only needed where the model does not say the shape of an input or output
    image = ["batch", 224, 224, 3]
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from bookserve.errors import InvalidInput, NotFound
from bookserve.steps import Step, TopLabels
from bookserve.steps.base import resolve_tag_aliases
from bookserve.steps.vocabulary import Vocabulary

#: The largest file that is read; a vocabulary may be large.
_MAX_BYTES = 64 << 20


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of the file."""

    summary: str = ""
    licence: str = ""
    #: What computed a model of Keras 1 while it was trained; its file does not say. Theano mirrors the kernels.
    backend: Literal["", "tensorflow", "theano"] = ""
    #: The labels; in the file also the name of a file that holds them, which ``load`` reads.
    labels: tuple[str, ...] | str = ()
    inputs: dict[str, tuple[Step, ...]] = {}
    outputs: dict[str, tuple[Step, ...]] = {}
    #: The shapes of inputs and outputs that the model does not know itself; a name is the name of a free axis.
    shapes: dict[str, tuple[int | str, ...]] = {}

    @classmethod
    def load(cls, path: Path) -> Config:
        """Read a TOML file; file names in it are relative to its directory.

        Raises:
            NotFound: the file, or a file that it names, does not exist.
            InvalidInput: it is not valid TOML, or a field is unknown or of the wrong type; the message says which.
        """

        def hook(kind: type, item: Any) -> Any:
            if kind is not Vocabulary:
                raise TypeError(f"{kind} has no TOML form")
            return Vocabulary(Path(item).stem, _read_entries(path.parent / item))

        try:
            config = msgspec.convert(resolve_tag_aliases(msgspec.toml.decode(_read_text(path))), cls, dec_hook=hook)
        except (msgspec.DecodeError, RecursionError) as error:
            raise InvalidInput(
                f"{path}: {error}.", "The fields of this file are described in docs/export.md."
            ) from error
        if isinstance(config.labels, str):
            config = msgspec.structs.replace(config, labels=_read_entries(path.parent / config.labels))
        return config

    def with_labels(self, found: Mapping[str, tuple[str, ...]]) -> Config:
        """This configuration with the labels that a model names itself for an output, unless it has its own."""
        if self.labels:
            return self
        steps: dict[str, tuple[Step, ...]] = {
            output: (TopLabels(labels),) for output, labels in found.items() if labels
        }
        return msgspec.structs.replace(self, outputs=steps | self.outputs)


def _read_entries(path: Path) -> tuple[str, ...]:
    """Read labels or a vocabulary: a JSON array of strings, or the lines of any other text file."""
    text = _read_text(path)
    if path.suffix != ".json":
        return tuple(text.splitlines())
    try:
        return msgspec.json.decode(text, type=tuple[str, ...])
    except msgspec.DecodeError as error:
        raise InvalidInput(
            f"{path} is not a JSON array of strings: {error}.", 'Write it like this: ["cat", "dog"]'
        ) from error


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise NotFound(f"there is no file {path}.")
    if path.stat().st_size > _MAX_BYTES:
        raise InvalidInput(f"{path} is larger than {_MAX_BYTES >> 20} MiB, the limit for such a file.")
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from error
