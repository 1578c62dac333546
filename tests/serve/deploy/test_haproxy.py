"""HAProxy's configuration and the commands for its socket, as texts."""

from __future__ import annotations

import re

import msgspec
import pytest

from bookserve.errors import InvalidInput
from fleet import haproxy, metrics
from fleet.agent import ServerState
from fleet.balance import next_addresses, read_report
from fleet.haproxy import Address, Balancer
from fleet.watch import Report

A, B, C = Address("10.0.0.1", 8501), Address("10.0.0.2", 8501), Address("10.0.0.3", 8501)


def server(address: Address, state: str) -> ServerState:
    return ServerState(address.host, address.port, 1, state)


def test_every_backend_has_the_same_slots_and_one_of_them_checks() -> None:
    text = haproxy.configuration(Balancer(slots=3), {1: A, 3: B})
    assert "\t" not in text
    assert re.findall(r"server s1 (\S+) (.*)", text) == [
        ("10.0.0.1:8501", "check"),
        ("10.0.0.1:8501", "track hashed/s1"),
        ("10.0.0.1:8502", "track hashed/s1 proto h2"),
    ]
    assert re.search(r"server s2 127.0.0.1:1 check disabled", text)
    with pytest.raises(InvalidInput):
        haproxy.configuration(Balancer(), {})


def test_addresses_keep_their_slots() -> None:
    slots = haproxy.assign({}, [B, A], 4)
    assert slots == {1: A, 2: B}
    assert haproxy.assign(slots, [B, C], 4) == {1: C, 2: B}
    with pytest.raises(InvalidInput, match="no servers"):
        haproxy.assign(slots, [], 4)
    with pytest.raises(InvalidInput, match="slots"):
        haproxy.assign(slots, [A, B, C], 2)


def test_servers_join_before_others_leave() -> None:
    commands = haproxy.changes({1: A, 2: B}, {1: A, 3: C})
    assert commands == [
        "set server hashed/s3 addr 10.0.0.3 port 8501",
        "set server spread/s3 addr 10.0.0.3 port 8501",
        "set server grpc/s3 addr 10.0.0.3 port 8502",
        "set server hashed/s3 health down",
        "set server hashed/s3 state ready",
        "set server hashed/s2 state maint",
    ]
    assert haproxy.changes({1: A}, {1: A}) == []
    assert haproxy.map_changes("hot", ["a", "b"], ["b", "c"]) == ["add map hot c 1", "del map hot a"]


def test_the_list_of_servers_is_never_emptied() -> None:
    assert next_addresses([A, B], Report([], [])) == [A, B]
    assert next_addresses([A], Report(["10.0.0.1"], [])) == [A]
    assert next_addresses([A], Report(["10.0.0.1"], [server(A, "draining")])) == [A]


def test_servers_join_when_ready_and_leave_when_their_machine_says_so() -> None:
    hosts = ["10.0.0.1", "10.0.0.3"]
    assert next_addresses([A, B], Report(hosts, [server(A, "ready"), server(C, "starting")])) == [A, B]
    assert next_addresses([A, B], Report(hosts, [server(A, "draining"), server(C, "ready")])) == [B, C]
    # One that is started again keeps its place; HAProxy's checks say when it is back.
    assert next_addresses([A, B], Report(hosts, [server(A, "stopped"), server(C, "ready")])) == [A, B, C]


def test_counts_are_read_from_metrics() -> None:
    text = """\
# TYPE bookserve_requests_total counter
bookserve_requests_total{model="m",version="1",graph="g",protocol="tfs/http",code="ok"} 7
bookserve_requests_total{model="m",version="1",graph="g",protocol="tfs/http",code="failed"} 2.0
bookserve_queue_seconds_sum{model="m",version="1",graph="g"} 0.5
bookserve_queue_seconds_count{model="m",version="1",graph="g"} 9
"""
    counts = metrics.parse_counts(text)
    assert counts == metrics.Counts({"m": 9.0}, 2.0, 0.5, 9.0)
    assert metrics.since(counts, counts) == metrics.Counts({"m": 0.0})
    assert metrics.since(counts, metrics.Counts({"m": 1.0})).requests == {"m": 1.0}
    assert metrics.total([counts, counts]).queued == 18.0


def test_a_line_that_ray_prints_among_the_reports_is_passed_over() -> None:
    report = Report(["10.0.0.1"], [])
    lines = [b"(raylet) The node 10.0.0.2 has died.\n", b"\n", msgspec.json.encode(report) + b"\n", b'{"hosts": 1}\n']
    assert [read_report(line) for line in lines] == [None, None, report, None]
