"""Several steps in one run: a real LSTM writes the same either way, in any company, and what differs is not shipped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bookserve.api.requests import GenerateRequest
from bookserve.errors import Failed
from bookserve.generation.text import join_pieces, multi_step_feeds, take_multi_step, text_streams
from bookserve.graph import Graph, TensorSpec
from bookserve.runtime.onnx import OnnxSession
from bookserve.steps import Characters
from bookserve.steps.vocabulary import Vocabulary
from bookserve.verb import Generate
from export.convert import multi_step_decoder as ahead

LETTERS = "abcdefghijklmnopqrstuvwxyz .,"
SIZE, UNITS = len(LETTERS), 96
VERB = Generate(characters=Characters(Vocabulary("characters", LETTERS)), window=20, prompt="so it begins")
STATE = TensorSpec("float32", ("batch", UNITS))
GRAPH = Graph(
    inputs={"characters": TensorSpec("int32", ("batch", "time")), "h": STATE, "c": STATE},
    outputs={"probabilities": TensorSpec("float32", ("batch", SIZE)), "next_h": STATE, "next_c": STATE},
    onnx="step.onnx",
)


def write_lstm(directory: Path) -> None:
    """A step graph around ONNX's own LSTM, as the exporter writes it, with random weights."""
    rng = np.random.default_rng(1)

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.35, shape).astype(np.float32)

    constants = {
        "W": weights(1, 4 * UNITS, SIZE),
        "R": weights(1, 4 * UNITS, UNITS),
        "B": weights(1, 8 * UNITS),
        "dense": weights(UNITS, SIZE) * 3,
        "depth": np.array([SIZE], np.int64),
        "hot": np.array([0, 1], np.float32),
        "first": np.array([0], np.int64),
        "second": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Unsqueeze", ["h", "first"], ["h3"]),
        helper.make_node("Unsqueeze", ["c", "first"], ["c3"]),
        helper.make_node("Cast", ["characters"], ["ids"], to=TensorProto.INT64),
        helper.make_node("OneHot", ["ids", "depth", "hot"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["steps"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["steps", "W", "R", "B", "", "h3", "c3"], ["", "last", "cell"], hidden_size=UNITS),
        helper.make_node("Squeeze", ["last", "first"], ["next_h"]),
        helper.make_node("Squeeze", ["cell", "first"], ["next_c"]),
        helper.make_node("MatMul", ["next_h", "dense"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]

    def values(specs: dict[str, TensorSpec]) -> list[onnx.ValueInfoProto]:
        kinds = {"int32": TensorProto.INT32, "float32": TensorProto.FLOAT}
        return [helper.make_tensor_value_info(name, kinds[spec.dtype], spec.shape) for name, spec in specs.items()]

    proto = helper.make_model(
        helper.make_graph(
            nodes,
            "step",
            values(GRAPH.inputs),
            values(GRAPH.outputs),
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, directory / "step.onnx")


@pytest.fixture
def lstm(tmp_path: Path) -> Path:
    write_lstm(tmp_path)
    return tmp_path


def test_rows_do_not_depend_on_their_company(lstm: Path) -> None:
    """What all of this rests on: ONNX Runtime computes a row alike to the last bit in any batch."""
    backend = OnnxSession(lstm / "step.onnx")
    rng = np.random.default_rng(0)
    feeds = {
        "characters": rng.integers(0, SIZE, (130, 1), np.int32),
        "h": rng.uniform(-1, 1, (130, UNITS)).astype(np.float32),
        "c": rng.uniform(-3, 3, (130, UNITS)).astype(np.float32),
    }
    alone = [backend.run({name: array[row : row + 1] for name, array in feeds.items()}) for row in range(130)]
    for count in (2, 3, 7, 16, 64, 65, 130):
        together = backend.run({name: array[:count] for name, array in feeds.items()})
        for name, array in together.items():
            assert all(np.array_equal(array[row], alone[row][name][0]) for row in range(count)), (name, count)


def test_a_prompt_read_at_once_leaves_the_state_of_one_read_character_by_character(lstm: Path) -> None:
    backend = OnnxSession(lstm / "step.onnx")
    ids = VERB.characters(["what is read at once"])[0][None]
    nothing = np.zeros((1, UNITS), np.float32)
    at_once = backend.run({"characters": ids, "h": nothing, "c": nothing})
    state = {"h": nothing, "c": nothing}
    for place in range(ids.shape[1]):
        outputs = backend.run({"characters": ids[:, place : place + 1], **state})
        state = {"h": outputs["next_h"], "c": outputs["next_c"]}
    assert all(np.array_equal(at_once[name], outputs[name]) for name in at_once)


def free(seed: int) -> dict[str, Any]:
    return {}


def bound(seed: int) -> dict[str, Any]:
    """Among them the least and the most that can be asked for, and both at once."""
    top_k = (None, 1, 2, 5, SIZE - 1, SIZE, 10**6)[seed % 7]
    return {"top_k": top_k, "top_p": (1e-9, 0.1, 0.5, 0.9, 0.999999, 1.0)[seed // 7 % 6]}


def some_bound(seed: int) -> dict[str, Any]:
    return bound(seed) if seed % 5 == 0 else {}


@pytest.mark.parametrize("bounds", [free, bound, some_bound])
def test_over_many_seeds_the_graph_draws_what_numpy_draws(lstm: Path, bounds: Callable[[int], dict[str, Any]]) -> None:
    verb = ahead.write_multi_step_decoder(lstm, VERB, GRAPH)
    assert verb.ahead
    step, many = OnnxSession(lstm / "step.onnx"), OnnxSession(lstm / verb.ahead.onnx)
    requests = [
        GenerateRequest(length=200, temperature=(0.0, 0.3, 0.7, 1.0, 2.0, 10.0)[seed % 6], seed=seed, **bounds(seed))
        for seed in range(180)
    ]
    alone = [join_pieces(list(text_streams(verb, GRAPH, request)[0].write(step.run))).text for request in requests]
    live = [text_streams(verb, GRAPH, request)[0] for request in requests]
    texts = {stream: stream.take(step.run(stream.feeds())).text for stream in live}
    while going := [stream for stream in live if not stream.done]:
        outputs = many.run(multi_step_feeds(going, verb.ahead, SIZE))
        for stream, piece in zip(going, take_multi_step(going, outputs), strict=True):
            texts[stream] += piece.text
    assert [texts[stream] for stream in live] == alone
    if bounds is not bound:
        assert len(set(alone)) > 110  # those of temperature 0 are all the same


def test_of_equals_the_graph_keeps_the_first_ones(lstm: Path) -> None:
    """A model that knows nothing: all characters are equally likely, and the sum of all is not quite 1."""
    proto = onnx.load(lstm / "step.onnx")
    dense = next(tensor for tensor in proto.graph.initializer if tensor.name == "dense")
    dense.CopyFrom(numpy_helper.from_array(np.zeros((UNITS, SIZE), np.float32), "dense"))
    onnx.save(proto, lstm / "step.onnx")
    verb = ahead.write_multi_step_decoder(lstm, VERB, GRAPH)
    assert verb.ahead
    step, many = OnnxSession(lstm / "step.onnx"), OnnxSession(lstm / verb.ahead.onnx)
    shares = [count / SIZE for count in range(1, SIZE)]
    asked = [{"top_k": count} for count in range(1, SIZE)] + [{"top_p": share} for share in shares]
    live = [
        text_streams(verb, GRAPH, GenerateRequest(length=17, temperature=1, seed=seed, **some))[0]  # type: ignore[arg-type]
        for seed, some in enumerate(asked)
    ]
    alone = [
        join_pieces(
            list(
                text_streams(verb, GRAPH, GenerateRequest(length=17, temperature=1, seed=seed, **some))[0].write(
                    step.run
                )
            )
        )  # type: ignore[arg-type]
        for seed, some in enumerate(asked)
    ]
    firsts = [stream.take(step.run(stream.feeds())).text for stream in live]
    pieces = take_multi_step(live, many.run(multi_step_feeds(live, verb.ahead, SIZE)))
    assert [first + piece.text for first, piece in zip(firsts, pieces, strict=True)] == [text.text for text in alone]
    for count, text in zip(range(1, SIZE), alone, strict=False):
        assert set(text.text) <= set(LETTERS[:count])


@pytest.mark.parametrize("way", ["then_branch", "else_branch"])
def test_a_graph_that_would_write_otherwise_is_not_shipped(
    lstm: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed = ahead._composed

    def swapped(*arguments: object) -> onnx.ModelProto:
        proto = composed(*arguments)  # type: ignore[arg-type]
        (either,) = (node for node in proto.graph.node if node.op_type == "If")
        branch = next(attribute.g for attribute in either.attribute if attribute.name == way)
        for node in branch.node:
            if node.op_type == "ArgMax":
                node.op_type = "ArgMin"
        return proto

    monkeypatch.setattr(ahead, "_composed", swapped)
    with pytest.raises(Failed, match="another text"):
        ahead.write_multi_step_decoder(lstm, VERB, GRAPH)
    assert not (lstm / ahead.FILE).exists()


def test_a_graph_that_takes_no_single_step_is_refused(lstm: Path) -> None:
    """The states have other names than the outputs say."""
    graph = Graph(inputs={**GRAPH.inputs, "x": STATE}, outputs=GRAPH.outputs, onnx="step.onnx")
    with pytest.raises(Failed):
        ahead.write_multi_step_decoder(lstm, VERB, graph)
    assert not (lstm / ahead.FILE).exists()
