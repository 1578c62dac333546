"""Render a run of ``bench/servers.py`` as Markdown: a table for each model, and ratios to the best other server."""

from __future__ import annotations

from typing import Any

#: One measurement: a column's name and its value.
Line = dict[str, Any]


def render(run: dict[str, Any]) -> str:
    """The whole document: the machine, then for each model its table and its ratios."""
    rounds, seconds = run["rounds"], run["seconds"]
    parts = [f"{run['date']}, {run['machine']}; {rounds} rounds of {seconds:g} s, load average {run['load average']}."]
    for model in dict.fromkeys(line["model"] for line in run["lines"]):
        lines = [
            {name: one for name, one in line.items() if name != "model"} for line in _select(run["lines"], model=model)
        ]
        parts += [f"### `{model}`", table(lines)]
        if summary := ratios(lines):
            parts += ["bookserve compared with the best other server, in requests a second and in CPU time:"]
            parts += [table(summary)]
    return "\n\n".join(parts) + "\n"


def ratios(lines: list[Line]) -> list[Line]:
    """For each row of bookserve with another server to compare: its figures as multiples of the best one's."""
    found = []
    for line in lines:
        same = _select(lines, wire=line["wire"], workload=line["workload"])
        peers = [peer for peer in same if not _is_bookserve(peer)]
        if not _is_bookserve(line) or not peers:
            continue
        fastest = max(peers, key=lambda peer: peer["requests/s"])
        leanest = min(peers, key=lambda peer: peer["CPU µs"])
        found.append(
            {name: line[name] for name in ("server", "wire", "workload")}
            | {"requests/s": f"{line['requests/s'] / fastest['requests/s']:.2f} × {fastest['server']}"}
            | {"CPU µs": f"{line['CPU µs'] / leanest['CPU µs']:.2f} × {leanest['server']}"}
        )
    return found


def table(lines: list[Line]) -> str:
    """A Markdown table of lines that have the same columns."""
    head = ["| " + " | ".join(lines[0]) + " |", "|---" * len(lines[0]) + "|"]
    return "\n".join([*head, *("| " + " | ".join(map(str, line.values())) + " |" for line in lines)])


def _select(lines: list[Line], **wanted: str) -> list[Line]:
    return [line for line in lines if all(line[name] == one for name, one in wanted.items())]


def _is_bookserve(line: Line) -> bool:
    return str(line["server"]).startswith("bookserve")
