"""Bundles made by hand for pictures that are changed and explained, in a moment and without TensorFlow.

===========  =========  ==============================================================================================
``dreamer``  transform  dreams of brightness: the loss is ``contributions[0]`` times the mean of the squared picture
``painter``  transform  paints by copying: the loss is the squared difference from the style picture
``corners``  predict    pictures 8×8: "left" or "right", by which half is brighter; with the graphs to explain it
===========  =========  ==============================================================================================
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import helper

from bookserve.generation.explain import ACTIVATIONS, HEAD
from bookserve.graph import Graph, TensorSpec
from bookserve.steps import Image, Pixels, Scale, TopLabels
from bookserve.verb import Dream, Predict, Style, Transform
from tests.bundles import F32, write_bundle

Spec = TensorSpec
IMAGE = Spec(F32, ("batch", "height", "width", 3))
ANSWERS = {"loss": Spec(F32, ("batch",)), "gradient": IMAGE}


def _node(kind: str, inputs: str, outputs: str, **attributes: object) -> object:
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def write_dreamer(models: Path) -> None:
    graph = Graph(
        inputs={"image": IMAGE, "contributions": Spec(F32, ("batch", 2))}, outputs=ANSWERS, onnx="gradient.onnx"
    )
    nodes = [
        _node("Mul", "image image", "squares"),
        _node("ReduceMean", "squares axes", "means", keepdims=0),
        _node("Gather", "contributions zero", "first", axis=1),
        _node("Mul", "means first", "loss"),
        _node("Mul", "image two", "gradient"),
    ]
    constants = {"axes": np.array([1, 2, 3]), "zero": np.array(0), "two": np.array(2, np.float32)}
    picture = np.full((8, 80, 80, 3), 0.5, np.float32)
    write_bundle(
        models,
        "dreamer",
        Transform(
            method=Dream({"bright": 1.0, "idle": 0.0}, octaves=1, iterations=3, height=120),
            before=(Scale(2 / 255, -1),),
            after=(Pixels(-1, 1),),
        ),
        {"gradient": (graph, nodes, constants)},  # type: ignore[dict-item]
        {"gradient": {"image": picture, "contributions": np.ones((8, 2), np.float32)}},
    )


def write_painter(models: Path) -> None:
    """A picture's features are its own numbers, flat."""
    flat = Spec(F32, ("batch", "numbers"))
    gradient = Graph(
        inputs={"image": IMAGE, "content": flat, "style": flat, "weights": Spec(F32, ("batch", 3))},
        outputs=ANSWERS,
        onnx="gradient.onnx",
    )
    paint = [
        _node("Flatten", "image", "seen"),
        _node("Sub", "seen style", "difference"),
        _node("Mul", "difference difference", "squares"),
        _node("ReduceSum", "squares axes", "loss", keepdims=0),
        _node("Mul", "difference two", "slope"),
        _node("Shape", "image", "shape"),
        _node("Reshape", "slope shape", "gradient"),
    ]
    features = Graph(inputs={"image": IMAGE}, outputs={"content": flat, "style": flat}, onnx="features.onnx")
    see = [_node("Flatten", "image", "content"), _node("Flatten", "image", "style")]
    picture = np.full((8, 80, 80, 3), 0.5, np.float32)
    seen = picture.reshape(8, -1)
    write_bundle(
        models,
        "painter",
        Transform(
            method=Style(iterations=2, evaluations=5, height=90),
            before=(Scale(2 / 255, -1),),
            after=(Pixels(-1, 1),),
            features="features",
        ),
        {
            "gradient": (gradient, paint, {"axes": np.array([1]), "two": np.array(2, np.float32)}),  # type: ignore[dict-item]
            "features": (features, see, {}),  # type: ignore[dict-item]
        },
        {
            "gradient": {"image": picture, "content": seen, "style": seen, "weights": np.ones((8, 3), np.float32)},
            "features": {"image": picture},
        },
    )


def write_corners(models: Path) -> None:
    """The "layer" blurs nothing: channel 0 of the map is the left half of the picture, channel 1 the right half."""
    image, maps = Spec(F32, ("batch", 8, 8, 1)), Spec(F32, ("batch", 8, 8, 2))
    scores = {"probabilities": Spec(F32, ("batch", 2))}
    halves = np.zeros((1, 8, 8, 2), np.float32)
    halves[:, :, :4, 0] = halves[:, :, 4:, 1] = 1
    constants = {"halves": halves, "axes": np.array([1, 2])}
    see = [_node("Mul", "image halves", "look")]
    judge = [
        _node("ReduceMean", "look axes", "brightness", keepdims=0),
        _node("Softmax", "brightness", "probabilities"),
    ]
    verb = Predict(
        inputs={"image": (Image(8, 8, 1), Scale(1 / 255))},
        outputs={"probabilities": (TopLabels(("left", "right")),)},
    )
    rows = np.zeros((2, 8, 8), np.uint8)
    rows[0, 2:4, 1:3] = 255
    rows[1, 5:7, 6:8] = 255
    feeds = verb.encode(rows)
    write_bundle(
        models,
        "corners",
        verb,
        {
            "serving_default": (
                Graph(inputs={"image": image}, outputs=scores, onnx="model.onnx"),
                see + judge,  # type: ignore[list-item]
                constants,
            ),
            ACTIVATIONS: (
                Graph(inputs={"image": image}, outputs={"look": maps}, onnx="activations.onnx"),
                see,  # type: ignore[list-item]
                {"halves": halves},
            ),
            HEAD: (Graph(inputs={"look": maps}, outputs=scores, onnx="head.onnx"), judge, {"axes": constants["axes"]}),  # type: ignore[list-item]
        },
        {"serving_default": feeds, ACTIVATIONS: feeds, HEAD: {"look": feeds["image"] * halves}},
        rows,
    )


def write_all(models: Path) -> Path:
    """Write every bundle and return ``models``."""
    for write in (write_dreamer, write_painter, write_corners):
        write(models)
    return models
