"""What the encoding of standard output can write."""

from __future__ import annotations

import codecs
from typing import Any


def is_utf8(stream: Any) -> bool:
    """Whether a stream writes UTF-8; a stream without an encoding keeps all characters."""
    encoding = getattr(stream, "encoding", None)
    return not encoding or codecs.lookup(encoding).name == "utf-8"
