"""Run functions on the nodes of a Ray cluster that runs already, as plain tasks.

A task whose node dies is run again on another node, so functions must have no effect but their result. Functions are
found by their names: they must lie in the package ``bookserve``, which is installed on every node.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from bookserve.environment import turn_off_telemetry
from bookserve.errors import BookserveError, Failed, InvalidInput, NotReady

#: How many times a task is run again after its process or its node has died. Some crash wherever they run.
RETRIES = 10


class Node(NamedTuple):
    """A node of Ray's that lives."""

    id: str
    name: str
    host: str
    cpus: float
    gpus: float


def connect(address: str = "auto", **options: Any) -> None:
    """Connect this process to Ray. With ``auto``, Ray's variable ``RAY_ADDRESS`` or this machine says where it is.

    Raises:
        NotReady: no head answers.
        InvalidInput: Ray is not installed.
    """
    turn_off_telemetry()
    try:
        import ray
    except ModuleNotFoundError as error:
        raise InvalidInput(
            "this needs the package 'ray'.", "Install it on every machine: pip install 'bookserve[ray]'"
        ) from error
    place = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    try:
        _reach(place)
        ray.init(address=address, logging_level="error", **{"log_to_driver": False, **options})
    except (OSError, RuntimeError, ray.exceptions.RayError) as error:
        raise NotReady(
            f"no head of Ray answers at {place}.",
            "Start one: ray start --head --node-ip-address=ADDRESS; the variable RAY_ADDRESS names another one. "
            "A head that asks for a token needs the same RAY_AUTH_MODE and token on every machine.",
        ) from error


def _reach(place: str) -> None:
    """Open a connection to ``host:port``: Ray itself tries for the better part of a minute."""
    host, _, port = place.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def live_nodes() -> list[Node]:
    """The nodes that live and have CPUs, by host."""
    import ray

    found = []
    for node in ray.nodes():
        has = node["Resources"]
        if node["Alive"] and has.get("CPU", 0) > 0:
            host = node["NodeManagerAddress"]
            found.append(Node(node["NodeID"], node.get("NodeName", ""), host, has["CPU"], has.get("GPU", 0)))
    return sorted(found, key=lambda node: (node.host, node.id))


class Cluster:
    """The nodes of a cluster, for functions."""

    def __init__(self, address: str = "auto", **options: Any) -> None:
        """See ``connect`` for arguments and errors.

        Raises:
            NotReady: no node has CPUs for tasks.
        """
        connect(address, **options)
        self.nodes = live_nodes()
        if not self.nodes:
            raise NotReady("no node of the Ray cluster has CPUs.", "Add some: ray start --address=HEAD:6379")

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The result of ``function``, which gets one CPU of some node. Threads may call this at the same time.

        Raises:
            BookserveError: what the function raised; ``Failed`` for every other error of it.
            NotReady: its process died on every node.
        """
        import ray

        remote = ray.remote(num_cpus=1, max_retries=RETRIES)(function)
        return _result(remote.remote(*arguments))

    def each(
        self, function: Callable[..., Any], arguments: Sequence[Any], cpus: float, gpus: float
    ) -> Iterator[tuple[int, Any]]:
        """Call ``function`` for each argument, each time in a new process; yields number and result as they come.

        An error is yielded as a result: it does not end the others.
        """
        import ray

        remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES, max_calls=1)(function)
        # Tasks that wait go to whichever node is free; the first ones to different nodes.
        placed = remote.options(scheduling_strategy="SPREAD")
        pending = {placed.remote(argument): number for number, argument in enumerate(arguments)}
        while pending:
            (done,), _ = ray.wait(list(pending), num_returns=1)
            number = pending.pop(done)
            try:
                yield number, _result(done)
            except BookserveError as error:
                yield number, error

    def share(self, value: Any) -> Any:
        """A reference to a value, which each node copies once; ``shared`` returns the value there."""
        import ray

        return ray.put(value)

    def close(self) -> None:
        """Leave the cluster; tasks that run are ended."""
        import ray

        ray.shutdown()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def shared(reference: Any) -> Any:
    """The value behind a reference of ``Cluster.share``, on the node of a task."""
    import ray

    return ray.get(reference)


def _result(reference: Any) -> Any:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, BookserveError):
            raise error.cause from error
        raise Failed(f"a task failed: {type(error.cause).__name__}: {error.cause}") from error
    except ray.exceptions.RayError as error:
        raise NotReady(
            f"a task was lost: {str(error).splitlines()[0]}", "Look at `ray status` and at the nodes' memory."
        ) from error
