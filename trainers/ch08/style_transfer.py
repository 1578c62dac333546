"""Neural style transfer, a photo painted in the style of another picture: section 8.3, listings 8.14–8.22.

Expected: with ImageNet's weights a picture like figure 8.8; on a CPU it takes the better part of an hour. Nothing is
trained: the run holds the graph of the loss and its gradient. ``-p base=squeezenet`` paints with a network that takes
two minutes. The sample paints with the convnet of chapter 5, trained on drawn cats and dogs in a few seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from bookserve.generation.transform import prepare_pictures
from bookserve.steps import apply_steps
from bookserve.verb import Style, Transform
from trainers.datasets import photos
from trainers.datasets.source import Kind
from trainers.engine.arrays import TrainingArrays
from trainers.networks import pretrained_bases as bases
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    base = bases.find_base(params["base"])
    verb = Transform(
        method=Style(
            content_weight=params["content_weight"],
            style_weight=params["style_weight"],
            total_variation_weight=params["total_variation_weight"],
            iterations=params["iterations"],
            evaluations=params["evaluations"],
            height=params["height"],
        ),
        before=base.before,
        after=base.after,
        features="features",
    )
    shown = photos.load(kind)
    names = ("portrait", "starry night") if kind == "real" else ("flower", "china")
    rows = prepare_pictures(verb, [shown[name] for name in names])
    rng = np.random.default_rng(0)
    image, other = (
        np.asarray(apply_steps(verb.before, rng.integers(0, 256, (8, 80, 90, 3)).astype(np.uint8)), np.float32)
        for _ in range(2)
    )
    return Data(
        verb=verb,
        about=f"{names[0]}, in the style of {names[1]}",
        train=TrainingArrays(rows, np.zeros(len(rows))),
        validation=None,
        test=None,
        rows=rows,
        feeds={
            "features": {"image": other},
            # The rest is what the features of the other pictures are.
            "gradient": {"image": image, "weights": np.array([[0.025, 1.0, 1e-4]] * 8, np.float32)},
        },
        baseline=1.0,
    )


def build(data: Data, params: Params) -> keras.Model:
    """The network with an output for each use of a layer, as large as it shall count in the sums of squares."""
    import keras

    base = bases.find_base(params["base"])
    network = base.build(params)
    outputs = {}
    for use, text, root in (
        ("content", params["content"] or base.content, 2),
        ("style", params["style"] or base.style, 4),
    ):
        layers = bases.chosen(text)
        maps = bases.outputs(network, list(layers)).output
        for name, factor in layers.items():
            scale = keras.layers.Rescaling(factor ** (1 / root), name=f"{use}_{name}")
            outputs[f"{use}_{name}"] = maps[name] if factor == 1 else scale(maps[name])
    return keras.Model(network.inputs[0], outputs)


def graphs(model: keras.Model) -> dict[str, keras.Model]:
    import keras

    from trainers.networks import gradient_graphs as gradients

    features = gradients.features(model)
    inputs = {name: keras.Input(tensor.shape[1:], name=name) for name, tensor in features.output.items()}
    inputs = {
        "image": keras.Input((None, None, 3), name="image"),
        **inputs,
        "weights": keras.Input((3,), name="weights"),
    }
    return {"gradient": gradients.model(inputs, gradients.style(model), model), "features": features}


def conclude(model: keras.Model, data: Data, params: Params) -> dict[str, float]:
    """How many times smaller the loss is after the first iteration than before it."""
    from bookserve.generation.transform import transform
    from trainers.engine.samples import runners

    verb = cast(Transform, data.verb)
    first = next(transform(verb, runners(graphs(model)), data.rows))
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
        "base": "vgg19",
        "weights": "imagenet",
        "content": "",  # of listing 8.17: block5_conv2
        "style": "",  # of listing 8.17: block1_conv1 to block5_conv1
        "height": 400,
        "content_weight": 0.025,
        "style_weight": 1.0,
        "total_variation_weight": 1e-4,
        "iterations": 20,
        "evaluations": 15,
    },
    sample={"base": "cats_dogs_convnet", "weights": "sample", "height": 96, "iterations": 3},
    data=data,
    build=build,
    graphs=graphs,
    conclude=conclude,
)
