"""Steps for texts: from words and characters to ids, and from ids to rows of one length."""

from __future__ import annotations

import string
import zlib
from typing import Any

import numpy as np

from bookserve.errors import InvalidInput
from bookserve.steps.base import Rows, StepBase, cast_exactly, decode_text, describe_rows
from bookserve.steps.vocabulary import Vocabulary

_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation.replace("'", "") + "\t\n", " "))


def split_words(row: Any) -> list[str]:
    """The words of a text: lower case, punctuation removed, split at white space."""
    return decode_text(row).lower().translate(_PUNCTUATION).split()


class Words(StepBase, frozen=True):
    """Texts → lists of word ids, numbered as in ``keras.datasets``: lower case, punctuation removed, ``start`` first.

    The vocabulary includes the reserved entries (padding 0, start 1, unknown 2, one unused), so the most frequent word
    has id 4. This is the shift by three that a model trained on ``keras.datasets.imdb`` expects. Rows that are lists of
    ids are accepted too; ids beyond the vocabulary become ``unknown``.
    """

    vocabulary: Vocabulary
    #: None: no start id. ``unknown`` None: unknown words are left out, as a Keras tokenizer does (section 6.1.3).
    start: int | None = 1
    unknown: int | None = 2

    def __call__(self, rows: Rows) -> list[np.ndarray]:
        return [self._row(row) for row in rows]

    def known_and_unknown(self, text: str | bytes) -> tuple[int, tuple[str, ...]]:
        """How many words of a text the vocabulary has, and the others, each once."""
        words = split_words(text)
        unknown = [word for word in words if word not in self.vocabulary.ids]
        return len(words) - len(unknown), tuple(dict.fromkeys(unknown))

    def _row(self, row: Any) -> np.ndarray:
        if isinstance(row, bytes | str):
            known = self.vocabulary.ids
            ids = [self.start, *(known.get(word, self.unknown) for word in split_words(row))]
            return np.array([index for index in ids if index is not None], np.int32)
        try:
            array = np.asarray(row)
        except ValueError:  # nested lists of different lengths
            array = np.array(None)
        if array.ndim != 1 or array.dtype.kind not in "iuf" or (array < 0).any():
            raise InvalidInput(f"a row is {describe_rows([row])}; expected a text, or a flat list of word ids.")
        array = cast_exactly(array, np.dtype(np.int32))
        if self.unknown is None:
            return array[array < len(self.vocabulary)]
        return np.where(array < len(self.vocabulary), array, self.unknown).astype(np.int32)


class Characters(StepBase, frozen=True):
    """Texts → lists of character ids (int32), in lower case unless the vocabulary has capitals."""

    vocabulary: Vocabulary

    def __call__(self, rows: Rows) -> list[np.ndarray]:
        return [self._row(decode_text(row)) for row in rows]

    def fold(self, text: str) -> str:
        """``text`` in lower case, unless the vocabulary has capitals."""
        return text if any(entry != entry.lower() for entry in self.vocabulary.entries) else text.lower()

    def _row(self, text: str) -> np.ndarray:
        ids = self.vocabulary.ids
        text = self.fold(text)
        unknown = sorted({character for character in text if character not in ids})
        if unknown:
            raise InvalidInput(
                f"the text has characters that the model does not know: {' '.join(map(repr, unknown[:10]))}.",
                f"Use only these: {''.join(e for e in self.vocabulary.entries if e.isprintable())}",
            )
        return np.fromiter((ids[character] for character in text), np.int32, len(text))


class Pad(StepBase, frozen=True):
    """Lists of ids → int32 array [rows, length]. Short rows are padded at the front, long rows are cut at the front."""

    length: int
    value: int = 0

    def __call__(self, rows: Rows) -> np.ndarray:
        padded = np.full((len(rows), self.length), self.value, np.int32)
        for target, row in zip(padded, rows, strict=True):
            kept = row[-self.length :]
            if len(kept):
                target[-len(kept) :] = kept
        return padded


class Reverse(StepBase, frozen=True):
    """Lists of ids → the same lists in reverse order (section 6.3.8)."""

    def __call__(self, rows: Rows) -> list[np.ndarray]:
        return [np.asarray(row)[::-1] for row in rows]


class MultiHot(StepBase, frozen=True):
    """Lists of ids → float32 array [rows, size] with 1 at each id that occurs (section 3.4.2)."""

    size: int

    def __call__(self, rows: Rows) -> np.ndarray:
        hot = np.zeros((len(rows), self.size), np.float32)
        for target, row in zip(hot, rows, strict=True):
            target[row] = 1
        return hot


class NGrams(StepBase, frozen=True):
    """Texts → texts whose words are all n-grams of up to ``n`` words, joined by middle dots (section 6.1)."""

    n: int = 2

    def __call__(self, rows: Rows) -> list[str]:
        return [" ".join(self._grams(split_words(row))) for row in rows]

    def _grams(self, words: list[str]) -> list[str]:
        sizes = range(1, self.n + 1)
        return ["·".join(words[at : at + size]) for size in sizes for at in range(len(words) - size + 1)]


class Hashed(StepBase, frozen=True):
    """Texts → lists of ids from 1 to ``size - 1`` by a hash of each word, without a vocabulary; words may share an id.

    The hash is CRC-32, which is the same on every machine and in every process. Source: section 6.1.1 of the book.
    """

    size: int

    def __call__(self, rows: Rows) -> list[np.ndarray]:
        ids = ([1 + zlib.crc32(word.encode()) % (self.size - 1) for word in split_words(row)] for row in rows)
        return [np.array(row, np.int32) for row in ids]
