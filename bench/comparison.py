"""Comparison: what a run of ``bench/servers.py`` measured, as Markdown: a table for each model, and ratios to the best
peer."""

from __future__ import annotations

from typing import Any

Line = dict[str, Any]


def document(run: dict[str, Any]) -> str:
    """The machine, then for each model its table and its ratios."""
    rounds, seconds = run["rounds"], run["seconds"]
    parts = [f"{run['date']}, {run['machine']}; {rounds} rounds of {seconds:g} s, load average {run['load average']}."]
    for model in dict.fromkeys(line["model"] for line in run["lines"]):
        lines = [
            {name: one for name, one in line.items() if name != "model"} for line in _of(run["lines"], model=model)
        ]
        parts += [f"### `{model}`", table(lines)]
        if summary := ratios(lines):
            parts += ["bookserve beside the best peer on the same wire, in requests a second and in CPU time:"]
            parts += [table(summary)]
    return "\n\n".join(parts) + "\n"


def ratios(lines: list[Line]) -> list[Line]:
    """For each row of bookserve that a peer can be compared with: its figures as multiples of the best peer's."""
    found = []
    for line in lines:
        same = _of(lines, wire=line["wire"], workload=line["workload"])
        peers = [peer for peer in same if not _ours(peer)]
        if not _ours(line) or not peers:
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
    """Lines with the same columns as a Markdown table."""
    head = ["| " + " | ".join(lines[0]) + " |", "|---" * len(lines[0]) + "|"]
    return "\n".join([*head, *("| " + " | ".join(map(str, line.values())) + " |" for line in lines)])


def _of(lines: list[Line], **wanted: str) -> list[Line]:
    return [line for line in lines if all(line[name] == one for name, one in wanted.items())]


def _ours(line: Line) -> bool:
    return str(line["server"]).startswith("bookserve")
