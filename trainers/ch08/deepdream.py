"""DeepDream, pictures in which a network sees more than there is: section 8.2, listings 8.8–8.13.

Expected: with ImageNet's weights a dream like figure 8.5, in a minute or two on 2 cores. Nothing is trained: the run
holds the graph of the loss and its gradient. ``-p base=squeezenet`` (or vgg16, vgg19) dreams with another network; the
sample with the convnet of chapter 5, trained on drawn cats and dogs in a few seconds: of edges, not of animals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from bookserve.generation.transform import prepare_pictures
from bookserve.steps import apply_steps
from bookserve.verb import Dream, Transform
from trainers.datasets import photos
from trainers.datasets.source import Kind
from trainers.engine.arrays import TrainingArrays
from trainers.networks import pretrained_bases as bases
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    base = bases.find_base(params["base"])
    layers = bases.chosen(params["layers"] or base.dream)
    verb = Transform(
        method=Dream(
            contributions=layers,
            step=params["step"],
            octaves=params["octaves"],
            octave_scale=params["octave_scale"],
            iterations=params["iterations"],
            max_loss=params["max_loss"],
            height=params["height"],
            unit=base.unit,
        ),
        before=base.before,
        after=base.after,
    )
    name, photo = next(iter(photos.load(kind).items()))
    rows = prepare_pictures(verb, [photo])
    noise = np.random.default_rng(0).integers(0, 256, (8, 80, 90, 3)).astype(np.uint8)
    image = np.asarray(apply_steps(verb.before, noise), np.float32)
    contributions = np.array([list(layers.values())] * 8, np.float32)
    return Data(
        verb=verb,
        about=f"a photo: {name}",
        train=TrainingArrays(rows, np.zeros(len(rows))),
        validation=None,
        test=None,
        rows=rows,
        feeds={"gradient": {"image": image, "contributions": contributions}},
        baseline=1.0,
    )


def build(data: Data, params: Params) -> keras.Model:
    base = bases.find_base(params["base"])
    return bases.outputs(base.build(params), list(bases.chosen(params["layers"] or base.dream)))


def graphs(model: keras.Model) -> dict[str, keras.Model]:
    import keras

    from trainers.networks import gradient_graphs as gradients

    image = keras.Input((None, None, 3), name="image")
    contributions = keras.Input((len(model.output),), name="contributions")
    inputs = {"image": image, "contributions": contributions}
    return {"gradient": gradients.model(inputs, gradients.activation(model), model)}


def conclude(model: keras.Model, data: Data, params: Params) -> dict[str, float]:
    """How many times larger the loss is after the first octave than before it."""
    from bookserve.generation.transform import transform
    from trainers.engine.samples import runners

    verb = cast(Transform, data.verb)
    first = next(transform(verb, runners(graphs(model)), data.rows))
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
        "base": "inception_v3",
        "weights": "imagenet",
        "layers": "",  # of listing 8.9: mixed2=0.2,mixed3=3,mixed4=2,mixed5=1.5
        "height": 350,
        "step": 0.01,
        "octaves": 3,
        "octave_scale": 1.4,
        "iterations": 20,
        "max_loss": 10.0,
    },
    sample={"base": "cats_dogs_convnet", "weights": "sample", "height": 120, "octaves": 1, "iterations": 10},
    data=data,
    build=build,
    graphs=graphs,
    conclude=conclude,
)
