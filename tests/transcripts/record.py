"""Record what the bookserve of this checkout answers: ``python -m tests.transcripts.record``.

Do so only where behaviour is to change, and read the difference before it is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from tests.transcripts import grpc_calls, http_guarded, http_home, http_limits, http_openai, http_tfs, http_v2
from tests.transcripts.commands import COMMANDS
from tests.transcripts.perform import Answers, guarded, limited, on_the_command_line, over_grpc, over_http, plain

RECORDED = Path(__file__).with_name("recorded")
#: The older version of ``digits`` is asked for once nothing else looks at it, counts and names of metrics come last.
HTTP = [
    *(*http_tfs.GOOD, *http_tfs.BAD),
    *(*http_v2.GOOD, *http_v2.BAD),
    *(*http_openai.GOOD, *http_openai.BAD),
    *(*http_home.GOOD, *http_home.BAD),
    *(*http_tfs.LATE, *http_v2.LATE, *http_home.LATE),
]


def _plain(grpc_server: str) -> Answers:
    with plain(grpc_server) as server:
        return over_grpc(server, grpc_calls.CALLS)


def _guarded(grpc_server: str) -> Answers:
    with guarded(grpc_server) as server:
        return over_grpc(server, grpc_calls.GUARDED)


def _http() -> Answers:
    with plain("builtin") as server:
        return over_http(server, HTTP)


def _http_guarded() -> Answers:
    with guarded("builtin") as server:
        return over_http(server, http_guarded.REQUESTS)


def _http_limits() -> Answers:
    with limited() as server:
        return over_http(server, http_limits.REQUESTS)


def _commands() -> Answers:
    with plain("builtin") as server:
        return on_the_command_line(server, COMMANDS)


#: Name of a file in ``recorded`` → what is asked again.
PARTS: dict[str, Callable[[], Answers]] = {
    "http": _http,
    "http_guarded": _http_guarded,
    "http_limits": _http_limits,
    "grpc_builtin": lambda: _plain("builtin"),
    "grpc_grpcio": lambda: _plain("grpcio"),
    "grpc_guarded_builtin": lambda: _guarded("builtin"),
    "grpc_guarded_grpcio": lambda: _guarded("grpcio"),
    "commands": _commands,
}


@cache
def read(part: str) -> Answers:
    """What was answered when it was recorded."""
    answers: Answers = json.loads((RECORDED / f"{part}.json").read_text("utf-8"))
    return answers


def dumps(answers: Answers) -> str:
    """One answer a line, in the order of the requests."""
    lines = (f"{_compact(name)}: {_compact(answer)}" for name, answer in answers.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def main() -> None:
    """Record every part."""
    RECORDED.mkdir(exist_ok=True)
    for part, ask in PARTS.items():
        (RECORDED / f"{part}.json").write_text(dumps(ask()), "utf-8")


if __name__ == "__main__":
    main()
