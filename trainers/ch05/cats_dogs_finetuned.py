"""Classify cats and dogs with VGG16, fine-tuned from its third block on: section 5.3.2, listings 5.22–5.23.

Expected: test accuracy 0.965 with ImageNet's weights; use a GPU. The book starts from the dense layers trained on the
frozen base, as `-p start=cats_dogs_frozen` does with the newest run of that task (TASK/TIME or a path gives another);
without it they start with random weights. `-p weights=FILE.h5` takes a local file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bookserve.errors import InvalidInput
from trainers.datasets.dataset import Kind
from trainers.preparation.cats_dogs import AUGMENTATION, photo_data
from trainers.task import Data, Params, Task

if TYPE_CHECKING:
    import keras


def data(kind: Kind, params: Params) -> Data:
    return photo_data(kind, params, AUGMENTATION)


def build(data: Data, params: Params) -> keras.Model:
    import keras
    from keras import layers

    from trainers.networks.vgg import build_vgg

    weights = "none" if params["start"] else params["weights"]
    network = build_vgg("vgg16", weights, (params["size"], params["size"]), params["width"])
    for layer in network.layers:
        layer.trainable = layer.name >= "block3"  # block3_conv1 and all that follow
    model = keras.Sequential(
        [
            keras.Input((params["size"], params["size"], 3), name="image"),
            network,
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    if params["start"]:
        _copy_weights(model, params["start"])
    model.compile(
        optimizer=keras.optimizers.RMSprop(params["learning_rate"]),
        loss="binary_crossentropy",
        metrics=["accuracy"],
    )
    return model


def _copy_weights(model: keras.Model, path: str) -> None:
    """Give ``model`` the weights of the Keras file ``path``, which holds a model of the same layers."""
    import keras

    try:
        model.set_weights(keras.saving.load_model(path, compile=False).get_weights())
    except Exception as error:  # Keras raises many types of errors for damaged files, and for other networks
        reason = str(error).partition("\n")[0]
        raise InvalidInput(
            f"{path} does not fit: {reason}.", "Give a run of cats_dogs_frozen of the same size, width and blocks."
        ) from error


TASK = Task(
    section="5.3.2",
    listings="5.22–5.23",
    summary="classifies photos as cat or dog with a fine-tuned VGG16",
    dataset="cats_dogs",
    verb="predict",
    book={"test_accuracy": 0.965},
    metric="test_accuracy",
    params={
        "epochs": 100,
        "batch_size": 20,
        "learning_rate": 1e-5,
        "steps_per_epoch": 100,
        "size": 150,
        "weights": "imagenet",
        "width": 1.0,
        "start": "",
    },
    sample={
        "epochs": 10,
        "learning_rate": 0.0002,
        "steps_per_epoch": 20,
        "size": 96,
        "weights": "none",
        "width": 0.125,
    },
    data=data,
    build=build,
    starts_from="cats_dogs_frozen",
)
