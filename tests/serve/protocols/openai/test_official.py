"""The official ``openai`` client against our server, in a process of its own, as a user's would be."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from bookserve.api.sampling_fields import NEUTRAL
from bookserve.client import connect
from tests.servers import Server, start

ABCDE = {"prompt": "abc", "length": 60, "temperature": 1.5}


@pytest.fixture(scope="module")
def told(server: Server) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.serve.protocols.openai.official_client", server.http],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def offline(models: Path) -> dict[int, str]:
    """What this process writes without any server, by seed."""
    with connect(f"local:{models}") as client:
        return {seed: "".join(client.generate("writer", seed=seed, **ABCDE)) for seed in (5, 6, 7)}  # type: ignore[arg-type]


def test_the_models_that_write_are_listed(told: dict[str, Any]) -> None:
    assert told["models"] == ["writer"]
    assert told["model"] == {
        "id": "writer",
        "object": "model",
        "created": told["model"]["created"],
        "owned_by": "bookserve",
    }
    assert told["version"] == "writer:1"


def test_a_completion_is_the_offline_text(told: dict[str, Any], offline: dict[int, str]) -> None:
    plain = told["plain"]
    assert plain["object"] == "text_completion"
    assert plain["model"] == "writer"
    assert plain["id"].startswith("cmpl-")
    assert plain["choices"] == [{"index": 0, "text": offline[5], "finish_reason": "length", "logprobs": None}]
    usage = {name: count for name, count in plain["usage"].items() if count is not None}
    assert usage == {"prompt_tokens": 3, "completion_tokens": 60, "total_tokens": 63}
    assert told["streamed"] == {
        "texts": {"0": offline[5]},
        "reasons": {"0": "length"},
        "usages": [None] * len(told["streamed"]["usages"]),
        "ids": 1,
    }
    assert told["asynchronous"] == offline[5]


def test_several_are_the_seeds_that_follow(told: dict[str, Any], offline: dict[int, str]) -> None:
    assert [choice["text"] for choice in told["several"]["choices"]] == [offline[5], offline[6], offline[7]]
    streamed = told["several streamed"]
    assert streamed["texts"] == {"0": offline[5], "1": offline[6], "2": offline[7]}
    assert streamed["reasons"] == dict.fromkeys("012", "length")
    assert streamed["usages"][-1] == {"prompt_tokens": 3, "completion_tokens": 180, "total_tokens": 183}
    assert set(streamed["usages"][:-1]) == {None}


def test_several_prompts_have_choices_in_order(told: dict[str, Any]) -> None:
    expected = ["abcde", "abcde", "bcdea", "bcdea"]
    assert [choice["text"] for choice in told["prompts"]["choices"]] == expected
    assert told["prompts streamed"]["texts"] == {str(index): text for index, text in enumerate(expected)}
    assert told["prompts"]["usage"]["completion_tokens"] == 16  # what is echoed was not written


def test_stop_strings(told: dict[str, Any]) -> None:
    (choice,) = told["stopped"]["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("de", "stop")
    assert told["stopped streamed"]["texts"] == {"0": "de"}
    assert told["stopped streamed"]["reasons"] == {"0": "stop"}


def test_log_probabilities(told: dict[str, Any], offline: dict[int, str]) -> None:
    (choice,) = told["logprobs"]["choices"]
    assert choice["text"] == offline[5][:5]
    logprobs = choice["logprobs"]
    assert "".join(logprobs["tokens"]) == choice["text"]
    assert logprobs["text_offset"] == [0, 1, 2, 3, 4]
    for token, logprob, top in zip(
        logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True
    ):
        assert top[token] == logprob
        assert max(top.values()) == pytest.approx(-0.2231, abs=1e-3)  # log 0.8
        assert 2 <= len(top) <= 3


def test_prompts_are_judged_as_the_model_continues_them(told: dict[str, Any], models: Path) -> None:
    """Each character's log-probability is that of a text which continues the characters before it."""
    first, second = told["judged"]["choices"]
    assert [first["text"], second["text"]] == ["abd", "ABDabcdeab"]
    assert first["logprobs"]["tokens"] == ["a", "b", "d"]
    assert first["logprobs"]["text_offset"] == [0, 1, 2]
    likely, unlikely = pytest.approx(math.log(0.8), abs=1e-6), pytest.approx(math.log(0.05), abs=1e-6)
    assert first["logprobs"]["token_logprobs"] == [None, likely, unlikely]
    assert first["logprobs"]["top_logprobs"] == [None, {"b": likely}, {"c": likely, "d": unlikely}]
    # The window of this model is three characters; its probabilities depend on the last one alone.
    assert second["logprobs"]["token_logprobs"][1:] == [likely, unlikely, unlikely, *[likely] * 6]
    assert second["logprobs"]["tokens"] == list("ABDabcdeab")
    assert told["judged"]["usage"] == {"prompt_tokens": 13, "completion_tokens": 0, "total_tokens": 13} | {
        name: None for name in told["judged"]["usage"] if name.endswith("details")
    }
    (choice,) = told["judged and continued"]["choices"]
    assert choice["text"] == "abde"
    assert choice["logprobs"]["tokens"] == list("abde")
    assert choice["logprobs"]["token_logprobs"][3] == max(choice["logprobs"]["top_logprobs"][3].values()) == likely
    (streamed,) = told["judged streamed"]
    assert (streamed["text"], streamed["finish_reason"]) == ("ab", "length")
    assert streamed["logprobs"]["token_logprobs"] == [None, likely]
    assert told["nothing"] == {"index": 0, "text": "", "logprobs": None, "finish_reason": "length"}


def test_the_base_url_of_other_servers(told: dict[str, Any], offline: dict[int, str]) -> None:
    assert told["short base"] == [offline[5], ["writer"], "bookserve"]


def test_tensorflow_serving_keeps_its_paths(http: httpx.Client) -> None:
    assert http.get("/v1/models").status_code == 400
    assert "model_version_status" in http.get("/v1/models/writer", headers={"authorization": "Bearer x"}).json()
    listed = http.get("/v1/models", headers={"authorization": "Bearer x"})
    assert listed.json()["data"][0].keys() == {"id", "object", "created", "owned_by"}
    assert "'prompt'" in http.post("/v1/chat/completions", json={"messages": []}).json()["error"]["message"]


@pytest.mark.parametrize(
    "neutral",
    [
        {"min_p": 0, "repetition_penalty": 1.0, "repeat_penalty": 1, "typical_p": 1.0, "top_k": -1, "mirostat": 0},
        {"logit_bias": {}, "suffix": "", "presence_penalty": 0.0, "response_format": {"type": "text"}, "min_tokens": 0},
        {"min_tokens": 4, "ignore_eos": True, "stream_options": None},  # as genai-perf asks for texts of one length
        {"top_k": 0, "frequency_penalty": None, "stop_token_ids": [], "cache_prompt": True, "user": "me"},
    ],
)
def test_options_that_change_nothing(http: httpx.Client, neutral: dict[str, Any]) -> None:
    body = {"model": "writer", "prompt": "abc", "temperature": 0, "n_predict": 4, **neutral}
    answer = http.post("/v1/completions", json=body).json()
    assert answer["choices"][0]["text"] == "deab", answer


@pytest.mark.parametrize("option", NEUTRAL)
def test_options_that_would_change_the_text(http: httpx.Client, option: str) -> None:
    body = {"model": "writer", "prompt": "abc", "stop": "x", option: 0.37}
    answer = http.post("/openai/v1/completions", json=body)
    assert answer.status_code == 400
    assert (answer.json()["error"]["param"], option in answer.json()["error"]["message"]) == (option, True)


def test_lm_evaluation_harness_gets_its_log_likelihoods(http: httpx.Client) -> None:
    """A request as its ``local-completions`` writes it, and how it reads the answer."""
    body = {"model": "writer", "prompt": ["abcd", "abca"], "temperature": 0, "max_tokens": 1, "logprobs": 1}
    answer = http.post("/v1/completions", json=body | {"seed": 1234, "echo": True}).json()
    found = []
    for choice in sorted(answer["choices"], key=lambda choice: choice["index"]):
        judged = choice["logprobs"]
        tokens, tops = judged["token_logprobs"][3:-1], judged["top_logprobs"][3:-1]
        found.append((sum(tokens), all(token == max(top.values()) for token, top in zip(tokens, tops, strict=True))))
    assert found == [(pytest.approx(math.log(0.8)), True), (pytest.approx(math.log(0.05)), False)]


def test_the_best_of_several(told: dict[str, Any], models: Path) -> None:
    with connect(f"local:{models}") as client:
        texts = client.complete("writer", prompt="abc", length=9, temperature=1.5, seed=5, n=6, logprobs=0)
    likelihood = {text.text: sum(one.logprob for one in text.drawn) for text in texts}
    best = sorted(likelihood, key=lambda text: -likelihood[text])[:2]
    assert [choice["text"] for choice in told["best"]["choices"]] == best
    assert told["best"]["choices"][0]["logprobs"] is None
    assert told["best"]["usage"]["completion_tokens"] == 54  # all six were written


def test_the_rest(told: dict[str, Any]) -> None:
    assert len(told["defaults"]["choices"][0]["text"]) == 16
    assert told["extra"]["choices"][0]["text"] == ("deabc" * 12)
    assert len(told["given up"]) == 1
    assert "completions" in told["chat"]


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("model", ["NotFoundError", 404, "invalid_request_error", "model", "model_not_found"]),
        ("verb", ["NotFoundError", 404, "invalid_request_error", "model", "model_not_found"]),
        ("version", ["NotFoundError", 404, "invalid_request_error", "model", "model_not_found"]),
        ("path", ["NotFoundError", 404, "invalid_request_error", "model", "model_not_found"]),
        *(
            (what, ["BadRequestError", 400, "invalid_request_error", param, None])
            for what, param in {
                "prompt": None,
                "streamed prompt": None,
                "one prompt of two": None,
                "ids": "prompt",
                "no prompts": "prompt",
                "many prompts": "prompt",
                "temperature": "temperature",
                "hot": "temperature",
                "top_p": "top_p",
                "length": "max_tokens",
                "n": "n",
                "all": None,
                "best_of": "best_of",
                "best streamed": "best_of",
                "stop": "stop",
                "empty stop": "stop",
                "logprobs": "logprobs",
                "suffix": "suffix",
                "penalty": "presence_penalty",
                "bias": "logit_bias",
                "min_p": "min_p",
                "repetition_penalty": "repetition_penalty",
                "grammar": "grammar",
                "best of a beam": "use_beam_search",
                "seed": "seed",
                "options": "stream_options",
            }.items()
        ),
    ],
)
def test_errors(told: dict[str, Any], what: str, expected: list[Any]) -> None:
    assert told["refused"][what] == expected


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"model":"writer","temperature":NaN}', b"[" * 100_000])
def test_what_is_no_request_is_refused_in_openai_s_shape(http: httpx.Client, body: bytes) -> None:
    response = http.post("/openai/v1/completions", content=body)
    assert response.status_code == 400
    assert response.json()["error"].keys() == {"message", "type", "param", "code"}


def test_a_stream_ends_with_done(http: httpx.Client) -> None:
    body = {"model": "writer", "prompt": "a", "stream": True, "temperature": 0, "max_tokens": 3}
    response = http.post("/openai/v1/completions", json=body)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = [line for line in response.text.split("\n\n") if line]
    assert events[-1] == "data: [DONE]"
    assert "".join(json.loads(event[6:])["choices"][0]["text"] for event in events[:-1]) == "bcd"


def test_nothing_else_is_offered(http: httpx.Client) -> None:
    for method, path in (("GET", "completions"), ("POST", "embeddings"), ("DELETE", "models/writer")):
        response = http.request(method, f"/openai/v1/{path}")
        assert response.status_code in (404, 405)
        assert response.json()["error"]["type"] == "invalid_request_error", path


@pytest.mark.slow
def test_a_server_with_keys_wants_one_as_openai_s_client_sends_it(models: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("sk-a-long-enough-key\n")
    with start(models, "--api-key-file", str(tmp_path / "keys")) as guarded:
        shown = {"authorization": "Bearer sk-a-long-enough-key"}
        url = f"{guarded.http}/openai/v1/models"
        assert httpx.get(url, headers=shown, trust_env=False).json()["data"][0]["id"] == "writer"
        refused = httpx.get(url, headers={"authorization": "Bearer any"}, trust_env=False)
        assert refused.status_code == 401
        assert refused.json()["error"].keys() == {"message", "type", "param", "code"}
