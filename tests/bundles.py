"""Five tiny bundles made by hand, in a moment and without TensorFlow: one for each verb and some hard cases.

==========  ========  ==================================================================================
``digits``  predict   pictures 4×4, two classes ("dark", "bright") by mean brightness; two versions
``reviews`` predict   texts of the words good/bad/film, padded to 6; the score is the share of "good"
``writer``  generate  characters a–e: after each comes the next of the alphabet, likelier by temperature
``plane``   sample    decoder of 2-d points to 4×4 pictures, encoder of pictures to points
``affine``  predict   numbers: ``y = 2 x + 1`` over [batch, 3] float32, no Steps but Numbers
``pair``    predict   two inputs ``a`` float32 [batch, n], ``b`` int64 [batch], outputs ``sum`` and ``next``
==========  ========  ==================================================================================

The ONNX files are real and run in ONNX Runtime; there is no SavedModel beside them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bookserve.bundle import Manifest, new_version, seal
from bookserve.bundle.examples import Example, Examples
from bookserve.graph import Arrays, Graph, TensorSpec
from bookserve.runtime.onnx import OnnxSession
from bookserve.steps import BinaryLabel, Characters, Image, Numbers, Pad, Pixels, Scale, TopLabels, Words
from bookserve.steps.vocabulary import Vocabulary
from bookserve.verb import Generate, Predict, Sample, Verb
from export.convert import multi_step_decoder as ahead

Spec = TensorSpec
F32 = "float32"
WORDS = Vocabulary("words", ["<padding>", "<start>", "<unknown>", "<unused>", "good", "bad", "film"])
LETTERS = Vocabulary("characters", "abcde")


def write_onnx(path: Path, graph: Graph, nodes: list[onnx.NodeProto], constants: Arrays) -> None:
    """Write one ONNX file whose inputs and outputs are those of ``graph``."""
    kinds = {"string": TensorProto.STRING}

    def value(name: str, spec: TensorSpec) -> onnx.ValueInfoProto:
        kind = kinds.get(spec.dtype) or helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
        return helper.make_tensor_value_info(name, kind, list(spec.shape))

    proto = helper.make_model(
        helper.make_graph(
            nodes,
            path.stem,
            [value(*item) for item in graph.inputs.items()],
            [value(*item) for item in graph.outputs.items()],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


def write_bundle(
    models: Path,
    name: str,
    verb: Verb,
    graphs: dict[str, tuple[Graph, list[onnx.NodeProto], Arrays]],
    feeds: dict[str, Arrays],
    rows: np.ndarray | None = None,
) -> None:
    """Write one more version of ``name``; the examples' outputs are what ONNX Runtime gives."""
    with new_version(models, name) as directory:
        examples = {}
        for graph_name, (graph, nodes, constants) in graphs.items():
            path = directory / str(graph.onnx)
            write_onnx(path, graph, nodes, constants)
            graph.check(feeds[graph_name])
            examples[graph_name] = Example(feeds[graph_name], OnnxSession(path).run(feeds[graph_name]))
        Examples(examples, np.array([], np.uint8) if rows is None else rows).save(directory / "examples.npz")
        graphs_only = {graph_name: graph for graph_name, (graph, _, _) in graphs.items()}
        if isinstance(verb, Generate):
            verb = ahead.write_multi_step_decoder(directory, verb, graphs_only[verb.graph])
        seal(directory, Manifest(name=name, verb=verb, graphs=graphs_only, parameters=7, metrics={"accuracy": 0.5}))


def _node(kind: str, inputs: str, outputs: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def write_digits(models: Path) -> None:
    graph = Graph(
        inputs={"image": Spec(F32, ("batch", 4, 4, 1))},
        outputs={"probabilities": Spec(F32, ("batch", 2))},
        onnx="model.onnx",
    )
    nodes = [
        _node("Flatten", "image", "flat"),
        _node("MatMul", "flat weights", "logits"),
        _node("Add", "logits bias", "scores"),
        _node("Softmax", "scores", "probabilities"),
    ]
    weights = np.repeat(np.array([[-0.5, 0.5]], np.float32), 16, axis=0)
    verb = Predict(
        inputs={"image": (Image(4, 4, 1), Scale(1 / 255))},
        outputs={"probabilities": (TopLabels(("dark", "bright")),)},
    )
    rows = np.stack([np.full((4, 4), value, np.uint8) for value in (0, 255, 40)])
    feeds = verb.encode(rows)
    write_bundle(
        models,
        "digits",
        verb,
        {"serving_default": (graph, nodes, {"weights": weights, "bias": np.array([4, -4], np.float32)})},
        {"serving_default": feeds},
        rows,
    )


def write_reviews(models: Path, name: str = "reviews", length: int = 6) -> None:
    graph = Graph(
        inputs={"tokens": Spec("int32", ("batch", length))},
        outputs={"score": Spec(F32, ("batch", 1))},
        onnx="model.onnx",
    )
    nodes = [
        _node("Equal", "tokens good", "is_good"),
        _node("Cast", "is_good", "ones", to=TensorProto.FLOAT),
        _node("ReduceMean", "ones axes", "score", keepdims=1),
    ]
    verb = Predict(
        inputs={"tokens": (Words(WORDS), Pad(length))}, outputs={"score": (BinaryLabel(("negative", "positive")),)}
    )
    rows = np.array(["a good good film", "bad film"])
    constants = {"good": np.array(4, np.int32), "axes": np.array([1], np.int64)}
    write_bundle(
        models,
        name,
        verb,
        {"serving_default": (graph, nodes, constants)},
        {"serving_default": verb.encode(rows.tolist())},
        rows,
    )


def write_writer(models: Path) -> None:
    """The state counts the characters read; it does not change what is written, but it must be carried."""
    window = Graph(
        inputs={"characters": Spec("int32", ("batch", 3))},
        outputs={"probabilities": Spec(F32, ("batch", 5))},
        onnx="model.onnx",
    )
    step = Graph(
        inputs={"characters": Spec("int32", ("batch", "time")), "count": Spec(F32, ("batch", 1))},
        outputs={"probabilities": Spec(F32, ("batch", 5)), "next_count": Spec(F32, ("batch", 1))},
        onnx="step.onnx",
    )
    table = np.full((5, 5), 0.05, np.float32)
    table[np.arange(5), (np.arange(5) + 1) % 5] = 0.8
    look = [
        _node("Gather", "characters last", "current", axis=1),
        _node("Gather", "table current", "probabilities", axis=0),
    ]
    count = [
        _node("Shape", "characters", "time", start=1, end=2),
        _node("Cast", "time", "read", to=TensorProto.FLOAT),
        _node("Add", "count read", "next_count"),
    ]
    constants = {"last": np.array(-1, np.int64), "table": table}
    ids = np.array([[0, 1, 2], [2, 3, 4]], np.int32)
    write_bundle(
        models,
        "writer",
        Generate(characters=Characters(LETTERS), window=3, prompt="abc"),
        {"serving_default": (window, look, constants), "step": (step, look + count, constants)},
        {
            "serving_default": {"characters": ids},
            "step": {"characters": ids, "count": np.zeros((2, 1), np.float32)},
        },
    )


def write_plane(models: Path) -> None:
    decode = Graph(
        inputs={"latent": Spec(F32, ("batch", 2))},
        outputs={"image": Spec(F32, ("batch", 4, 4, 1))},
        onnx="model.onnx",
    )
    encode = Graph(
        inputs={"image": Spec(F32, ("batch", 4, 4, 1))}, outputs={"mean": Spec(F32, ("batch", 2))}, onnx="encode.onnx"
    )
    spread = np.linspace(-1, 1, 32, dtype=np.float32).reshape(2, 16)
    picture = np.full((1, 4, 4, 1), 0.25, np.float32)
    write_bundle(
        models,
        "plane",
        Sample(latent=2, after=(Pixels(),), before=(Image(4, 4, 1), Scale(1 / 255)), encode="encode"),
        {
            "decode": (
                decode,
                [
                    _node("MatMul", "latent spread", "logits"),
                    _node("Sigmoid", "logits", "flat"),
                    _node("Reshape", "flat shape", "image"),
                ],
                {"spread": spread, "shape": np.array([-1, 4, 4, 1], np.int64)},
            ),
            "encode": (
                encode,
                [_node("Flatten", "image", "flat"), _node("MatMul", "flat squeeze", "mean")],
                {"squeeze": spread.T.copy()},
            ),
        },
        {"decode": {"latent": np.array([[0, 0], [1, -1]], np.float32)}, "encode": {"image": picture}},
    )


def write_affine(models: Path) -> None:
    graph = Graph(inputs={"x": Spec(F32, ("batch", 3))}, outputs={"y": Spec(F32, ("batch", 3))}, onnx="model.onnx")
    write_bundle(
        models,
        "affine",
        Predict(inputs={"x": (Numbers(F32, (3,)),)}, outputs={"y": ()}),
        {
            "serving_default": (
                graph,
                [_node("Mul", "x two", "twice"), _node("Add", "twice one", "y")],
                {"two": np.array(2, np.float32), "one": np.array(1, np.float32)},
            )
        },
        {"serving_default": {"x": np.array([[0, 1, 2]], np.float32)}},
    )


def write_costly(models: Path) -> None:
    """``affine`` with three products of large matrices in each run, which take some 50 ms and change nothing."""
    graph = Graph(inputs={"x": Spec(F32, ("batch", 3))}, outputs={"y": Spec(F32, ("batch", 3))}, onnx="model.onnx")
    nodes = [
        _node("ReduceMean", "x", "mean", keepdims=0),
        _node("Expand", "mean large", "full"),
        *(_node("MatMul", f"{before} full", after) for before, after in (("full", "p"), ("p", "q"), ("q", "r"))),
        _node("ReduceMax", "r", "most", keepdims=0),
        _node("Mul", "most zero", "nothing"),
        _node("Mul", "x two", "twice"),
        _node("Add", "twice one", "sum"),
        _node("Add", "sum nothing", "y"),
    ]
    large = {"large": np.array([800, 800], np.int64), "zero": np.array(0, np.float32)}
    write_bundle(
        models,
        "costly",
        Predict(inputs={"x": (Numbers(F32, (3,)),)}, outputs={"y": ()}),
        {"serving_default": (graph, nodes, large | {"two": np.array(2, np.float32), "one": np.array(1, np.float32)})},
        {"serving_default": {"x": np.array([[0, 1, 2]], np.float32)}},
    )


def write_pair(models: Path) -> None:
    graph = Graph(
        inputs={"a": Spec(F32, ("batch", "n")), "b": Spec("int64", ("batch",))},
        outputs={"sum": Spec(F32, ("batch",)), "next": Spec("int64", ("batch",))},
        onnx="model.onnx",
    )
    write_bundle(
        models,
        "pair",
        Predict(
            inputs={"a": (Numbers(F32, (-1,)),), "b": (Numbers("int64"),)},
            outputs={"sum": (), "next": ()},
        ),
        {
            "serving_default": (
                graph,
                [_node("ReduceSum", "a axes", "sum", keepdims=0), _node("Add", "b one", "next")],
                {"axes": np.array([1], np.int64), "one": np.array(1, np.int64)},
            )
        },
        {"serving_default": {"a": np.ones((2, 3), np.float32), "b": np.array([5, 6])}},
    )


def mark_as_sample(models: Path) -> None:
    """Let every bundle say that it was trained on sample data."""
    origin = {"task": "t", "section": "1", "summary": "", "data": "sample", "dataset": "", "book": {}}
    for path in models.glob("*/*/bundle.json"):
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"origin": origin}), "utf-8")


def write_all(models: Path) -> Path:
    """Write every bundle (two versions of ``digits``) and return ``models``."""
    for write in (write_digits, write_digits, write_reviews, write_writer, write_plane, write_affine, write_pair):
        write(models)
    return models


if __name__ == "__main__":
    import sys

    write_all(Path(sys.argv[1]))
