"""The configuration of one model: where its versions lie, which of them are served, and their labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from bookserve.bundle import Bundle
from bookserve.errors import InvalidInput

#: The label of a version on trial, and of the version that the other requests get meanwhile.
CANARY, STABLE = "canary", "stable"


class VersionPolicy(msgspec.Struct, frozen=True):
    """Which versions are live: the ``latest`` newest that can be loaded (None: all), or only the ``specific`` ones."""

    latest: int | None = 1
    specific: tuple[int, ...] = ()
    #: Whether other versions are loaded, too, when a request names them by number.
    on_demand: bool = False

    def candidates(self, on_disk: Sequence[int]) -> tuple[list[int], int]:
        """The versions to try, in that order, and how many of them are to be live."""
        if self.specific:
            return sorted(self.specific, reverse=True), len(self.specific)
        newest = sorted(on_disk, reverse=True)
        return newest, len(newest) if self.latest is None else self.latest

    @classmethod
    def parse(cls, text: str) -> VersionPolicy:
        """Read a policy: ``latest``, ``latest:3``, ``on-demand``, ``all``, or versions such as ``1,4``.

        Raises:
            InvalidInput: it is none of these.
        """
        kind, _, number = text.partition(":")
        numbers = [part.strip() for part in (number if kind == "latest" else kind).split(",")]
        if text == "all":
            return cls(latest=None)
        if text == "latest":
            return cls()
        if text == "on-demand":
            return cls(on_demand=True)
        if all(part.isascii() and part.isdecimal() and 0 < len(part) < 19 and int(part) for part in numbers):
            if kind != "latest":
                return cls(specific=tuple(sorted(set(map(int, numbers)))))
            if len(numbers) == 1:
                return cls(latest=int(numbers[0]))
        raise InvalidInput(
            f"'{text}' is not a version policy.", "Use latest, latest:N, on-demand, all, or versions such as 1,4."
        )


class DirectoryConfig(Protocol):
    """What a file beside the versions of a model says of it; ``bookserve.formats.triton_config.TritonConfig`` does."""

    @property
    def row_limit(self) -> int:
        """Rows of one request at most; 0 for any number."""

    @property
    def max_delay(self) -> float:
        """Seconds that a request may wait for others to share its batch; 0 if it does not say."""

    @property
    def max_waiting(self) -> int | None:
        """Requests that may wait; None if it does not say."""

    @property
    def versions(self) -> tuple[int | None, tuple[int, ...]] | None:
        """How many of the newest versions are served (None: all), and which (empty: any); None if it says nothing."""

    def model_file(self, version: Path) -> Path | None:
        """The model file of a version directory; None if it does not name it."""

    def apply(self, bundle: Bundle) -> Bundle:
        """The bundle as this configuration wants it."""


#: Reads that file in the directory of a model; None if there is none.
ReadConfig = Callable[[Path], DirectoryConfig | None]


class ModelConfig(msgspec.Struct, frozen=True):
    """One model. ``path`` holds a directory for each version."""

    name: str
    path: Path
    policy: VersionPolicy = VersionPolicy()
    labels: Mapping[str, int] = {}
