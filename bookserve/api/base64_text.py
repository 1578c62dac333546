"""Decode base64 as people's tools write it: with or without padding, and with line ends or spaces in between."""

from __future__ import annotations

import base64

from bookserve.errors import InvalidInput

_WHITE_SPACE = dict.fromkeys(map(ord, " \t\r\n\v\f"))


def decode_base64(text: str) -> bytes:
    """The bytes of a text in the standard alphabet of base64.

    Raises:
        InvalidInput: it is not base64, or is in the alphabet for URLs.
    """
    try:
        return _decode(text)
    except ValueError:
        pass
    try:
        return _decode(text.translate(_WHITE_SPACE))
    except ValueError:
        raise InvalidInput(
            "Unable to base64 decode.", "Use the standard base64 alphabet, not the URL-safe one."
        ) from None


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
