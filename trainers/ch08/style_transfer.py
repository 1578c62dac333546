"""Neural style transfer, a photo painted in the style of another picture: section 8.3, listings 8.14–8.22.

Expected: with ImageNet's weights a picture like figure 8.8; on a CPU it takes the better part of an hour. Nothing is
trained: the run holds the graph of the loss and its gradient. The sample paints with a narrow random network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from bookserve.steps import ImageNetMeans, WithoutMeans
from bookserve.transform import resized
from bookserve.verb import Style, Transform
from trainers.data import photos
from trainers.data.source import Kind
from trainers.pairs import Pairs
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras

CONTENT = "block5_conv2"
STYLE = ("block1_conv1", "block2_conv1", "block3_conv1", "block4_conv1", "block5_conv1")


def data(kind: Kind, params: Params) -> Data:
    verb = Transform(
        method=Style(
            content_weight=params["content_weight"],
            style_weight=params["style_weight"],
            total_variation_weight=params["total_variation_weight"],
            iterations=params["iterations"],
            evaluations=params["evaluations"],
            height=params["height"],
        ),
        before=(ImageNetMeans(),),
        after=(WithoutMeans(),),
    )
    shown = photos.load(kind)
    names = ("portrait", "starry night") if kind == "real" else ("flower", "china")
    height = params["height"]
    photo, reference = (shown[name].astype(np.float32)[None] for name in names)
    shape = (height, round(photo.shape[2] * height / photo.shape[1]))
    rows = np.rint(np.concatenate([resized(photo, shape), resized(reference, shape)])).astype(np.uint8)
    rng = np.random.default_rng(0)
    noise = {name: rng.uniform(-100, 100, (8, 64, 72, 3)).astype(np.float32) for name in ("image", "content", "style")}
    return Data(
        verb=verb,
        about=f"{names[0]}, in the style of {names[1]}",
        train=Pairs(rows, np.zeros(len(rows))),
        validation=None,
        test=None,
        rows=rows,
        feeds={"gradient": {**noise, "weights": np.array([[0.025, 1.0, 1e-4]] * 8, np.float32)}},
        baseline=1.0,
    )


def build(data: Data, params: Params) -> keras.Model:
    import keras

    from trainers.vgg import base

    vgg = base("vgg19", params["weights"], (None, None), params["width"])
    return keras.Model(vgg.inputs[0], {layer: vgg.get_layer(layer).output for layer in (CONTENT, *STYLE)})


def graphs(model: keras.Model) -> dict[str, keras.Model]:
    import keras

    from trainers import gradients

    inputs = {name: keras.Input((None, None, 3), name=name) for name in ("image", "content", "style")}
    inputs["weights"] = keras.Input((3,), name="weights")
    return {"gradient": gradients.model(inputs, gradients.style(model, CONTENT), model)}


def conclude(model: keras.Model, data: Data, params: Params) -> dict[str, float]:
    """How many times smaller the loss is after the first iteration than before it."""
    from bookserve.transform import transform
    from trainers.samples import runner

    verb = cast(Transform, data.verb)
    first = next(transform(verb, runner(graphs(model)["gradient"]), data.rows))
    return {"loss_gain": first.before / first.after}


TASK = Task(
    section="8.3",
    listings="8.14–8.22",
    summary="neural style transfer: a photo painted in the style of another",
    dataset="photos",
    verb="transform",
    shown="a painted photo (figure 8.8)",
    metric="loss_gain",
    params={
        "epochs": 0,
        "batch_size": 1,
        "weights": "imagenet",
        "width": 1.0,
        "height": 400,
        "content_weight": 0.025,
        "style_weight": 1.0,
        "total_variation_weight": 1e-4,
        "iterations": 20,
        "evaluations": 15,
    },
    sample={"weights": "none", "width": 0.125, "height": 96, "iterations": 3},
    data=data,
    build=build,
    graphs=graphs,
    conclude=conclude,
)
