"""Nietzsche: some of his writings in English, one text of 600,893 characters.

The sample is the English prose in ``pydoc_data.topics``, the help texts that come with Python.
Source: Project Gutenberg, as the book and Keras's examples use it.
"""

from __future__ import annotations

import re
from pathlib import Path

from bookserve.errors import Failed, InvalidInput, NotFound
from bookserve.vocabulary import Vocabulary
from trainers.data.source import Corpus, Kind, file, reading

_URL = "https://s3.amazonaws.com/text-datasets/nietzsche.txt"
_LENGTH = 600_893
#: Characters that a corpus must have, for windows of sixty to teach anything.
_SHORTEST = 2_000

#: A sentence of prose has only these: no tables, no grammar, no code.
_SENTENCE = re.compile(r"[a-z][a-z ,;:'()-]{20,}\.")


def load(kind: Kind, sample_length: int = 40_000) -> Corpus:
    """The text, in lower case."""
    text = _real() if kind == "real" else _sample(sample_length)
    about = f"{'Nietzsche' if kind == 'real' else 'English prose from the help of Python'}: {len(text):,} characters"
    return Corpus(about, text, Vocabulary("characters", sorted(set(text))))


def read(path: Path) -> Corpus:
    """Any other text, in lower case like the book's, so that capitals do not double the vocabulary.

    Raises:
        NotFound: there is no such file, or it cannot be opened.
        InvalidInput: it is no text, or too short to learn from.
    """
    try:
        text = path.read_text("utf-8").lower()
    except OSError as error:
        raise NotFound(f"the text {path} cannot be read: {error.strerror}.", "Give its path: -p text=FILE") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from error
    if len(text) < _SHORTEST:
        raise InvalidInput(f"{path} has {len(text):,} characters; expected {_SHORTEST:,} or more.", "Give more text.")
    return Corpus(f"{path.name}: {len(text):,} characters", text, Vocabulary("characters", sorted(set(text))))


def _real() -> str:
    path = file("nietzsche.txt", _URL, None)
    with reading(path):
        text = path.read_text("utf-8").lower()
    if len(text) != _LENGTH:  # nobody publishes a checksum of this file; its length is well known
        raise Failed(f"{path} has {len(text):,} characters; expected {_LENGTH:,}.", "Put the right file there.")
    return text


def _sample(length: int) -> str:
    from pydoc_data.topics import topics

    paragraphs = (block for name in sorted(topics) for block in topics[name].split("\n\n"))
    plain = (" ".join(re.sub(r'["*`]', "", block).split()).lower() for block in paragraphs)
    sentences = (sentence for block in plain for sentence in re.split(r"(?<=\.) ", block))
    return "\n".join(dict.fromkeys(filter(_SENTENCE.fullmatch, sentences)))[:length]
