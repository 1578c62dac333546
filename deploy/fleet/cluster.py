"""Ray as the control plane of a fleet: one actor on each node, and nothing on the way of a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bookserve import cluster
from bookserve.cluster import Node
from bookserve.errors import BookserveError, Failed, InvalidInput, NotReady
from fleet.agent import Agent, ServerState
from fleet.network import interface_addresses, public
from fleet.spec import Fleet, Server

NAMESPACE = "bookserve-fleet"
#: Seconds to wait for an answer; copying models takes longer.
_ANSWER = 10.0
_PULL = 3600.0


def connect(fleet: Fleet) -> None:
    """Connect this process to Ray.

    Raises:
        NotReady: no head answers.
        InvalidInput: Ray's ports can be reached from outside a private network, and ``fleet`` does not allow that.
    """
    cluster.connect(fleet.ray, namespace=NAMESPACE)
    if not fleet.allow_public:
        _refuse_public(nodes(fleet))


def nodes(fleet: Fleet) -> list[Node]:
    """The live nodes that the fleet may use, by host."""
    found = cluster.live_nodes()
    return [node for node in found if not fleet.nodes or {node.id, node.name, node.host} & set(fleet.nodes)]


def members(fleet: Fleet) -> dict[str, ActorMember]:
    """The agent of each node, by the node's host; agents that are missing are started.

    Raises:
        NotReady: Ray does not answer.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Restarted by Ray when it dies. Several threads: a status is told while models are copied.
    actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, max_concurrency=8)(Agent)
    found = {}
    for node in nodes(fleet):
        placed = actor.options(
            # A node that has begun anew has another id, and gets an agent of its own, which adopts the servers.
            name=f"agent-{node.id}",
            lifetime="detached",
            get_if_exists=True,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
        )
        handle = placed.remote(node.host, fleet.state, fleet.options)
        found[node.host] = ActorMember(handle, node.host)
    return found


class ActorMember:
    """An agent in an actor; see ``fleet.control.Member``. Errors are those of the agent, or ``NotReady``."""

    def __init__(self, actor: Any, host: str) -> None:
        self._actor = actor
        self._host = host

    def pull(self, models: str, release: int) -> int:
        return int(self._ask(_PULL, "pull", models, release))

    def want(self, servers: Sequence[Server]) -> None:
        self._ask(_ANSWER, "want", list(servers))

    def wanted(self) -> list[Server]:
        return list(self._ask(_ANSWER, "wanted"))

    def status(self) -> list[ServerState]:
        return list(self._ask(_ANSWER, "status"))

    def prune(self, releases: Sequence[int]) -> None:
        self._ask(_ANSWER, "prune", list(releases))

    def pid(self) -> int:
        """Process of the actor."""
        return int(self._ask(_ANSWER, "pid"))

    def _ask(self, seconds: float, method: str, *arguments: object) -> Any:
        import ray

        try:
            return ray.get(getattr(self._actor, method).remote(*arguments), timeout=seconds)
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, BookserveError):
                raise cause from error
            raise Failed(f"{self._host}: {type(cause).__name__}: {cause}") from error
        except (ray.exceptions.RayError, TimeoutError) as error:
            raise NotReady(f"the machine {self._host} does not answer.", "Look at `ray status`.") from error


def stop_agents(found: Mapping[str, ActorMember]) -> None:
    """End the agents. Servers that live go on."""
    import ray

    for member in found.values():
        ray.kill(member._actor)


def _refuse_public(found: Sequence[Node]) -> None:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(num_cpus=0)(interface_addresses)
    asked = {}
    for node in found:
        strategy = NodeAffinitySchedulingStrategy(node.id, soft=False)
        asked[node.host] = look.options(scheduling_strategy=strategy).remote()
    for host, answer in asked.items():
        if outside := public([host, *ray.get(answer, timeout=60)]):
            raise InvalidInput(
                f"Ray on {host} listens on all interfaces, and {outside[0]} is not a private address: whoever reaches "
                "Ray's ports can run any program.",
                "Close the ports by a firewall and give --allow-public, or use machines of a private network.",
            )
