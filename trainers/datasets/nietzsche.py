"""Load writings of Nietzsche in English, one text of 600,893 characters; or any other text file.

The sample is English prose from ``pydoc_data.topics``, the help texts that come with Python.
Source: Project Gutenberg, as used by the book and by Keras's examples.
"""

from __future__ import annotations

import re
from pathlib import Path

from bookserve.errors import Failed, InvalidInput, NotFound
from bookserve.steps.vocabulary import Vocabulary
from trainers.datasets.dataset import Corpus, Kind, cached_file, report_unreadable

_URL = "https://s3.amazonaws.com/text-datasets/nietzsche.txt"
_LENGTH = 600_893

#: The minimum length of a text that a model with a window of 60 characters can learn from, and the maximum number of
#: different characters.
_SHORTEST, _LARGEST = 1_000, 5_000

#: A sentence of prose: this leaves out tables, grammar rules and code.
_SENTENCE = re.compile(r"[a-z][a-z ,;:'()-]{20,}\.")


def load(kind: Kind, sample_length: int = 40_000) -> Corpus:
    """The text, in lower case."""
    text = _real() if kind == "real" else _sample(sample_length)
    about = f"{'Nietzsche' if kind == 'real' else 'English prose from the help of Python'}: {len(text):,} characters"
    return Corpus(about, text, Vocabulary("characters", sorted(set(text))))


def read_text_file(path: Path) -> Corpus:
    """The text of a UTF-8 file, in lower case, named after the file.

    Raises:
        NotFound: there is no such file.
        InvalidInput: the file is empty, too short, not in UTF-8, or not a text.
    """
    if not path.is_file():
        raise NotFound(f"there is no file {path}.", "Give the path of a text file: -p text=FILE")
    try:
        text = path.read_text("utf-8-sig").lower()
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{path} is not in UTF-8: byte {error.start} cannot be decoded.", "Convert it: iconv -t UTF-8"
        ) from error
    if len(text) < _SHORTEST:
        size = f"has {len(text)} characters" if text else "is empty"
        raise InvalidInput(f"{path} {size}; expected {_SHORTEST:,} or more.", "Give a longer text.")
    characters = sorted(set(text))
    if "\0" in text or not 2 <= len(characters) <= _LARGEST:
        what = "zero bytes" if "\0" in text else f"{len(characters):,} different characters"
        raise InvalidInput(
            f"{path} has {what}; expected a text with 2 to {_LARGEST:,} different characters.", "Give a text file."
        )
    return Corpus(f"{path.name}: {len(text):,} characters", text, Vocabulary("characters", characters))


def _real() -> str:
    path = cached_file("nietzsche.txt", _URL, None)
    with report_unreadable(path):
        text = path.read_text("utf-8").lower()
    if len(text) != _LENGTH:  # no checksum is published, but the length is known
        raise Failed(f"{path} has {len(text):,} characters; expected {_LENGTH:,}.", "Download the file again.")
    return text


def _sample(length: int) -> str:
    from pydoc_data.topics import topics

    paragraphs = (block for name in sorted(topics) for block in topics[name].split("\n\n"))
    plain = (" ".join(re.sub(r'["*`]', "", block).split()).lower() for block in paragraphs)
    sentences = (sentence for block in plain for sentence in re.split(r"(?<=\.) ", block))
    return "\n".join(dict.fromkeys(filter(_SENTENCE.fullmatch, sentences)))[:length]
