"""Reads from a server's ``/metrics`` what a fleet decides by: waiting, requests of each model, failures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException

import msgspec

_LINE = re.compile(r"^(bookserve_\w+?)\{([^}]*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

#: The model under which a server counts those that have no labels of their own.
OTHER = "_other"


class Counts(msgspec.Struct, frozen=True):
    """What a server has counted since its start."""

    #: Requests by model, and those of them that failed in the server.
    requests: Mapping[str, float] = {}
    failed: float = 0.0
    #: Sum of the seconds that requests waited, and their number.
    queue_seconds: float = 0.0
    queued: float = 0.0


def parse_counts(text: str) -> Counts:
    """Counts in Prometheus's text format; series that are missing count 0."""
    requests: dict[str, float] = {}
    failed = seconds = queued = 0.0
    for name, labels, value in _LINE.findall(text):
        number = float(value)
        if name == "bookserve_requests_total":
            found = dict(_LABEL.findall(labels))
            model = found.get("model", "")
            requests[model] = requests.get(model, 0.0) + number
            failed += number if found.get("code") == "failed" else 0.0
        elif name == "bookserve_queue_seconds_sum":
            seconds += number
        elif name == "bookserve_queue_seconds_count":
            queued += number
    return Counts(requests, failed, seconds, queued)


def read_counts(host: str, port: int, timeout: float = 2.0) -> Counts | None:
    """What a server counts now; None if it does not answer."""
    try:
        with closing(HTTPConnection(host, port, timeout=timeout)) as connection:
            connection.request("GET", "/metrics")
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
            return parse_counts(text) if response.status == 200 else None
    except (OSError, HTTPException):
        return None


def since(old: Counts, new: Counts) -> Counts:
    """What was counted between; a server that has begun anew counts from 0."""
    if sum(new.requests.values()) < sum(old.requests.values()):
        return new
    requests = {model: count - old.requests.get(model, 0.0) for model, count in new.requests.items()}
    return Counts(requests, new.failed - old.failed, new.queue_seconds - old.queue_seconds, new.queued - old.queued)


def total(counts: list[Counts]) -> Counts:
    """Sum over servers."""
    requests: dict[str, float] = {}
    for one in counts:
        for model, count in one.requests.items():
            requests[model] = requests.get(model, 0.0) + count
    return Counts(
        requests,
        sum(one.failed for one in counts),
        sum(one.queue_seconds for one in counts),
        sum(one.queued for one in counts),
    )
