"""OpenAI's completions and models: everything under ``/openai/v1``."""

from __future__ import annotations

from typing import Any

from tests.transcripts.asked import Http, get, other, post

PATH = "/openai/v1/completions"


def _ask(note: str, **body: Any) -> Http:
    return post(PATH, {"model": "writer", "prompt": "abc", **body}, note)


GOOD = [
    get("/openai/v1/models"),
    get("/openai/v1/models/writer"),
    _ask("greedy", temperature=0, max_tokens=8),
    _ask("seed", seed=5, temperature=1.5, max_tokens=40),
    _ask("several", seed=5, n=3, max_tokens=10),
    _ask("several prompts", prompt=["abc", "cde"], seed=2, max_tokens=10),
    _ask("best of", seed=5, n=1, best_of=3, max_tokens=10),
    _ask("echo", seed=5, echo=True, max_tokens=5),
    _ask("log-probabilities", seed=5, logprobs=2, max_tokens=5),
    _ask("stop", temperature=0, stop=["a"], max_tokens=20),
    _ask("one stop", temperature=0, stop="cd", max_tokens=20),
    _ask("top_p and top_k", seed=1, top_p=0.9, top_k=2, max_tokens=20),
    _ask("window", seed=5, mode="window", temperature=1.5, max_tokens=20),
    _ask("nulls", seed=None, temperature=0, max_tokens=None, stop=None, n=None),
    _ask("unknown field", temperature=0, user="me"),
    post(PATH, {"model": "writer", "temperature": 0}, "no prompt"),
    _ask("stream", stream=True, seed=5, max_tokens=30),
    _ask("stream with usage", stream=True, seed=5, max_tokens=7, stream_options={"include_usage": True}),
    _ask("stream of several", stream=True, seed=5, n=2, max_tokens=7, logprobs=1),
    _ask("stream with echo", stream=True, seed=5, echo=True, max_tokens=7),
]
BAD = [
    get("/openai/v1/models/nothing"),
    get("/openai/v1/models/affine", "no writer"),
    get("/openai/v1/nothing"),
    get(PATH),
    other("DELETE", "/openai/v1/models/writer"),
    other("OPTIONS", PATH),
    post("/openai/v1/chat/completions", {"model": "writer", "messages": []}),
    post("/openai/v1/embeddings", {"model": "writer", "input": "a"}),
    post(PATH, b"{", "no JSON"),
    post(PATH, b"", "no body"),
    post(PATH, {"prompt": "abc"}, "no model"),
    _ask("unknown model", model="nothing"),
    _ask("no writer", model="affine"),
    _ask("model is a number", model=1),
    _ask("ids of tokens", prompt=[1, 2, 3]),
    _ask("no prompts", prompt=[]),
    _ask("unknown characters", prompt="xyz", temperature=0, max_tokens=2),
    _ask("too hot", temperature=11),
    _ask("no characters", max_tokens=0),
    _ask("none", n=0),
    _ask("negative seed", seed=-1),
    _ask("suffix", suffix="x"),
    _ask("penalty", presence_penalty=1),
    _ask("best of fewer", n=3, best_of=2),
    _ask("stream of the best", stream=True, best_of=2),
    _ask("options without a stream", stream_options={"include_usage": True}),
    _ask("echo with log-probabilities", echo=True, logprobs=1, seed=7),
    _ask("too many log-probabilities", logprobs=6),
    _ask("unknown mode", mode="magic"),
]
