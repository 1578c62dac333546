# ruff: noqa: TID253
"""Write the multi-step decoder: one graph that generates several characters of a text per run.

It repeats the nodes of the step graph and samples a character after each repetition. A single run of a step graph
costs more time in Python than in ONNX Runtime; sixteen steps in one run cost hardly more than their arithmetic. The
graph is written at export, so the server does not need the package ``onnx``.

Import this module only inside functions: it imports onnx.
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
from bookserve.runtime import open_session
from bookserve.verb import Generate, MultiStepDecoder

#: Characters per run. More would gain little, and characters sampled after the end of a text are discarded.
STEPS = 16
FILE = "ahead.onnx"

#: For the comparison: how many texts are written both ways, and how many runs each takes.
TEXTS, _RUNS = 48, 4
#: (top_k, top_p) of the second half of the texts; the first half samples from all characters.
_BOUNDS: tuple[tuple[int | None, float], ...] = ((1, 1.0), (3, 1.0), (None, 0.5), (None, 0.95), (10, 0.8))


def write_multi_step_decoder(directory: Path, verb: Generate, graph: Graph) -> Generate:
    """Write ``ahead.onnx``, compare it with the step graph, and return the verb with the decoder entered in it.

    Raises:
        Failed: ``graph`` is not a step graph of one row per text, or the texts differ. The file is removed then.
    """
    decoder = MultiStepDecoder(FILE, STEPS, likeliest=True)
    path = directory / FILE
    try:
        proto = _build_decoder(onnx.load(directory / str(graph.onnx)), graph, decoder, len(verb.characters.vocabulary))
        onnx.checker.check_model(proto, full_check=True)
        path.write_bytes(proto.SerializeToString(deterministic=True))
        prove_multi_step_decoder(directory, verb, graph, decoder)
    except Exception as error:  # the checker has error classes of its own
        path.unlink(missing_ok=True)
        raise error if isinstance(error, BookserveError) else Failed(str(error).strip().splitlines()[-1]) from error
    return msgspec.structs.replace(verb, ahead=decoder)


def _build_decoder(step: onnx.ModelProto, graph: Graph, decoder: MultiStepDecoder, vocabulary: int) -> onnx.ModelProto:
    """Build a graph with two branches that share their weights.

    One branch applies top-k and top-p, the other samples from all characters and is faster. The first one runs if any
    row of the batch has a ``top_k`` or ``top_p`` that excludes characters.
    """
    declared = decoder.graph(graph, vocabulary)
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
            then_branch=_unrolled_branch("bound", step, graph, decoder),
            else_branch=_unrolled_branch("free", step, graph, decoder),
        ),
    ]
    constants = {
        "ahead/size": np.array(vocabulary),
        "ahead/one": np.array(1.0),
        "ahead/zero": np.array(0, np.float32),
        "ahead/ranks": np.arange(vocabulary)[None],
        "ahead/sizes": np.array([vocabulary]),
        "ahead/axis": np.array(1),
        **{f"ahead/{number}": np.array(number) for number in range(decoder.steps)},
    }
    numbers = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    model: onnx.ModelProto = helper.make_model(
        helper.make_graph(nodes, "ahead", inputs, outputs, [*step.graph.initializer, *numbers]),
        opset_imports=step.opset_import,
        ir_version=step.ir_version,
        producer_name=step.producer_name,
        producer_version=step.producer_version,
    )
    return model


def _unrolled_branch(branch: str, step: onnx.ModelProto, graph: Graph, decoder: MultiStepDecoder) -> onnx.GraphProto:
    """Repeat the step graph ``decoder.steps`` times, each time followed by sampling.

    Each branch has names of its own, since both are part of one graph.
    """
    states = [name for name in graph.inputs if name != "characters"]
    constants = {tensor.name for tensor in step.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    drawn: list[str] = []
    known = {name: name for name in graph.inputs}
    for number in range(decoder.steps):
        suffix = f"{branch}/{number}"
        for node in step.graph.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = node.name and f"{node.name}/{suffix}"
            copy.input[:] = [
                name if name in constants or not name else known.get(name, f"{name}/{suffix}") for name in node.input
            ]
            copy.output[:] = [name and f"{name}/{suffix}" for name in node.output]
            nodes.append(copy)
        probabilities = f"probabilities/{suffix}"
        if branch == "bound":
            nodes += _top_k_top_p_nodes(probabilities, suffix)
            probabilities = f"ahead/kept/{suffix}"
        nodes += [
            helper.make_node("Gather", ["noise", f"ahead/{number}"], [f"noise/{suffix}"], axis=1),
            helper.make_node("Cast", [probabilities], [f"ahead/wide/{suffix}"], to=TensorProto.DOUBLE),
            helper.make_node("Mul", [f"ahead/wide/{suffix}", f"noise/{suffix}"], [f"ahead/race/{suffix}"]),
            helper.make_node("ArgMax", [f"ahead/race/{suffix}"], [f"ahead/index/{suffix}"], axis=1, keepdims=1),
            helper.make_node("Cast", [f"ahead/index/{suffix}"], [f"ahead/drawn/{suffix}"], to=TensorProto.INT32),
        ]
        drawn.append(f"ahead/drawn/{suffix}")
        known = {"characters": drawn[-1], **{name: f"next_{name}/{suffix}" for name in states}}
    nodes.append(helper.make_node("Concat", drawn, [f"{branch}/drawn"], axis=1))
    nodes += [helper.make_node("Identity", [known[name]], [f"{branch}/next_{name}"]) for name in states]
    given = {
        "drawn": TensorSpec("int32", ("batch", decoder.steps)),
        **{f"next_{name}": graph.inputs[name] for name in states},
    }
    outputs = [
        helper.make_tensor_value_info(
            f"{branch}/{name}", helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), list(spec.shape)
        )
        for name, spec in given.items()
    ]
    return helper.make_graph(nodes, branch, [], outputs)


def _top_k_top_p_nodes(probabilities: str, suffix: str) -> list[onnx.NodeProto]:
    """Set the probabilities of all characters to 0 that ``top_k`` or ``top_p`` exclude.

    The result equals that of ``bookserve.generation.sampling.likeliest``: both order equal probabilities by index and
    sum one by one in double precision. A character is kept if the characters ranked before it sum to less than
    ``top_p``.
    """

    def node(kind: str, inputs: list[str], outputs: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(kind, inputs, [f"ahead/{name}/{suffix}" for name in outputs.split()], **attributes)

    return [
        node("TopK", [probabilities, "ahead/sizes"], "sorted order", axis=1),
        node("Cast", [f"ahead/sorted/{suffix}"], "exact", to=TensorProto.DOUBLE),
        node("CumSum", [f"ahead/exact/{suffix}", "ahead/axis"], "before", exclusive=1),
        node("Less", [f"ahead/before/{suffix}", "top_p"], "within"),
        node("Less", ["ahead/ranks", "top_k"], "first"),
        node("And", [f"ahead/within/{suffix}", f"ahead/first/{suffix}"], "stays"),
        node("Where", [f"ahead/stays/{suffix}", f"ahead/sorted/{suffix}", "ahead/zero"], "chosen"),
        node("ScatterElements", [probabilities, f"ahead/order/{suffix}", f"ahead/chosen/{suffix}"], "kept", axis=1),
    ]


def prove_multi_step_decoder(directory: Path, verb: Generate, graph: Graph, decoder: MultiStepDecoder) -> None:
    """Generate texts one by one with the step graph, and in a batch with the decoder; both must be the same.

    Raises:
        Failed: the texts differ, or a file cannot be run.
    """
    step, many = (open_session(directory / str(file)) for file in (graph.onnx, decoder.onnx))
    length = 1 + _RUNS * decoder.steps
    bounds = [(None, 1.0)] * (TEXTS // 2) + [*_BOUNDS] * TEXTS if decoder.likeliest else [(None, 1.0)] * TEXTS
    requests = [
        GenerateRequest(length=length, temperature=temperature, seed=seed, top_k=top_k, top_p=top_p)
        for seed, temperature, (top_k, top_p) in zip(
            range(TEXTS), (0.0, 0.2, 0.5, 1.0, 1.2, 5.0) * TEXTS, bounds, strict=False
        )
    ]
    alone = [
        "".join(piece.text for piece in text_streams(verb, graph, request)[0].write(step.run)) for request in requests
    ]
    live = [text_streams(verb, graph, request)[0] for request in requests]
    texts = [stream.take(step.run(stream.feeds())).text for stream in live]
    free = live[: TEXTS // 2]
    for group in (free, live[TEXTS // 2 :]) if decoder.likeliest else (live,):
        for _ in range(_RUNS):
            feeds = multi_step_feeds(group, decoder, len(verb.characters.vocabulary))
            for stream, piece in zip(group, take_multi_step(group, many.run(feeds)), strict=True):
                texts[live.index(stream)] += piece.text
    if texts != alone:
        raise Failed("the multi-step decoder writes other texts than the step graph.")
