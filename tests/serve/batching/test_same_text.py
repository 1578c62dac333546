"""One seed, one text: over every protocol, alone and among 64 others, and where there is no server at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from bookserve.client import connect
from tests.serve.metrics import requests
from tests.servers import Server

PROMPT, LENGTH, TEMPERATURE, SEED = "abc", 300, 1.2, 77
ASKED = {"prompt": PROMPT, "length": LENGTH, "temperature": TEMPERATURE, "seed": SEED}
OPENAI = {"model": "writer", "prompt": PROMPT, "max_tokens": LENGTH, "temperature": TEMPERATURE, "seed": SEED}
V2 = {"text_input": PROMPT, "parameters": {"max_tokens": LENGTH, "temperature": TEMPERATURE, "seed": SEED}}


def client(wire: str) -> Callable[[Server], str]:
    def ask(server: Server) -> str:
        with connect(getattr(server, wire)) as connected:
            return "".join(connected.generate("writer", **ASKED))  # type: ignore[arg-type]

    return ask


def post(path: str, body: object) -> Callable[[Server], httpx.Response]:
    return lambda server: httpx.post(server.http + path, json=body, trust_env=False, timeout=60)


def events(response: httpx.Response) -> Iterator[dict[str, object]]:
    for line in response.text.splitlines():
        if line.startswith("data: {"):
            yield json.loads(line[6:])


PROTOCOLS: dict[str, Callable[[Server], str]] = {
    "client, http": client("http"),
    "client, grpc": client("grpc"),
    "/api": lambda server: post("/api/models/writer/generate", ASKED)(server).json()["text"],
    "openai": lambda server: post("/openai/v1/completions", OPENAI)(server).json()["choices"][0]["text"],
    "openai, stream": lambda server: "".join(
        event["choices"][0]["text"]  # type: ignore[index]
        for event in events(post("/openai/v1/completions", {**OPENAI, "stream": True})(server))
    ),
    "v2": lambda server: post("/v2/models/writer/generate", V2)(server).json()["text_output"],
    "v2, stream": lambda server: "".join(
        str(event["text_output"]) for event in events(post("/v2/models/writer/generate_stream", V2)(server))
    ),
}


@contextmanager
def crowd(server: Server) -> Iterator[None]:
    """64 other texts, being written for as long as the block lasts."""
    with connect(server.grpc) as connected:
        pieces = connected.pieces("writer", n=64, length=15_000, temperature=0.9, seed=1)
        for _ in range(64):
            next(pieces)  # all have begun
        over = threading.Event()

        def read() -> None:
            texts = pieces
            while not over.is_set():
                for _ in texts:
                    if over.is_set():
                        break
                texts = connected.pieces("writer", n=64, length=15_000, temperature=0.9, seed=1)
            texts.close()

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            over.set()
            reader.join()


@pytest.fixture(scope="module")
def offline(models: Path) -> str:
    with connect(f"local:{models}") as local:
        return "".join(local.generate("writer", **ASKED))  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_alone(any_server: Server, offline: str, protocol: str) -> None:
    assert PROTOCOLS[protocol](any_server) == offline


def test_among_64_others(any_server: Server, offline: str) -> None:
    with crowd(any_server):
        for protocol, ask in PROTOCOLS.items():
            assert ask(any_server) == offline, protocol


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/models/writer/generate", {"stream": True, "length": 100_000, "n": 10}),
        ("/api/models/writer/generate", {"length": 100_000, "n": 10}),
        ("/openai/v1/completions", {"model": "writer", "stream": True, "max_tokens": 100_000, "n": 10}),
        ("/openai/v1/completions", {"model": "writer", "max_tokens": 100_000, "n": 10}),
        ("/v2/models/writer/generate_stream", {"text_input": "a", "parameters": {"max_tokens": 100_000}}),
        ("/v2/models/writer/generate", {"text_input": "a", "parameters": {"max_tokens": 100_000, "mode": "window"}}),
    ],
)
def test_a_reader_who_leaves_ends_the_writing(
    server: Server, server_http: httpx.Client, path: str, body: dict[str, object]
) -> None:
    before = requests(server_http, model="writer", code="cancelled")
    with httpx.Client(base_url=server.http, trust_env=False) as leaving:
        if "stream" in path or body.get("stream"):
            with leaving.stream("POST", path, json=body) as response:
                next(response.iter_raw())
        else:
            with pytest.raises(httpx.ReadTimeout):
                leaving.post(path, json=body, timeout=0.2)
    while requests(server_http, model="writer", code="cancelled") == before:
        pass  # pytest's timeout ends this if the server writes on for nobody
