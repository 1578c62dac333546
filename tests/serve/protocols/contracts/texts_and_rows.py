"""OpenAI's completions, and bookserve's own API with the bodies that everyday clients send.

Source: OpenAI's API reference, llama.cpp's and vLLM's documentation; curl, browsers and R's jsonlite.
"""

from __future__ import annotations

import base64
from typing import Any

import httpx
import numpy as np

from bookserve.images import encode_png
from tests.serve.protocols.contracts.rows import Check, Row, get, holds, post, says, works

COMPLETIONS = ("/openai/v1/completions", "/v1/completions")
GREEDY = {"model": "writer", "prompt": "abc", "temperature": 0, "max_tokens": 4}


def complete(what: str, check: Check, **more: Any) -> list[Row]:
    """The same request with both base URLs."""
    body = {name: value for name, value in {**GREEDY, **more}.items() if value is not ...}
    return [post(f"{what} ({path})", path, body, check) for path in COMPLETIONS]


def streamed(reply: httpx.Response) -> None:
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.text.endswith("data: [DONE]\n\n")


OPENAI = [
    *complete("a completion", holds("choices", 0, "text", equal="deab")),
    *complete("its usage", holds("usage", "total_tokens", equal=7)),
    *complete("its object", holds("object", equal="text_completion")),
    *complete("null fields", holds("choices", 0, "text", equal="deab"), n=None, stop=None, logprobs=None, seed=None),
    *complete("echo", holds("choices", 0, "text", equal="abcdeab"), echo=True),
    *complete("the prompt alone", holds("choices", 0, "text", equal="abc"), echo=True, max_tokens=0, logprobs=1),
    *complete(
        "its first character has no log-probability",
        holds("choices", 0, "logprobs", "token_logprobs", 0, equal=None),
        echo=True,
        max_tokens=0,
        logprobs=1,
    ),
    *complete("nothing", holds("choices", 0, "text", equal=""), max_tokens=0),
    *complete("several prompts", holds("choices", 1, "text", equal="cdea"), prompt=["a", "b"]),
    *complete("a stop", holds("choices", 0, "finish_reason", equal="stop"), stop=["a"]),
    *complete("a stream", streamed, stream=True),
    *complete("ignored: user, ignore_eos", works, user="me", ignore_eos=True),
    *complete("penalties of 0", works, presence_penalty=0, frequency_penalty=0.0, repetition_penalty=1.0),
    *complete("temperature above 2", says(400, "temperature"), temperature=2.01),
    *complete("temperature below 0", says(400, "temperature"), temperature=-0.1),
    *complete("top_p of 0", says(400, "top_p"), top_p=0),
    *complete("too many texts", says(400, "n"), n=129),
    *complete("too many log-probabilities", says(400, "logprobs"), logprobs=6),
    *complete("ids of tokens", says(400, "prompt"), prompt=[1, 2]),
    *complete("no model", says(400, "model"), model=...),
    *complete("an unknown model", says(404), model="gpt-4"),
    *(
        row
        for name, value in {
            "logit_bias": {"5": 1},
            "suffix": "x",
            "presence_penalty": 1,
            "frequency_penalty": 1,
            "min_p": 0.1,
            "repetition_penalty": 1.1,
            "repeat_penalty": 1.1,
            "typical_p": 0.5,
            "mirostat": 2,
            "grammar": "root ::= a",
            "guided_json": {},
            "use_beam_search": True,
            "bad_words": ["a"],
            "response_format": {"type": "json_object"},
        }.items()
        for row in complete(f"not done: {name}", says(400, name), **{name: value})
    ),
    *(
        post(f"chat ({path})", path, {"model": "writer", "messages": []}, says(404, "completions"))
        for path in ("/openai/v1/chat/completions", "/v1/chat/completions")
    ),
    get("the list of models", "/openai/v1/models", holds("data", 0, "owned_by", equal="bookserve")),
    get("for whoever sends a key", "/v1/models", holds("object", equal="list"), authorization="Bearer any"),
    get("one model", "/openai/v1/models/writer", holds("object", equal="model")),
    get("an unknown one", "/openai/v1/models/gpt-4", says(404)),
]

PREDICT = "/api/models/{}/predict"
BRIGHT = encode_png(np.full((4, 4, 1), 255, np.uint8))
FORM = b'--b\r\ncontent-disposition: form-data; name="file"; filename="x.png"\r\n\r\n' + BRIGHT + b"\r\n--b--\r\n"


def rows(what: str, model: str, body: Any, check: Check, kind: str = "") -> Row:
    return post(what, PREDICT.format(model), body, check, **({"content_type": kind} if kind else {}))


LABEL = holds("answers", 0, "probabilities", 0, "label", equal="bright")
Y = holds("answers", 0, "y", equal=[1, 3, 5])
SECOND = holds("answers", 1, "y", equal=[7, 9, 11])
FILM = holds("answers", 0, "score", 0, "label", equal="negative")
NATIVE = [
    rows("rows", "affine", {"rows": [[0, 1, 2]]}, Y),
    rows("a bare list", "affine", [[0, 1, 2], [3, 4, 5]], SECOND),
    rows("a row that is not in a list", "affine", {"rows": [0, 1, 2]}, Y),
    rows("a data frame", "affine", [{"a": 0, "b": 1, "c": 2}, {"a": 3, "b": 4, "c": 5}], SECOND),
    rows("columns", "affine", {"a": [0, 3], "b": [1, 4], "c": [2, 5]}, SECOND),
    rows("an unboxed text", "reviews", {"rows": "good film"}, FILM),
    rows("CSV with a header", "affine", b"a,b,c\n0,1,2\n3,4,5\n", SECOND, "text/csv"),
    rows("CSV without one", "affine", b"0,1,2\n3,4,5\n", SECOND, "text/csv"),
    rows("CSV with row names, as R writes it", "affine", b'"","a","b","c"\n"1",0,1,2\n"2",3,4,5\n', SECOND, "text/csv"),
    rows("CSV with line ends of old Macs", "affine", b"a,b,c\r0,1,2\r3,4,5\r", SECOND, "text/csv"),
    rows("a plain text", "reviews", b"good film", FILM, "text/plain"),
    rows("a text in a charset", "reviews", b"good film", FILM, "text/plain; charset=utf-8"),
    rows("JSON lines", "affine", b"[0, 1, 2]\n[3, 4, 5]\n", SECOND, "application/x-ndjson"),
    rows("a picture", "digits", BRIGHT, LABEL, "image/png"),
    rows("a picture with curl's --data-binary", "digits", BRIGHT, LABEL, "application/x-www-form-urlencoded"),
    rows("a picture without a type", "digits", BRIGHT, LABEL),
    rows("a picture in a form", "digits", FORM, LABEL, "multipart/form-data; boundary=b"),
    rows("base64 with line ends", "digits", {"rows": [{"b64": base64.encodebytes(BRIGHT).decode()}]}, LABEL),
    rows("no picture", "digits", b"\x89PNG\r\n\x1a\n", says(400, "picture"), "image/png"),
    rows("a form without a file", "digits", b"--b--\r\n", says(400), "multipart/form-data; boundary=b"),
    rows("a form without a boundary", "digits", FORM, says(400), "multipart/form-data"),
    rows("a kind that nobody knows", "affine", b"<x/>", says(400), "application/xml"),
    rows("too few numbers", "affine", {"rows": [[0, 1]]}, says(400, "3")),
    rows("no rows", "affine", {"rows": []}, says(400)),
    rows("a float that overflows", "affine", {"rows": [[1e39, 0, 0]]}, says(400)),
    rows("an integer of 5,000 digits", "affine", b'{"rows": [[' + b"9" * 5000 + b",1,2]]}", says(400)),
    rows(
        "int64 beside a float",
        "pair",
        {"rows": [{"a": [1.5, 1], "b": 2**53 + 1}]},
        holds("answers", 0, "next", equal=2**53 + 2),
    ),
    rows("an unknown model", "half", {"rows": [1]}, says(404, "half")),
]

ROWS = [*OPENAI, *NATIVE]
