"""Texts over every wire: what can be asked, and that it is answered alike."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from bookserve.client import Client
from bookserve.errors import InvalidInput, NotFound
from clients.bench.texts import measure_texts
from clients.text_columns import show_side_by_side
from tests.clients.conftest import Bookserve
from tests.servers import Server

BASE = {"prompt": "abc", "length": 70, "temperature": 2.0, "seed": 11}


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"n": 4},
        {"n": 3, "stop": ["ea", "cc", "☃"]},
        {"top_k": 2},
        {"top_p": 0.7, "n": 2},
        {"logprobs": 0},
        {"logprobs": 3, "n": 2, "stop": ["aa"]},
        {"mode": "window"},
        {"mode": "window", "prompt": "a", "temperature": 0},
        {"prompt": "", "seed": 2**63 - 1},
        {"prompt": "abcde" * 1000, "length": 1},
    ],
)
def test_whole_texts_are_the_same_over_every_wire(client: Client, local: Client, asked: dict[str, Any]) -> None:
    texts = client.complete("writer", **BASE | asked)
    assert texts == local.complete("writer", **BASE | asked)
    assert [text.index for text in texts] == list(range(asked.get("n", 1)))
    for text in texts:
        assert text.finish == ("stop" if len(text.text) < (BASE | asked)["length"] else "length")  # type: ignore[operator]
        assert bool(text.drawn) == ("logprobs" in asked)


def test_pieces_of_several_texts_come_as_they_are_written(client: Client) -> None:
    pieces = list(client.pieces("writer", **BASE | {"n": 3}))
    whole = client.complete("writer", **BASE | {"n": 3})
    for text in whole:
        mine = [piece for piece in pieces if piece.index == text.index]
        assert "".join(piece.text for piece in mine) == text.text
        assert [piece.finish for piece in mine] == [""] * (len(mine) - 1) + ["length"]


def test_generate_yields_one_text(client: Client) -> None:
    with pytest.raises(InvalidInput, match="one text"):
        client.generate("writer", n=2)
    assert "".join(client.generate("writer", "ab", temperature=0, stop=["d"])) == "c"
    assert "".join(client.generate("writer", "ab", temperature=0, stop=["c"])) == ""


@pytest.mark.parametrize(
    "asked", [{"n": 0}, {"n": 999}, {"top_p": 0}, {"temperature": float("nan")}, {"stop": [""]}, {"heat": 1}]
)
def test_what_cannot_be_asked(client: Client, asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        client.complete("writer", **asked)


def test_the_command_takes_all_of_it(bookserve: Bookserve, url: str, local: Client) -> None:
    options = (
        "--prompt",
        "abc",
        "--seed",
        "4",
        "--temperature",
        "3",
        "--length",
        "30",
        "--top-k",
        "3",
        "--top-p",
        ".9",
    )
    done = bookserve("generate", "writer", *options, "-n", "2", "--stop", "ee", "--stop", "aa", "--json", "--url", url)
    asked: dict[str, Any] = {"prompt": "abc", "seed": 4, "temperature": 3, "length": 30, "top_k": 3, "top_p": 0.9}
    texts = local.complete("writer", **asked, n=2, stop=["ee", "aa"])
    assert [(text["text"], text["finish"]) for text in json.loads(done.out)] == [(t.text, t.finish) for t in texts]


def test_the_command_shows_several_texts_and_log_probabilities(bookserve: Bookserve) -> None:
    several = bookserve("generate", "writer", "--temperature", "0", "--length", "3", "-n", "2", "--prompt", "a")
    assert several.out == "--- 1\nbcd\n--- 2\nbcd\n"
    told = bookserve("generate", "writer", "--temperature", "0", "--length", "2", "--logprobs", "1", "--prompt", "a")
    assert told.code == 0
    assert "'b'" in told.out
    assert "-0.223" in told.out


@pytest.mark.parametrize("option", [("--top-p", "0"), ("--top-k", "0"), ("-n", "200"), ("--temperature", "nan")])
def test_the_command_refuses(bookserve: Bookserve, option: tuple[str, str]) -> None:
    assert bookserve("generate", "writer", *option).code in (2, 5)


def test_the_bench_counts_what_comes(models: Path, server: Server) -> None:
    for url in (server.http, server.grpc):
        report = measure_texts("writer", models, url, 0.2, [1, 3], with_keras=False)
        lines = report["workloads"]
        scheme = url.partition(":")[0]
        assert [(line["workload"], line["texts"]) for line in lines] == [
            ("raw steps", 1),
            ("raw steps", 3),
            (f"served over {scheme}", 1),
            (f"served over {scheme}", 3),
        ]
        assert [line["of raw"] for line in lines[:2]] == [1, 1]
        assert all(line["characters/s"] > 0 for line in lines)
        assert all(0 < line["first p50 ms"] <= line["first p99 ms"] for line in lines[2:])


def test_the_bench_needs_a_model_that_writes(models: Path, server: Server) -> None:
    with pytest.raises(InvalidInput, match="generate"):
        measure_texts("digits", models, server.http, 0.1, [1], with_keras=False)
    with pytest.raises(NotFound, match="Keras"):
        measure_texts("writer", models, server.http, 0.1, [1], with_keras=True)


def test_several_temperatures_are_several_texts(bookserve: Bookserve, local: Client) -> None:
    options = ("--prompt", "abc", "--seed", "4", "--length", "12", "--temperature", "0", "--temperature", "3")
    asked: dict[str, Any] = {"prompt": "abc", "seed": 4, "length": 12}
    cold, hot = ("".join(local.generate("writer", **asked, temperature=heat)) for heat in (0, 3))
    assert cold != hot
    assert bookserve("generate", "writer", *options).out == f"--- temperature 0\n{cold}\n--- temperature 3\n{hot}\n"
    told = json.loads(bookserve("generate", "writer", *options, "--json").out)
    assert [(text["temperature"], text["text"]) for text in told] == [(0, cold), (3, hot)]
    several = bookserve("generate", "writer", *options, "-n", "2").out
    assert [line for line in several.splitlines() if line.startswith("---")] == [
        f"--- {number}, temperature {heat}" for heat in (0, 3) for number in (1, 2)
    ]


def test_a_talk_goes_on_from_the_last_text(bookserve: Bookserve) -> None:
    lines = b"abc\n\n/temperature 0 0\n/length 2\na\n/lenght 3\n/length x\n/show\n/help\n/quit\nnever read\n"
    done = bookserve("generate", "writer", "-i", "--temperature", "0", "--length", "3", stdin=lines)
    texts = ["dea", "bcd", "--- temperature 0", "bc", "--- temperature 0", "bc"]
    assert done.out.splitlines() == texts
    assert "there is no '/lenght'. Did you mean 'length'?" in done.err
    assert "'/length x' is no setting. Write it as: /length NUMBER" in done.err
    assert "length 2  seed random  temperature 0 0" in done.err
    assert "Ctrl-C stops a text." in done.err
    assert done.code == 0


def test_a_talk_asks_for_the_prompt_itself(bookserve: Bookserve) -> None:
    assert bookserve("generate", "writer", "-i", "--prompt", "abc").code == 2


def test_columns_in_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "60")
    assert show_side_by_side(["cold", "hot"], [pieces("one", "two"), pieces("three")]) == ["onetwo", "three"]
    last = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", capsys.readouterr().out)
    assert "onetwo" in last
    assert any(line.split() == ["cold", "hot"] for line in last.splitlines())
    monkeypatch.setenv("COLUMNS", "30")  # too narrow for two columns
    show_side_by_side(["cold", "hot"], [pieces("one"), pieces("three")])
    assert capsys.readouterr().out == "--- cold\none\n--- hot\nthree\n"


def pieces(*texts: str) -> Generator[str]:
    yield from texts
