# ruff: noqa: TID253
"""Ahead: a step graph's own nodes, several times over, with the drawing of each character between them.

One run of a step graph costs more in Python than in the graph. Sixteen steps in one run cost hardly more than their
arithmetic, and the server needs no ``onnx`` package to compose them. Import this module only inside functions.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper

from bookserve.backend import OnnxBackend
from bookserve.errors import BookserveError, Failed
from bookserve.graph import Graph
from bookserve.requests import GenerateRequest
from bookserve.text import ahead_feeds, streams, take_ahead
from bookserve.verb import Ahead, Generate

#: More gain little for one text, and what is drawn beyond a text's end is lost.
STEPS = 16
FILE = "ahead.onnx"

#: Texts that the proof writes both ways, and runs for each.
TEXTS, _RUNS = 24, 4


def write(directory: Path, verb: Generate, graph: Graph) -> Generate:
    """Write ``ahead.onnx`` beside the step graph's file, prove it, and return the verb that knows of it.

    Raises:
        Failed: it is no step graph of one row a text, or what it writes differs; no file is left then.
    """
    ahead = Ahead(FILE, STEPS)
    path = directory / FILE
    try:
        proto = _unrolled(onnx.load(directory / str(graph.onnx)), graph, ahead, len(verb.characters.vocabulary))
        onnx.checker.check_model(proto, full_check=True)
        path.write_bytes(proto.SerializeToString(deterministic=True))
        prove(directory, verb, graph, ahead)
    except Exception as error:  # the checker has its own error classes
        path.unlink(missing_ok=True)
        raise error if isinstance(error, BookserveError) else Failed(str(error).strip().splitlines()[-1]) from error
    return msgspec.structs.replace(verb, ahead=ahead)


def _unrolled(step: onnx.ModelProto, graph: Graph, ahead: Ahead, vocabulary: int) -> onnx.ModelProto:
    declared = ahead.graph(graph, vocabulary)
    states = [name for name in graph.inputs if name != "characters"]
    constants = {tensor.name for tensor in step.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    drawn: list[str] = []
    known = {name: name for name in graph.inputs}
    for number in range(ahead.steps):
        for node in step.graph.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = node.name and f"{node.name}/{number}"
            copy.input[:] = [
                name if name in constants or not name else known.get(name, f"{name}/{number}") for name in node.input
            ]
            copy.output[:] = [name and f"{name}/{number}" for name in node.output]
            nodes.append(copy)
        nodes += [
            helper.make_node("Gather", ["noise", f"ahead/{number}"], [f"noise/{number}"], axis=1),
            helper.make_node("Cast", [f"probabilities/{number}"], [f"ahead/wide/{number}"], to=TensorProto.DOUBLE),
            helper.make_node("Mul", [f"ahead/wide/{number}", f"noise/{number}"], [f"ahead/race/{number}"]),
            helper.make_node("ArgMax", [f"ahead/race/{number}"], [f"ahead/index/{number}"], axis=1, keepdims=1),
            helper.make_node("Cast", [f"ahead/index/{number}"], [f"ahead/drawn/{number}"], to=TensorProto.INT32),
        ]
        drawn.append(f"ahead/drawn/{number}")
        known = {"characters": drawn[-1], **{name: f"next_{name}/{number}" for name in states}}
    nodes.append(helper.make_node("Concat", drawn, ["drawn"], axis=1))
    nodes += [helper.make_node("Identity", [known[name]], [f"next_{name}"]) for name in states]
    inputs, outputs = (
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), list(spec.shape))
            for name, spec in specs.items()
        ]
        for specs in (declared.inputs, declared.outputs)
    )
    numbers = [
        onnx.numpy_helper.from_array(np.array(number, np.int64), f"ahead/{number}") for number in range(ahead.steps)
    ]
    made: onnx.ModelProto = helper.make_model(
        helper.make_graph(nodes, "ahead", inputs, outputs, [*step.graph.initializer, *numbers]),
        opset_imports=step.opset_import,
        ir_version=step.ir_version,
        producer_name=step.producer_name,
        producer_version=step.producer_version,
    )
    return made


def prove(directory: Path, verb: Generate, graph: Graph, ahead: Ahead) -> None:
    """Write some texts character by character, each alone, and ahead, all together: they must be the same.

    Raises:
        Failed: they are not, or a file cannot be run.
    """
    step, many = (OnnxBackend(directory / str(file)) for file in (graph.onnx, ahead.onnx))
    length = 1 + _RUNS * ahead.steps
    asked = [
        GenerateRequest(length=length, temperature=temperature, seed=seed)
        for seed, temperature in zip(range(TEXTS), (0.0, 0.2, 0.5, 1.0, 1.2, 5.0) * TEXTS, strict=False)
    ]
    alone = ["".join(piece.text for piece in streams(verb, graph, one)[0].write(step.run)) for one in asked]
    live = [streams(verb, graph, one)[0] for one in asked]
    texts = [stream.take(step.run(stream.feeds())).text for stream in live]
    for _ in range(_RUNS):
        feeds = ahead_feeds(live, ahead.steps, len(verb.characters.vocabulary))
        for index, piece in enumerate(take_ahead(live, many.run(feeds))):
            texts[index] += piece.text
    if texts != alone:
        raise Failed("several steps in one run write another text than one at a time.")
