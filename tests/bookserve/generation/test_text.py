"""Texts: what is read, what is drawn, where a text ends, and that both ways of running a graph write the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bookserve import bundle
from bookserve.api.requests import GenerateRequest, validate_request
from bookserve.errors import InvalidInput
from bookserve.generation.text import Piece, TextStream, join_pieces, multi_step_feeds, take_multi_step, text_streams
from bookserve.graph import Graph
from bookserve.runtime.onnx import OnnxSession
from bookserve.verb import Generate


class Writer:
    """The tiny bundle ``writer``: after each of a–e comes the next one, most of the time."""

    def __init__(self, models: Path) -> None:
        opened = bundle.open_bundle(models, "writer")
        self.verb = opened.verb(Generate)
        self.graph: Graph = opened.graph(self.verb.graph)[1]
        self.step = OnnxSession(opened.path / str(self.graph.onnx))
        assert self.verb.ahead
        self.ahead = OnnxSession(opened.path / self.verb.ahead.onnx)

    def streams(self, **asked: object) -> list[TextStream]:
        defaults = {"prompt": "abc", "length": 30, "temperature": 1.0, "seed": 3}
        return text_streams(self.verb, self.graph, validate_request(GenerateRequest, defaults | asked))

    def pieces(self, **asked: object) -> Iterator[Piece]:
        return self.streams(**asked)[0].write(self.step.run)

    def write(self, **asked: object) -> str:
        return join_pieces(list(self.pieces(**asked))).text

    def write_ahead(self, texts: list[TextStream]) -> list[Piece]:
        """As the server does it: all together, several characters a run."""
        pieces = [[stream.take(self.step.run(stream.feeds()))] for stream in texts]
        while live := [stream for stream in texts if not stream.done]:
            assert self.verb.ahead
            outputs = self.ahead.run(multi_step_feeds(live, self.verb.ahead, 5))
            for stream, piece in zip(live, take_multi_step(live, outputs), strict=True):
                pieces[texts.index(stream)].append(piece)
        return [join_pieces(some) for some in pieces]


@pytest.fixture
def writer(models: Path) -> Writer:
    return Writer(models)


def test_the_same_seed_writes_the_same_text(writer: Writer) -> None:
    assert writer.write() == writer.write()
    assert writer.write() != writer.write(seed=4)
    assert len(writer.write()) == 30
    assert writer.write(seed=None) != writer.write(seed=None)


def test_text_i_of_a_seed_is_the_text_of_the_seed_after_it(writer: Writer) -> None:
    texts = [join_pieces(list(stream.write(writer.step.run))).text for stream in writer.streams(n=3, seed=7)]
    assert texts == [writer.write(seed=7), writer.write(seed=8), writer.write(seed=9)]


def test_the_likeliest_text_continues_the_prompt(writer: Writer) -> None:
    assert writer.write(temperature=0, prompt="ab", length=7) == "cdeabcd"
    assert writer.write(temperature=0, prompt="AB", length=3) == "cde"  # the vocabulary has no capitals
    assert writer.write(temperature=0, prompt="", length=3) == "dea"  # the model's own prompt is abc
    assert writer.write(temperature=5, top_k=1, prompt="ab", length=7) == "cdeabcd"
    assert writer.write(temperature=5, top_p=0.8, prompt="ab", length=7) == "cdeabcd"


def test_only_the_window_of_a_long_prompt_is_read(writer: Writer) -> None:
    (stream,) = writer.streams(prompt="abcde" * 9)
    assert stream.feeds()["characters"].tolist() == [[2, 3, 4]]


def test_the_state_is_carried(writer: Writer) -> None:
    (stream,) = writer.streams(prompt="abc", temperature=0)
    stream.take(writer.step.run(stream.feeds()))
    assert stream.feeds()["count"].tolist() == [[3]]  # three characters of the prompt were read
    stream.take(writer.step.run(stream.feeds()))
    assert stream.feeds()["count"].tolist() == [[4]]


def test_the_window_is_read_anew(writer: Writer) -> None:
    (stream,) = writer.streams(prompt="a", temperature=0, mode="window")
    read = []
    for _ in range(4):
        assert stream.feeds()["count"].tolist() == [[0]]
        read.append(stream.feeds()["characters"].tolist()[0])
        stream.take(writer.step.run(stream.feeds()))
    assert read == [[0], [0, 1], [0, 1, 2], [1, 2, 3]]  # a short prompt grows to the window, and then it slides


@pytest.mark.parametrize("temperature", [0, 0.05, 0.5, 1, 1.2, 10])
def test_a_graph_that_draws_ahead_writes_what_numpy_writes(writer: Writer, temperature: float) -> None:
    asked = [{"seed": seed, "temperature": temperature, "length": 1 + 3 * seed % 70} for seed in range(40)]
    together = writer.write_ahead([writer.streams(**one)[0] for one in asked])
    assert [piece.text for piece in together] == [writer.write(**one) for one in asked]


@pytest.mark.parametrize(
    ("stop", "text", "finish"),
    [
        (["e"], "d", "stop"),
        (["ea", "ab"], "d", "stop"),
        (["eab", "a"], "de", "stop"),  # the one that is complete first
        (["abc", "bc"], "de", "stop"),  # and of two that end together the longer one
        (["EA"], "d", "stop"),
        (["dd", "☃", "eac"], "deabcdeabc", "length"),
        (["cde"], "deab", "stop"),
        (["bcx"], "deabcdeabc", "length"),  # the end may have begun a stop string, and did not
    ],
)
def test_a_text_ends_before_a_stop_string(writer: Writer, stop: list[str], text: str, finish: str) -> None:
    asked = {"temperature": 0, "length": 10, "stop": stop}
    pieces = list(writer.pieces(**asked))
    assert (join_pieces(pieces).text, join_pieces(pieces).finish) == (text, finish)
    (ahead,) = writer.write_ahead(writer.streams(**asked))
    assert (ahead.text, ahead.finish) == (text, finish)
    assert not any(piece.finish for piece in pieces[:-1])


@pytest.mark.parametrize("seed", range(20))
def test_stop_strings_cut_alike_whatever_the_size_of_the_pieces(writer: Writer, seed: int) -> None:
    asked = {"temperature": 5.0, "length": 60, "stop": ["ead", "adda", "bb"], "seed": seed}
    (ahead,) = writer.write_ahead(writer.streams(**asked))
    assert ahead == join_pieces(list(writer.pieces(**asked)))
    free = writer.write(**asked | {"stop": []})
    ends = [(free.find(stop) + len(stop), free.find(stop)) for stop in ("ead", "adda", "bb") if stop in free]
    assert ahead.text == free[: min(ends)[1] if ends else None]


def test_log_probabilities_are_the_models_own(writer: Writer) -> None:
    plain = writer.write(temperature=2)
    piece = join_pieces(list(writer.pieces(temperature=2, logprobs=2, top_k=5)))
    assert piece.text == plain  # neither telling nor a filter that keeps everything changes what is drawn
    assert "".join(one.text for one in piece.drawn) == piece.text
    for one in piece.drawn:
        assert len(one.top) == 2
        assert one.top[0][1] == pytest.approx(np.log(0.8))
        assert one.logprob == pytest.approx(np.log(0.8 if one.text == one.top[0][0] else 0.05))
    stopped = join_pieces(list(writer.pieces(temperature=0, logprobs=0, stop=["ab"])))
    assert [one.text for one in stopped.drawn] == ["d", "e"]


def test_a_prompt_of_other_characters_is_refused(writer: Writer) -> None:
    with pytest.raises(InvalidInput, match="'☃'"):
        writer.write(prompt="ab☃")


@pytest.mark.parametrize(
    "asked",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": 1e300},
        {"temperature": "1"},
        {"top_p": float("nan")},
        {"top_p": 0},
        {"top_p": 1.5},
        {"top_k": 0},
        {"top_k": -3},
        {"n": 0},
        {"n": 129},
        {"n": 128, "length": 100_000},
        {"length": 0},
        {"length": 10**30},
        {"seed": -1},
        {"seed": 2**63},
        {"stop": [""]},
        {"stop": ["x"] * 17},
        {"stop": ["x" * 257]},
        {"stop": "x"},
        {"prompt": "a" * 100_001},
        {"prompt": 3},
        {"logprobs": 21},
        {"logprobs": -1},
        {"mode": "stateful"},
        {"unheard": 1},
    ],
)
def test_hostile_values_are_refused(asked: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="not valid"):
        validate_request(GenerateRequest, asked)


def test_a_graph_written_before_it_knew_bounds_serves_texts_without_them(writer: Writer) -> None:
    assert writer.verb.ahead
    old = msgspec.structs.replace(writer.verb.ahead, likeliest=False)
    step = writer.verb.ahead.graph(writer.graph, 5).inputs
    assert set(step) - set(old.graph(writer.graph, 5).inputs) == {"top_k", "top_p"}
    assert set(multi_step_feeds(writer.streams(seed=1), old, 5)) == set(old.graph(writer.graph, 5).inputs)
    for bound in ({"top_k": 3}, {"top_p": 0.5}):
        request = GenerateRequest(**bound)  # type: ignore[arg-type]
        assert request.plain(True)
        assert not request.plain(False)
    assert GenerateRequest().plain(False)
    assert not GenerateRequest(logprobs=1).plain(True)
