"""Runs a composite graph: one that is made of other live graphs, which also answer requests of their own.

A composite stands where other graphs have their batcher, but it has no queue: its members' batchers gather, wait, pad
and split. Members that need nothing of each other run side by side. If a member fails, the composite fails.
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
    """Runs one graph of a model in memory: a ``Batcher`` or a ``Composite``."""

    def warm_up(self, feeds: Arrays) -> None:
        """See ``Batcher.warm_up``."""

    async def run(self, feeds: Arrays, rows: int) -> Arrays:
        """See ``Batcher.run``."""

    def submit(self, feeds: Arrays, rows: int, context: RequestContext, on_result: OnResult) -> None:
        """See ``Batcher.submit``."""

    def close(self) -> None:
        """See ``Batcher.close``."""


class MemberMissing(NotReady):
    """A model that a composite is made of is not live."""


class Composite:
    """Runs one composite graph for many callers of one event loop."""

    def __init__(
        self, graph: Graph, graphs: Mapping[str, Graph], own: Mapping[str, GraphRunner], find_model: FindModel
    ) -> None:
        """``graphs`` are the graphs of the same bundle, and ``own`` what runs them, to be filled before the first run.

        ``find_model`` finds other models.

        Raises:
            MemberMissing: another model that it is made of is not live.
            Failed: that model's graph has other inputs or outputs than the composite expects.
        """
        self._graph = graph
        self._rounds = composite.execution_rounds(graph)
        self._graphs = graphs
        self._own = own
        self._find_model = find_model
        self._tasks = BackgroundRuns()
        for member in graph.members:
            if member.model:
                self._find_graph(member)

    def warm_up(self, feeds: Arrays) -> None:
        """Only check the feeds: the members have been warmed up themselves.

        Raises:
            InvalidInput: the feeds do not fit the graph.
        """
        self._graph.check(feeds)

    async def run(self, feeds: Arrays, rows: int) -> Arrays:
        """Run all members on checked ``feeds``.

        Raises:
            MemberMissing: a model that it is made of is not live any more.
            BookserveError: what a member's ``run`` raises.
        """
        tensors = feeds
        for members in self._rounds:
            running = [self._run_member(member, tensors) for member in members]
            given = await _run_side_by_side(running) if len(running) > 1 else [await running[0]]
            tensors = {name: array for arrays in (tensors, *given) for name, array in arrays.items()}
        return {name: tensors[name] for name in self._graph.outputs}

    def submit(self, feeds: Arrays, rows: int, context: RequestContext, on_result: OnResult) -> None:
        """``run`` for callers without a task; see ``Batcher.submit``. A task of its own runs it."""
        self._tasks.start(self.run(feeds, rows), context, on_result)

    def close(self) -> None:
        """Nothing to do: the members are closed by their own models."""

    async def _run_member(self, member: Member, tensors: Arrays) -> Arrays:
        run: Callable[[Arrays, int], Coroutine[Any, Any, Arrays]]
        if member.model:
            live, name, graph = self._find_graph(member)
            run = partial(live.run, name)
        else:
            graph, run = self._graphs[member.graph], self._own[member.graph].run
        feeds = member.take(tensors)
        try:  # the outputs of other members may not fit, and must not spoil a run that is shared
            rows = graph.check(feeds)
        except InvalidInput as error:
            raise InvalidInput(f"member {member}: {error.message}", error.hint) from error
        return member.give(await run(feeds, rows))

    def _find_graph(self, member: Member) -> tuple[MemberModel, str, Graph]:
        """The live model of a member, and its graph with the graph's name; see ``__init__`` for errors."""
        try:
            live = self._find_model(member.model, member.version)
        except BookserveError as error:
            raise MemberMissing(f"the model is made of {member}: {error.message}", error.hint) from error
        try:
            name, graph = live.bundle.graph(member.graph)
        except BookserveError as error:
            raise Failed(f"the model is made of {member}: {error.message}", error.hint) from error
        if graph.members or graph.inputs.keys() != member.inputs.keys() or member.outputs.keys() - graph.outputs.keys():
            raise Failed(f"the model is made of {member}, which is another graph now.", "Compose it again.")
        return live, name, graph


async def _run_side_by_side(running: Sequence[Coroutine[Any, Any, Arrays]]) -> list[Arrays]:
    """The outputs of each. After an error the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in running]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
