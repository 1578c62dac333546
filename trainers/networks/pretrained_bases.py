"""Bases: the networks to dream and to paint with, what they see, and which of their layers are good for what.

Layers are written ``name=number``, separated by commas; the number weighs the layer. Those of other networks than the
book's are chosen by looking at the pictures; their numbers also bring activations of other sizes to the book's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bookserve.errors import Failed, InvalidInput, NotFound
from bookserve.steps import AddImageNetMeans, ImageNetMeans, Pixels, Scale, Step
from trainers.datasets import imagenet as weights
from trainers.task import Params

if TYPE_CHECKING:
    import keras


class Base(NamedTuple):
    """One network."""

    #: From pixels to what it sees, and back; half the range of that.
    before: tuple[Step, ...]
    after: tuple[Step, ...]
    unit: float
    #: Layers to dream with, to keep the content by and to take the style from.
    dream: str
    content: str
    style: str
    #: The network for pictures of any size, with its weights.
    build: Callable[[Params], keras.Model]


def find_base(name: str) -> Base:
    """The base called ``name``.

    Raises:
        NotFound: there is none.
    """
    if name not in BASES:
        raise NotFound(f"there is no base '{name}'.", f"There are {', '.join(BASES)}.")
    return BASES[name]


def parse_layers(text: str) -> dict[str, float]:
    """``mixed2=0.2,mixed3=3`` → the layers with their numbers; without a number it is 1.

    Raises:
        InvalidInput: no layer, or something else than a number.
    """
    found = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = item.partition("=")
        try:
            found[name] = float(number or 1)
        except ValueError:
            raise InvalidInput(f"'{item}' is no layer with a number.", "Write them like mixed2=0.2,mixed3=3") from None
    if not found:
        raise InvalidInput("no layers are named.", "Write them like mixed2=0.2,mixed3=3")
    return found


def select_outputs(base: keras.Model, names: list[str]) -> keras.Model:
    """The network with these layers as its outputs, by name.

    Raises:
        NotFound: it has no such layer.
    """
    import keras

    known = [layer.name for layer in base.layers[1:]]
    for name in names:
        if name not in known:
            raise NotFound(f"the base has no layer '{name}'.", f"It has {', '.join(known)}.")
    return keras.Model(base.inputs[0], {name: base.get_layer(name).output for name in names})


def _inception(params: Params) -> keras.Model:
    import keras

    path = weights.find_weights("inception_v3_notop", params["weights"])
    image = keras.Input((None, None, 3), name="image")
    return keras.applications.InceptionV3(weights=path and str(path), include_top=False, input_tensor=image)


def _vgg(network: str) -> Callable[[Params], keras.Model]:
    def build(params: Params) -> keras.Model:
        from trainers.networks.vgg import build_vgg

        return build_vgg(network, params["weights"], (None, None), params.get("width", 1.0))

    return build


def _squeezenet(params: Params) -> keras.Model:
    from trainers.networks.squeezenet import build_squeezenet

    return build_squeezenet(params["weights"])


def _cats_dogs_convnet(params: Params) -> keras.Model:
    """The convolutions of ``cats_dogs_convnet``: ``weights`` are the path of its ``model.keras`` or run, ``none``, or
    ``sample``: they are learned here and now from drawn heads, which takes seconds."""
    import keras

    from trainers import catalogue, training

    task, given = catalogue.find_task("cats_dogs_convnet"), params["weights"]
    if given == "imagenet":
        raise NotFound("cats_dogs_convnet has no weights of ImageNet.", "Use -p weights=sample, none, or its run.")
    if given == "none":
        settings = task.defaults("sample")
        whole = task.build(task.data("sample", settings), settings)
    elif given == "sample":
        with tempfile.TemporaryDirectory() as runs:
            settings = task.defaults("sample") | {"data": "sample"}
            run = training.start_training(
                task, "sample", settings, seed=0, runs=Path(runs), say=lambda _: None, bar=False
            )
            whole = keras.saving.load_model(run.path / "model.keras", compile=False)
    else:
        path = Path(given).expanduser()
        path = path / "model.keras" if path.is_dir() else path
        if not path.is_file():
            raise NotFound(f"there is no file '{path}'.", "Give the model.keras of a run of cats_dogs_convnet.")
        try:
            whole = keras.saving.load_model(path, compile=False)
        except Exception as error:  # Keras raises many kinds for a damaged file
            raise Failed(f"{path} cannot be loaded: {error}.", "Train it again.") from error
    # Convolutions take pictures of any size; the dense layers behind them do not.
    image = x = keras.Input((None, None, 3), name="image")
    for number, layer in enumerate(whole.layers):
        if isinstance(layer, keras.layers.Flatten):
            break
        kind = "conv" if layer.weights else "pool"
        copy = type(layer).from_config({**layer.get_config(), "name": f"{kind}{number // 2 + 1}"})
        x = copy(x)
        copy.set_weights(layer.get_weights())
    return keras.Model(image, x, name="pets")


_VGG_STYLE = "block1_conv1,block2_conv1,block3_conv1,block4_conv1,block5_conv1"

#: The book's InceptionV3 (listing 8.9) and VGG19 (listing 8.17), and what else is at hand.
BASES = {
    "inception_v3": Base(
        before=(Scale(2 / 255, -1),),
        after=(Pixels(-1, 1),),
        unit=1.0,
        dream="mixed2=0.2,mixed3=3,mixed4=2,mixed5=1.5",
        content="mixed5",
        style="mixed0,mixed1,mixed2,mixed3",
        build=_inception,
    ),
    "vgg16": Base(
        before=(ImageNetMeans(),),
        after=(AddImageNetMeans(),),
        unit=127.5,
        dream="block3_conv3=1e-5,block4_conv3=1e-5,block5_conv3=1e-3",
        content="block5_conv2",
        style=_VGG_STYLE,
        build=_vgg("vgg16"),
    ),
    "vgg19": Base(
        before=(ImageNetMeans(),),
        after=(AddImageNetMeans(),),
        unit=127.5,
        dream="block3_conv4=1e-5,block4_conv4=1e-5,block5_conv4=1e-3",
        content="block5_conv2",
        style=_VGG_STYLE,
        build=_vgg("vgg19"),
    ),
    "squeezenet": Base(
        before=(ImageNetMeans(),),
        after=(AddImageNetMeans(),),
        unit=127.5,
        dream="fire5=1e-5,fire7=2e-5,fire8=5e-5",
        content="fire6=0.003",
        style="conv1,fire2,fire3,fire4=4,fire5=16",
        build=_squeezenet,
    ),
    "cats_dogs_convnet": Base(
        before=(Scale(1 / 255),),
        after=(Pixels(),),
        unit=0.5,
        dream="conv2,conv3,conv4",
        content="conv4",
        style="conv1,conv2,conv3",
        build=_cats_dogs_convnet,
    ),
}
