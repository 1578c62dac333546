"""The generate extension of the Open Inference Protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from bookserve.client import connect

BASE = "/v2/models/writer"
PARAMETERS = {"temperature": 1.5, "seed": 5, "max_tokens": 60}


@pytest.fixture(scope="module")
def offline(models: Path) -> str:
    with connect(f"local:{models}") as client:
        return "".join(client.generate("writer", "abc", length=60, temperature=1.5, seed=5))


def events(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    lines = [line for line in response.text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    return [json.loads(line[6:]) for line in lines]


@pytest.mark.parametrize("path", [BASE, f"{BASE}/versions/1"])
def test_whole_and_streamed_are_the_offline_text(http: httpx.Client, offline: str, path: str) -> None:
    body = {"text_input": "abc", "parameters": PARAMETERS, "id": "seven"}
    named = {"model_name": "writer", "model_version": "1", "id": "seven"}
    assert http.post(f"{path}/generate", json=body).json() == {**named, "text_output": offline}
    *going, last = events(http.post(f"{path}/generate_stream", json=body))
    assert "".join(event["text_output"] for event in [*going, last]) == offline
    assert last["done"] is True
    assert not any(event["done"] for event in going)
    assert all(event.items() >= named.items() for event in going)


def test_defaults_and_unknown_parameters(http: httpx.Client) -> None:
    answer = http.post(f"{BASE}/generate", json={"text_input": "a", "parameters": {"exclude_input_in_output": True}})
    assert len(answer.json()["text_output"]) == 20
    assert "id" not in answer.json()


def test_stop_and_details(http: httpx.Client) -> None:
    parameters = {"temperature": 0, "stop": ["ab"], "details": True}
    answer = http.post(f"{BASE}/generate", json={"text_input": "c", "parameters": parameters}).json()
    assert answer["text_output"] == "de"
    assert answer["details"]["finish_reason"] == "stop_sequence"
    assert [one["text"] for one in answer["details"]["logprobs"]] == ["d", "e"]
    streamed = events(http.post(f"{BASE}/generate_stream", json={"text_input": "c", "parameters": parameters}))
    assert streamed[-1]["details"]["finish_reason"] == "stop_sequence"
    assert "".join(event["text_output"] for event in streamed) == "de"


@pytest.mark.parametrize(
    ("model", "body", "status"),
    [
        ("nothing", {"text_input": "a"}, 404),
        ("writer/versions/9", {"text_input": "a"}, 404),
        ("writer/versions/x", {"text_input": "a"}, 422),
        ("digits", {"text_input": "a"}, 422),
        ("writer", {}, 422),
        ("writer", {"text_input": 3}, 422),
        ("writer", {"text_input": "xyz"}, 422),
        *(
            ("writer", {"text_input": "a", "parameters": parameters}, 422)
            for parameters in (
                {"temperature": -0.1},
                {"temperature": 1e9},
                {"temperature": "hot"},
                {"top_p": 0},
                {"top_k": "many"},
                {"max_tokens": 0},
                {"max_tokens": 10**9},
                {"stop": [""]},
                {"stop": ["a"] * 17},
                {"seed": -1},
                {"mode": "x"},
                {"best_of": 2},
                {"frequency_penalty": 0.5},
            )
        ),
    ],
)
@pytest.mark.parametrize("verb", ["generate", "generate_stream"])
def test_errors(http: httpx.Client, model: str, body: dict[str, Any], status: int, verb: str) -> None:
    response = http.post(f"/v2/models/{model}/{verb}", json=body)
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    assert isinstance(response.json()["error"], str)


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff", b'{"text_input":"a","parameters":{"temperature":NaN}}'])
def test_what_is_no_request_is_refused(http: httpx.Client, body: bytes) -> None:
    assert http.post(f"{BASE}/generate", content=body).status_code == 422
