"""Reads API keys from a file (one key for each line) and compares the keys of requests with them.

A request sends its key as ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``; over gRPC as metadata of these names.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from bookserve.errors import InvalidInput, NotFound

#: Minimum length of a key in characters.
MIN_LENGTH = 16
#: Error message and hint for requests without a valid key.
KEY_NEEDED = "an API key is needed."
KEY_HINT = "Send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'."


class ApiKeys:
    """The keys of one server, kept as digests of equal length, so that the time to compare them reveals nothing."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [_digest(key.encode()) for key in keys]

    @classmethod
    def read(cls, path: Path) -> ApiKeys:
        """The keys in a file; empty lines and lines that begin with ``#`` are ignored.

        Raises:
            NotFound: no such file.
            InvalidInput: the file has no keys, or one that is too short.
        """
        try:
            lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
        except FileNotFoundError as error:
            raise NotFound(f"there is no file '{path}'.", "Write one API key a line into it.") from error
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{path} cannot be read: {error}.") from error
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys:
            raise InvalidInput(f"{path} holds no API key.", "Write one a line into it, such as: openssl rand -hex 32")
        if any(len(key) < MIN_LENGTH for key in keys):
            raise InvalidInput(f"a key in {path} has fewer than {MIN_LENGTH} characters.", "Use: openssl rand -hex 32")
        return cls(keys)

    def accepts(self, name: bytes, value: bytes) -> bool:
        """Whether this header (name in lower case) carries one of the keys."""
        if name == b"authorization":
            scheme, _, value = value.partition(b" ")
            if scheme.lower() != b"bearer":
                return False
        elif name != b"x-api-key":
            return False
        sent = _digest(value.strip())
        is_valid = False
        for digest in self._digests:  # always all of them, so that the time does not depend on the key
            is_valid |= hmac.compare_digest(sent, digest)
        return is_valid


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
