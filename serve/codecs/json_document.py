"""Parses JSON bodies and writes JSON with arrays, including the literals NaN and Infinity.

TensorFlow Serving and Triton read and write these literals, though JSON itself does not have them. Documents without
them are handled by orjson alone.
"""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import Any

import numpy as np
import orjson

from bookserve.errors import InvalidInput

#: A string literal, and all bytes that are not brackets.
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
#: A string literal, or one of the further literals that RapidJSON reads, which both systems use.
_SHORT_LITERAL = re.compile(r'("(?:[^"\\]|\\.)*")|-NaN\b|\bInf\b', re.DOTALL)
_LITERALS = {"-NaN": "NaN", "Inf": "Infinity"}
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))


def loads(body: bytes, *, depth: int, trailing: bool = False) -> Any:
    """Parse UTF-8 JSON. With ``trailing``, bytes after the document are ignored.

    Raises:
        InvalidInput: the body is not JSON (the message gives the offset), or is nested more than ``depth`` deep.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if not len(body):
            raise InvalidInput("JSON Parse error: The document is empty") from error
        if "infinity" in error.msg:  # a number above 1.8e308, or an integer of more than 308 digits
            raise InvalidInput(
                f"JSON Parse error: Number too big to be stored in double. at offset: {error.pos}"
            ) from error
        value, body = _parse_tolerantly(body, trailing)
    if len(body) > 2 * depth and _is_deeper(body, depth):
        raise InvalidInput(f"JSON Parse error: The document is nested too deeply, over {depth} lists and objects.")
    return value


def _is_deeper(body: bytes, depth: int) -> bool:
    """Whether well-formed JSON is nested more than ``depth`` deep."""
    if body.count(b"[") + body.count(b"{") <= depth:
        return False
    brackets = _STRING.sub(b"", body).translate(bytes.maketrans(b"{}", b"[]"), _NO_BRACKET)
    for _ in range(depth):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")  # removes the innermost level
    return bool(brackets)


def dumps(value: Any) -> bytes:
    """Write JSON. Arrays must be converted with ``array_to_json`` first."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def array_to_json(array: np.ndarray) -> Any:
    """An array of numbers or booleans as ``dumps`` takes it. Floats have the fewest digits that restore the value."""
    if not array.flags.c_contiguous:
        array = np.ascontiguousarray(array)
    if array.dtype.kind != "f":
        return array if array.ndim else array.item()
    text = dumps(array if array.ndim else array[None])
    if b"null" in text:  # orjson's text for NaN and Infinity; nothing else in an array of numbers gives it
        words = [
            b"NaN" if value != value else b"Infinity" if value > 0 else b"-Infinity" for value in _not_finite(array)
        ]
        texts = text.split(b"null")
        text = b"".join(chain.from_iterable(zip(texts, words, strict=False))) + texts[-1]
    return orjson.Fragment(text if array.ndim else text[1:-1])


def array_to_strict_json(array: np.ndarray) -> bytes:
    """An array of numbers or booleans as JSON of the standard, where what is not finite is null."""
    return dumps(np.ascontiguousarray(array)) if array.ndim else dumps(array[None])[1:-1]


def _not_finite(array: np.ndarray) -> list[float]:
    return list(array[~np.isfinite(array)].tolist())


def _parse_tolerantly(body: bytes, trailing: bool) -> tuple[Any, bytes]:
    """Parse with Python's own parser what orjson refuses; the value, and the bytes of the document itself."""
    try:
        text = body.decode("utf-8-sig").lstrip(" \t\r\n")
        if "Inf" in text or "-NaN" in text:
            text = _SHORT_LITERAL.sub(lambda found: found[1] or _LITERALS[found[0]], text)
        value, end = json.JSONDecoder().raw_decode(text)
        if not trailing and text[end:].strip(" \t\r\n"):
            raise json.JSONDecodeError("Extra data", text, end)
        if "\\ud" in text.lower():  # half of a surrogate pair is not a character and cannot be encoded as UTF-8
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise InvalidInput(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
    except UnicodeError as error:
        raise InvalidInput("JSON Parse error: Invalid encoding in string.", "Send UTF-8.") from error
    except RecursionError as error:
        raise InvalidInput("JSON Parse error: The document is nested too deeply.") from error
    except ValueError as error:
        raise InvalidInput("JSON Parse error: A number is too long.") from error
    return value, text[:end].encode()
