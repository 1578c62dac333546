"""Counts the answers that a client script has checked. The scripts run where nothing of bookserve is installed."""

from __future__ import annotations

import sys


class Calls:
    """What was checked so far."""

    count = 0

    @classmethod
    def same(cls, found: object, expected: object) -> None:
        """End the script unless both are equal."""
        cls.count += 1
        if found != expected:
            raise SystemExit(f"call {cls.count}: {found!r} is not {expected!r}")

    @classmethod
    def report(cls) -> None:
        """Print the last line of a script that has succeeded."""
        sys.stdout.write(f"{cls.count} calls\n")
