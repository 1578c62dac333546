"""Show how far a long command has come: one line on standard error, only on a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType

#: Seconds before the line appears, and between two of its states.
_DELAY, _PAUSE = 1.0, 0.2


class Progress:
    """Rows so far, rows a second, and the time left where the size of the input is known."""

    def __init__(self, size: int, shown: bool = True) -> None:
        """``size``: bytes of all input, 0 if unknown."""
        self._size, self._shown = size, shown and sys.stderr.isatty()
        self._rows = self._read = 0
        self._start = self._last = time.monotonic()
        self._visible = False

    def add(self, rows: int, read: int) -> None:
        """Count rows that are done, and the bytes that they took."""
        self._rows += rows
        self._read += read
        now = time.monotonic()
        if self._shown and now - self._start > _DELAY and now - self._last > _PAUSE:
            self._last = now
            self._visible = True
            sys.stderr.write(f"\r{self._line(now - self._start)}\x1b[K")
            sys.stderr.flush()

    def clear(self) -> None:
        """Remove the line, so that something else can be written."""
        if self._visible:
            self._visible = False
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _line(self, seconds: float) -> str:
        line = f"{self._rows:,} rows, {self._rows / seconds:,.0f} a second"
        if 0 < self._read < self._size:
            left = round(seconds * (self._size - self._read) / self._read)
            line += f", {100 * self._read // self._size} %, {left // 60}:{left % 60:02} left"
        return line

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
