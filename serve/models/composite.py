"""Composite: runs a graph that is made of other live graphs, sharing each with those who ask it directly.

It stands where other graphs have their batcher, and has no queue of its own: its members' batchers gather, wait, pad
and split. Members that need nothing of each other run side by side. What a member cannot do, the whole cannot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from bookserve.bundle import composite
from bookserve.errors import BookserveError, Failed, InvalidInput, NotReady
from bookserve.graph import Arrays, Graph, Member
from serve.batching.request_queue import BackgroundRuns, OnResult
from serve.models.model_table import FindModel, MemberModel
from serve.request_context import RequestContext


class GraphRunner(Protocol):
    """What runs one graph of a model in memory: a ``Batcher``, or a ``Composite``."""

    def warm_up(self, feeds: Arrays) -> None:
        """See ``Batcher.warm_up``."""

    async def run(self, feeds: Arrays, rows: int) -> Arrays:
        """See ``Batcher.run``."""

    def submit(self, feeds: Arrays, rows: int, call: RequestContext, done: OnResult) -> None:
        """See ``Batcher.submit``."""

    def close(self) -> None:
        """See ``Batcher.close``."""


class MemberMissing(NotReady):
    """A composite cannot be loaded before a model that it is made of."""


class Composite:
    """Runs one composite graph for many callers of one event loop."""

    def __init__(
        self, graph: Graph, graphs: Mapping[str, Graph], own: Mapping[str, GraphRunner], find: FindModel
    ) -> None:
        """``graphs`` are those of the same bundle, and ``own`` what runs them: it may be filled until the first run.

        Raises:
            MemberMissing: another model that it is made of is not live.
            Failed: that model's graph takes or gives other tensors.
        """
        self._graph = graph
        self._rounds = composite.execution_rounds(graph)
        self._graphs = graphs
        self._own = own
        self._find = find
        self._tasks = BackgroundRuns()
        for member in graph.members:
            if member.model:
                self._look_at(member)

    def warm_up(self, feeds: Arrays) -> None:
        """Its members have warmed up themselves; the feeds must fit nevertheless.

        Raises:
            InvalidInput: they do not.
        """
        self._graph.check(feeds)

    async def run(self, feeds: Arrays, rows: int) -> Arrays:
        """Run all members on checked ``feeds``.

        Raises:
            NotReady: a model that it is made of is not live any more.
            BookserveError: whatever a member's ``run`` raises.
        """
        tensors = feeds
        for members in self._rounds:
            running = [self._member(member, tensors) for member in members]
            given = await _all(running) if len(running) > 1 else [await running[0]]
            tensors = {name: array for arrays in (tensors, *given) for name, array in arrays.items()}
        return {name: tensors[name] for name in self._graph.outputs}

    def submit(self, feeds: Arrays, rows: int, call: RequestContext, done: OnResult) -> None:
        """``run``, with ``done`` told how it ended."""
        self._tasks.start(self.run(feeds, rows), call, done)

    def close(self) -> None:
        """There is nothing to let go of."""

    async def _member(self, member: Member, tensors: Arrays) -> Arrays:
        run: Callable[[Arrays, int], Coroutine[Any, Any, Arrays]]
        if member.model:
            live, name, graph = self._look_at(member)
            run = partial(live.run, name)
        else:
            graph, run = self._graphs[member.graph], self._own[member.graph].run
        feeds = member.take(tensors)
        try:  # what other members gave may be anything, and must not spoil a run that is shared
            rows = graph.check(feeds)
        except InvalidInput as error:
            raise InvalidInput(f"member {member}: {error.message}", error.hint) from error
        return member.give(await run(feeds, rows))

    def _look_at(self, member: Member) -> tuple[MemberModel, str, Graph]:
        try:
            live = self._find(member.model, member.version)
        except BookserveError as error:
            raise MemberMissing(f"the model is made of {member}: {error.message}", error.hint) from error
        try:
            name, graph = live.bundle.graph(member.graph)
        except BookserveError as error:
            raise Failed(f"the model is made of {member}: {error.message}", error.hint) from error
        if graph.members or graph.inputs.keys() != member.inputs.keys() or member.outputs.keys() - graph.outputs.keys():
            raise Failed(f"the model is made of {member}, which is another graph now.", "Compose it again.")
        return live, name, graph


async def _all(running: Sequence[Coroutine[Any, Any, Arrays]]) -> list[Arrays]:
    """What each gives, side by side; after an error the others' answers are not wanted any more."""
    tasks = [asyncio.ensure_future(one) for one in running]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
