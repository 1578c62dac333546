"""Predict rows on the nodes of a Ray cluster: each part of them is a task of its own.

Parts are sent in the order of the rows and their answers are taken in that order; each is used once. A part whose node
dies is predicted again elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bookserve.bundle.packing import delete_unused, pack_bundle, unpack_bundle
from bookserve.client.address import connect
from bookserve.client.answers import Answers, AnswerTable
from bookserve.client.client import Client
from bookserve.cluster import Cluster, shared
from bookserve.environment import cache_directory
from bookserve.errors import NotFound

#: Parts that wait for each CPU of the cluster, so that none of them waits for the next part.
_AHEAD = 2
#: Most parts that are held in memory at the same time.
_MOST = 256
_LOCAL = "local:"
#: Seconds after which a node deletes a bundle that no task has opened.
_UNUSED = 30 * 24 * 3600


class Source(msgspec.Struct, frozen=True):
    """Where the nodes find the model: the address of a server, or a bundle that they copy."""

    #: ``local:`` for the bundle; ``?variant=NAME`` may follow.
    url: str
    #: Arguments of ``connect``, and the variables that it reads.
    options: Mapping[str, Any] = {}
    variables: Mapping[str, str] = {}
    #: The bundle's key, and what ``Cluster.share`` returned for its files.
    key: str = ""
    files: Any = None


class Spread:
    """A model on all nodes of a cluster; stands for a ``Client`` where parts are predicted."""

    def __init__(
        self,
        cluster: Cluster,
        url: str,
        model: str,
        version: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            url: address of a server, as the nodes reach it, or ``local:DIRECTORY`` of this machine. The bundle in it is
                copied to each node, once.
            options: further arguments of ``connect``.

        Raises:
            NotFound: there is no such model in the directory.
        """
        self._cluster = cluster
        self.parallel = min(_MOST, max(2, _AHEAD * int(sum(node.cpus for node in cluster.nodes))))
        variables = {name: value for name, value in os.environ.items() if name.startswith("BOOKSERVE_")}
        self._source = Source(url, dict(options or {}), variables)
        if url.startswith(_LOCAL):
            directory, question, variant = url.removeprefix(_LOCAL).partition("?")
            if not Path(directory).is_dir():
                raise NotFound(f"there is no directory '{directory}'.", "Write bundles with: bookserve export")
            packed = pack_bundle(Path(directory), model, version)
            self._source = msgspec.structs.replace(
                self._source, url=f"{_LOCAL}{question}{variant}", key=packed.key, files=cluster.share(packed.files)
            )

    def predict_part(self, model: str, rows: Sequence[Any], version: int | None = None) -> Answers | AnswerTable:
        """See ``Client.predict_part``; waits until a node has answered."""
        found: Answers | AnswerTable = self._cluster.call(predict_here, self._source, model, rows, version)
        return found


#: The clients of this process, by key and address: a process answers many parts.
_opened: dict[tuple[str, str], Client] = {}


def predict_here(source: Source, model: str, rows: Sequence[Any], version: int | None) -> Answers | AnswerTable:
    """The answers to some rows on the node of a task; see ``Client.predict_part``."""
    place = source.key, source.url
    if place not in _opened:
        os.environ.update(source.variables)
        url = source.url
        if source.key:
            copies = cache_directory() / "bundles"
            directory = unpack_bundle(source.key, lambda: shared(source.files), copies)
            delete_unused(copies, _UNUSED)
            url = f"{_LOCAL}{directory}{source.url.removeprefix(_LOCAL)}"
        _opened[place] = connect(url, **source.options)
    return _opened[place].predict_part(model, rows, version)
