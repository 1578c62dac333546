"""Counts the bytes that clients make a server hold: requests that are not complete, and answers that wait unread."""

from __future__ import annotations


class HeldBytes:
    """A count with a bound. The counts of connections are parts of the server's, their ``whole``."""

    def __init__(self, most: int, whole: HeldBytes | None = None) -> None:
        """At most ``most`` bytes are held, unless a single message alone is larger."""
        self.most = most
        self.count = 0
        self._whole = whole

    def add(self, size: int) -> bool:
        """Hold ``size`` bytes more; False, and nothing is added, if they are too many."""
        if self.count and self.count + size > self.most:
            return False
        if self._whole is not None and not self._whole.add(size):
            return False
        self.count += size
        return True

    def remove(self, size: int) -> None:
        """Hold ``size`` bytes less."""
        self.count -= size
        if self._whole is not None:
            self._whole.remove(size)
