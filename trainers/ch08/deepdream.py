"""DeepDream, pictures in which a network sees more than there is: section 8.2, listings 8.8–8.13.

Expected: with ImageNet's weights a dream like figure 8.5, in a minute or two on 2 cores. Nothing is trained: the run
holds the graph of the loss and its gradient. The sample dreams with random weights, of patterns and not of animals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from bookserve.steps import Pixels, Scale
from bookserve.transform import resized
from bookserve.verb import Dream, Transform
from trainers.data import photos, weights
from trainers.data.source import Kind
from trainers.pairs import Pairs
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras

LAYERS = ("mixed2", "mixed3", "mixed4", "mixed5")


def data(kind: Kind, params: Params) -> Data:
    verb = Transform(
        method=Dream(
            contributions={layer: params[layer] for layer in LAYERS},
            step=params["step"],
            octaves=params["octaves"],
            octave_scale=params["octave_scale"],
            iterations=params["iterations"],
            max_loss=params["max_loss"],
        ),
        before=(Scale(2 / 255, -1),),
        after=(Pixels(-1, 1),),
    )
    name, photo = next(iter(photos.load(kind).items()))
    height = params["height"]
    shape = (height, round(photo.shape[1] * height / photo.shape[0]))
    rows = np.rint(resized(photo[None].astype(np.float32), shape)).astype(np.uint8)
    noise = np.random.default_rng(0).uniform(-1, 1, (8, 80, 90, 3)).astype(np.float32)
    contributions = np.array([list(verb.method.contributions.values())] * 8, np.float32)  # type: ignore[union-attr]
    return Data(
        verb=verb,
        about=f"a photo: {name}",
        train=Pairs(rows, np.zeros(len(rows))),
        validation=None,
        test=None,
        rows=rows,
        feeds={"gradient": {"image": noise, "contributions": contributions}},
        baseline=1.0,
    )


def build(data: Data, params: Params) -> keras.Model:
    import keras

    path = weights.find("inception_v3_notop", params["weights"])
    image = keras.Input((None, None, 3), name="image")
    inception = keras.applications.InceptionV3(weights=path and str(path), include_top=False, input_tensor=image)
    return keras.Model(image, {layer: inception.get_layer(layer).output for layer in LAYERS})


def graphs(model: keras.Model) -> dict[str, keras.Model]:
    import keras

    from trainers import gradients

    image = keras.Input((None, None, 3), name="image")
    contributions = keras.Input((len(LAYERS),), name="contributions")
    inputs = {"image": image, "contributions": contributions}
    return {"gradient": gradients.model(inputs, gradients.activation(model), model)}


def conclude(model: keras.Model, data: Data, params: Params) -> dict[str, float]:
    """How many times larger the loss is after the first octave than before it."""
    from bookserve.transform import transform
    from trainers.samples import runner

    verb = cast(Transform, data.verb)
    first = next(transform(verb, runner(graphs(model)["gradient"]), data.rows))
    return {"loss_gain": first.after / first.before}


TASK = Task(
    section="8.2",
    listings="8.8–8.13",
    summary="DeepDream: pictures in which a network sees more than there is",
    dataset="photos",
    verb="transform",
    shown="a dream (figure 8.5)",
    metric="loss_gain",
    params={
        "epochs": 0,
        "batch_size": 1,
        "weights": "imagenet",
        "height": 350,
        "mixed2": 0.2,
        "mixed3": 3.0,
        "mixed4": 2.0,
        "mixed5": 1.5,
        "step": 0.01,
        "octaves": 3,
        "octave_scale": 1.4,
        "iterations": 20,
        "max_loss": 10.0,
    },
    sample={"weights": "none", "height": 120, "octaves": 1, "iterations": 10, "step": 0.02},
    data=data,
    build=build,
    graphs=graphs,
    conclude=conclude,
)
