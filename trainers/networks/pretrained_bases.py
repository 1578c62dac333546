"""List the networks for DeepDream and style transfer, with their preprocessing and their best layers for each use.

Layers are written ``name=number``, separated by commas; the number is the layer's weight. For networks that the book
does not use, layers were chosen by looking at the pictures; their weights also adjust for larger activations.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bookserve.environment import expand_home
from bookserve.errors import Failed, InvalidInput, NotFound
from bookserve.steps import AddImageNetMeans, ImageNetMeans, Pixels, Scale, Step
from trainers.datasets import imagenet
from trainers.task import Params

if TYPE_CHECKING:
    import keras


class Base(NamedTuple):
    """One network, its preprocessing and its layers."""

    #: The Steps from pixels to the network's input, and back; ``unit`` is half the range of the input.
    before: tuple[Step, ...]
    after: tuple[Step, ...]
    unit: float
    #: The layers for DeepDream, for the content loss and for the style loss.
    dream: str
    content: str
    style: str
    #: Builds the network for pictures of any size, with its weights.
    build: Callable[[Params], keras.Model]


def find_base(name: str) -> Base:
    """The base network called ``name``.

    Raises:
        NotFound: there is no such base.
    """
    if name not in BASES:
        raise NotFound(f"there is no base network '{name}'.", f"Choose one of {', '.join(BASES)}.")
    return BASES[name]


def parse_layers(text: str) -> dict[str, float]:
    """``mixed2=0.2,mixed3=3`` → the layers with their weights; the default weight is 1.

    Raises:
        InvalidInput: there is no layer, or a weight is not a number.
    """
    found = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = item.partition("=")
        try:
            found[name] = float(number or 1)
        except ValueError:
            raise InvalidInput(
                f"'{item}' is not a layer with a number.", "Write layers like mixed2=0.2,mixed3=3"
            ) from None
    if not found:
        raise InvalidInput("no layers are given.", "Write layers like mixed2=0.2,mixed3=3")
    return found


def select_outputs(base: keras.Model, names: list[str]) -> keras.Model:
    """``base`` with the layers ``names`` as its outputs, by name.

    Raises:
        NotFound: the network has no such layer.
    """
    import keras

    known = [layer.name for layer in base.layers[1:]]
    for name in names:
        if name not in known:
            raise NotFound(f"the base network has no layer '{name}'.", f"It has {', '.join(known)}.")
    return keras.Model(base.inputs[0], {name: base.get_layer(name).output for name in names})


def _inception(params: Params) -> keras.Model:
    import keras

    path = imagenet.find_weights("inception_v3_notop", params["weights"])
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
    """The convolutional layers of ``cats_dogs_convnet``.

    ``weights`` is the path of its run or ``model.keras``; ``none`` for random weights; or ``sample``, which trains it
    now on drawn heads of cats and dogs, in a few seconds.
    """
    import keras

    from trainers import catalogue, training

    task, weights = catalogue.find_task("cats_dogs_convnet"), params["weights"]
    if weights == "imagenet":
        raise NotFound(
            "cats_dogs_convnet has no weights of ImageNet.", "Give -p weights=sample, none, or the path of its run."
        )
    if weights == "none":
        settings = task.defaults("sample")
        whole = task.build(task.data("sample", settings), settings)
    elif weights == "sample":
        with tempfile.TemporaryDirectory() as runs:
            settings = task.defaults("sample") | {"data": "sample"}
            run = training.start_training(
                task, "sample", settings, seed=0, runs=Path(runs), report=lambda _: None, progress_bar=False
            )
            whole = keras.saving.load_model(run.path / "model.keras", compile=False)
    else:
        path = expand_home(weights)
        path = path / "model.keras" if path.is_dir() else path
        if not path.is_file():
            raise NotFound(f"there is no file '{path}'.", "Give the path of a run of cats_dogs_convnet.")
        try:
            whole = keras.saving.load_model(path, compile=False)
        except Exception as error:  # Keras raises many types of errors for damaged files
            raise Failed(f"{path} cannot be loaded: {error}.", "Train it again.") from error
    # Convolutions take pictures of any size; the dense layers after them do not, so they are left out.
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

#: The book's InceptionV3 (listing 8.9) and VGG19 (listing 8.17), and further networks.
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
