"""Keys: who may ask. A file holds one API key a line; a request shows one as ``Authorization: Bearer KEY`` or
``X-API-Key: KEY`` (over gRPC as metadata of these names)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from bookserve.errors import InvalidInput, NotFound

#: Characters of the shortest key that is accepted.
MIN_LENGTH = 16
#: What a request without a key is told.
KEY_NEEDED = "an API key is needed."
KEY_HINT = "Send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'."


class ApiKeys:
    """The keys of one server, kept as digests: all of one length, so that comparing them tells nothing."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [_digest(key.encode()) for key in keys]

    @classmethod
    def read(cls, path: Path) -> ApiKeys:
        """The keys in a file; empty lines and those that begin with ``#`` are passed over.

        Raises:
            NotFound: no such file.
            InvalidInput: no keys in it, or one that is too short.
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

    def admit(self, name: bytes, value: bytes) -> bool:
        """Whether this header (its name in small letters) shows one of the keys."""
        if name == b"authorization":
            scheme, _, value = value.partition(b" ")
            if scheme.lower() != b"bearer":
                return False
        elif name != b"x-api-key":
            return False
        shown = _digest(value.strip())
        found = False
        for digest in self._digests:  # all of them, always
            found |= hmac.compare_digest(shown, digest)
        return found


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
