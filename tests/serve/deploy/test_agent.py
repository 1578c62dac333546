"""An agent with real servers, without Ray: it starts and restarts them, another one adopts them, a roll goes back."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bookserve.errors import Failed
from fleet import control, server_process
from fleet.agent import Agent, ServerState
from fleet.spec import Fleet
from tests.serve.processes import until
from tests.servers import free_ports

pytestmark = pytest.mark.slow  # starts servers


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "state"
    for record in server_process.read_records(tmp_path / "state"):
        server_process.kill(record)


def one(agent: Agent) -> ServerState:
    (found,) = agent.status()
    return found


def test_servers_outlive_their_agent_and_a_bad_release_is_taken_back(models: Path, tmp_path: Path, state: Path) -> None:
    agent = Agent("127.0.0.1", str(state), ["--lazy"])
    fleet = Fleet(models=str(models), port=free_ports(8))
    control.up(fleet, {"here": agent}, seconds=30)
    started = one(agent)
    assert (started.state, started.release, started.starts) == ("ready", 1, 1)

    agent.close()
    adopting = Agent("127.0.0.1", str(state), ["--lazy"])
    until(lambda: one(adopting).state == "ready")
    assert one(adopting).pid == started.pid
    assert one(adopting).starts == 0

    os.kill(started.pid, signal.SIGKILL)
    until(lambda: one(adopting).state == "ready" and one(adopting).pid != started.pid)

    empty = Path(shutil.copytree(models, tmp_path / "empty"))
    for bundle in list(empty.iterdir()):
        shutil.rmtree(bundle)
    serving = one(adopting)
    with pytest.raises(Failed, match="no models"):
        control.roll(fleet, {"here": adopting}, str(empty), 5, 0, str)
    assert one(adopting).pid == serving.pid

    said: list[str] = []
    rolled = control.roll(fleet, {"here": adopting}, str(models), 30, 0.1, said.append)
    until(lambda: [found.release for found in adopting.status()] == [2])
    assert rolled.release == 2
    assert "canary" in said[0]
    control.down({"here": adopting}, seconds=30)
    assert adopting.status() == []
    adopting.close()
