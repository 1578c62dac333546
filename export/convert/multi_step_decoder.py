# ruff: noqa: TID253
"""Ahead: a step graph's own nodes, several times over, with the drawing of each character between them.

One run of a step graph costs more in Python than in the graph. Sixteen steps in one run cost hardly more than their
arithmetic, and the server needs no ``onnx`` package to compose them. Import this module only inside functions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper

from bookserve.api.requests import GenerateRequest
from bookserve.errors import BookserveError, Failed
from bookserve.generation.text import multi_step_feeds, take_multi_step, text_streams
from bookserve.graph import Graph, TensorSpec
from bookserve.runtime.onnx import OnnxSession
from bookserve.verb import Generate, MultiStepDecoder

#: More gain little for one text, and what is drawn beyond a text's end is lost.
STEPS = 16
FILE = "ahead.onnx"

#: Texts that the proof writes both ways, and runs for each.
TEXTS, _RUNS = 48, 4
#: What the later half of them is bound to.
_BOUNDS: tuple[tuple[int | None, float], ...] = ((1, 1.0), (3, 1.0), (None, 0.5), (None, 0.95), (10, 0.8))


def write_multi_step_decoder(directory: Path, verb: Generate, graph: Graph) -> Generate:
    """Write ``ahead.onnx`` beside the step graph's file, prove it, and return the verb that knows of it.

    Raises:
        Failed: it is no step graph of one row a text, or what it writes differs; no file is left then.
    """
    ahead = MultiStepDecoder(FILE, STEPS, likeliest=True)
    path = directory / FILE
    try:
        proto = _composed(onnx.load(directory / str(graph.onnx)), graph, ahead, len(verb.characters.vocabulary))
        onnx.checker.check_model(proto, full_check=True)
        path.write_bytes(proto.SerializeToString(deterministic=True))
        prove_multi_step_decoder(directory, verb, graph, ahead)
    except Exception as error:  # the checker has its own error classes
        path.unlink(missing_ok=True)
        raise error if isinstance(error, BookserveError) else Failed(str(error).strip().splitlines()[-1]) from error
    return msgspec.structs.replace(verb, ahead=ahead)


def _composed(step: onnx.ModelProto, graph: Graph, ahead: MultiStepDecoder, vocabulary: int) -> onnx.ModelProto:
    """Two ways through one graph, with the same weights: only where some text is bound to the likeliest characters are
    they looked for."""
    declared = ahead.graph(graph, vocabulary)
    inputs, outputs = (
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), list(spec.shape))
            for name, spec in specs.items()
        ]
        for specs in (declared.inputs, declared.outputs)
    )
    nodes = [
        helper.make_node("Less", ["top_k", "ahead/size"], ["ahead/few"]),
        helper.make_node("Less", ["top_p", "ahead/one"], ["ahead/part"]),
        helper.make_node("Or", ["ahead/few", "ahead/part"], ["ahead/bound"]),
        helper.make_node("Cast", ["ahead/bound"], ["ahead/bounds"], to=TensorProto.INT32),
        helper.make_node("ReduceMax", ["ahead/bounds"], ["ahead/most"], keepdims=0),
        helper.make_node("Cast", ["ahead/most"], ["ahead/any"], to=TensorProto.BOOL),
        helper.make_node(
            "If",
            ["ahead/any"],
            list(declared.outputs),
            then_branch=_branch("bound", step, graph, ahead),
            else_branch=_branch("free", step, graph, ahead),
        ),
    ]
    constants = {
        "ahead/size": np.array(vocabulary),
        "ahead/one": np.array(1.0),
        "ahead/nought": np.array(0, np.float32),
        "ahead/ranks": np.arange(vocabulary)[None],
        "ahead/sizes": np.array([vocabulary]),
        "ahead/axis": np.array(1),
        **{f"ahead/{number}": np.array(number) for number in range(ahead.steps)},
    }
    numbers = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    made: onnx.ModelProto = helper.make_model(
        helper.make_graph(nodes, "ahead", inputs, outputs, [*step.graph.initializer, *numbers]),
        opset_imports=step.opset_import,
        ir_version=step.ir_version,
        producer_name=step.producer_name,
        producer_version=step.producer_version,
    )
    return made


def _branch(way: str, step: onnx.ModelProto, graph: Graph, ahead: MultiStepDecoder) -> onnx.GraphProto:
    """The step graph so many times over; names of its own, since two branches stand in one graph."""
    states = [name for name in graph.inputs if name != "characters"]
    constants = {tensor.name for tensor in step.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    drawn: list[str] = []
    known = {name: name for name in graph.inputs}
    for number in range(ahead.steps):
        own = f"{way}/{number}"
        for node in step.graph.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = node.name and f"{node.name}/{own}"
            copy.input[:] = [
                name if name in constants or not name else known.get(name, f"{name}/{own}") for name in node.input
            ]
            copy.output[:] = [name and f"{name}/{own}" for name in node.output]
            nodes.append(copy)
        probabilities = f"probabilities/{own}"
        if way == "bound":
            nodes += _likeliest(probabilities, own)
            probabilities = f"ahead/kept/{own}"
        nodes += [
            helper.make_node("Gather", ["noise", f"ahead/{number}"], [f"noise/{own}"], axis=1),
            helper.make_node("Cast", [probabilities], [f"ahead/wide/{own}"], to=TensorProto.DOUBLE),
            helper.make_node("Mul", [f"ahead/wide/{own}", f"noise/{own}"], [f"ahead/race/{own}"]),
            helper.make_node("ArgMax", [f"ahead/race/{own}"], [f"ahead/index/{own}"], axis=1, keepdims=1),
            helper.make_node("Cast", [f"ahead/index/{own}"], [f"ahead/drawn/{own}"], to=TensorProto.INT32),
        ]
        drawn.append(f"ahead/drawn/{own}")
        known = {"characters": drawn[-1], **{name: f"next_{name}/{own}" for name in states}}
    nodes.append(helper.make_node("Concat", drawn, [f"{way}/drawn"], axis=1))
    nodes += [helper.make_node("Identity", [known[name]], [f"{way}/next_{name}"]) for name in states]
    given = {
        "drawn": TensorSpec("int32", ("batch", ahead.steps)),
        **{f"next_{name}": graph.inputs[name] for name in states},
    }
    outputs = [
        helper.make_tensor_value_info(
            f"{way}/{name}", helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), list(spec.shape)
        )
        for name, spec in given.items()
    ]
    return helper.make_graph(nodes, way, [], outputs)


def _likeliest(probabilities: str, own: str) -> list[onnx.NodeProto]:
    """What ``bookserve.generation.sampling.likeliest`` computes: of equals the first come first, and sums are made
    one by one in double precision, in both. A character stays if those before it in rank sum to less than ``top_p``."""

    def node(kind: str, inputs: list[str], outputs: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(kind, inputs, [f"ahead/{name}/{own}" for name in outputs.split()], **attributes)

    return [
        node("TopK", [probabilities, "ahead/sizes"], "sorted order", axis=1),
        node("Cast", [f"ahead/sorted/{own}"], "exact", to=TensorProto.DOUBLE),
        node("CumSum", [f"ahead/exact/{own}", "ahead/axis"], "before", exclusive=1),
        node("Less", [f"ahead/before/{own}", "top_p"], "within"),
        node("Less", ["ahead/ranks", "top_k"], "first"),
        node("And", [f"ahead/within/{own}", f"ahead/first/{own}"], "stays"),
        node("Where", [f"ahead/stays/{own}", f"ahead/sorted/{own}", "ahead/nought"], "chosen"),
        node("ScatterElements", [probabilities, f"ahead/order/{own}", f"ahead/chosen/{own}"], "kept", axis=1),
    ]


def prove_multi_step_decoder(directory: Path, verb: Generate, graph: Graph, ahead: MultiStepDecoder) -> None:
    """Write some texts character by character, each alone, and ahead, all together: they must be the same.

    Raises:
        Failed: they are not, or a file cannot be run.
    """
    step, many = (OnnxSession(directory / str(file)) for file in (graph.onnx, ahead.onnx))
    length = 1 + _RUNS * ahead.steps
    bounds = [(None, 1.0)] * (TEXTS // 2) + [*_BOUNDS] * TEXTS if ahead.likeliest else [(None, 1.0)] * TEXTS
    asked = [
        GenerateRequest(length=length, temperature=temperature, seed=seed, top_k=top_k, top_p=top_p)
        for seed, temperature, (top_k, top_p) in zip(
            range(TEXTS), (0.0, 0.2, 0.5, 1.0, 1.2, 5.0) * TEXTS, bounds, strict=False
        )
    ]
    alone = ["".join(piece.text for piece in text_streams(verb, graph, one)[0].write(step.run)) for one in asked]
    live = [text_streams(verb, graph, one)[0] for one in asked]
    texts = [stream.take(step.run(stream.feeds())).text for stream in live]
    free = live[: TEXTS // 2]
    for company in (free, live[TEXTS // 2 :]) if ahead.likeliest else (live,):
        for _ in range(_RUNS):
            feeds = multi_step_feeds(company, ahead, len(verb.characters.vocabulary))
            for stream, piece in zip(company, take_multi_step(company, many.run(feeds)), strict=True):
                texts[live.index(stream)] += piece.text
    if texts != alone:
        raise Failed("several steps in one run write another text than one at a time.")
