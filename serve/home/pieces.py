"""Pieces: a text as it is sent while it is written – the first character at once, then a few at a time."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

#: Seconds between two pieces: too short for an eye to see, long enough for hundreds of characters of a small model.
PAUSE = 0.01


async def pieces(characters: AsyncGenerator[str], pause: float = PAUSE) -> AsyncIterator[str]:
    """Join characters that come faster than one in ``pause`` seconds; slower ones pass as they come.

    Sending costs several times what drawing a character does. Whoever stops listening ends the writing too.
    """
    waiting, sent = "", float("-inf")
    async with aclosing(characters):
        async for character in characters:
            waiting += character
            now = time.monotonic()
            if now - sent >= pause:
                yield waiting
                waiting, sent = "", now
    if waiting:
        yield waiting
