"""Reads a configuration file of TensorFlow Serving: one message in protobuf's text format."""

from __future__ import annotations

from pathlib import Path

from google.protobuf.message import Message

from bookserve.errors import InvalidInput, NotFound


def read_text_file(path: Path, message: Message, name: str, example: str) -> None:
    """Read the file into ``message``. ``name`` is the message's official name, ``example`` a text that is valid.

    Raises:
        NotFound: no such file.
        InvalidInput: it cannot be read, or is not that message in text format.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise NotFound(f"there is no file '{path}'.", f"Name a file with a {name}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}.") from error
    from google.protobuf import text_format

    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise InvalidInput(f"Error parsing text-format {name} in {path}: {error}.", f"Write: {example}") from error
