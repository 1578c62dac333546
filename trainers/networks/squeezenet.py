# ruff: noqa: TID253 - imported only inside functions of the command line
"""Build SqueezeNet 1.1 without its classifier: with 722,496 parameters, DeepDream and style transfer are fast on a CPU.

Its input is pixels in the order blue, green, red, minus ImageNet's means, as for VGG.
Source: Iandola et al. 2016, arXiv 1602.07360, version 1.1.
"""

from __future__ import annotations

import keras
from keras import layers

from bookserve.errors import Failed
from trainers.datasets import imagenet

#: Channels of the squeeze convolution and of each expand convolution, by fire module; pooling follows modules 3 and 5.
_FIRES = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128), 6: (48, 192), 7: (48, 192), 8: (64, 256), 9: (64, 256)}
_POOLED = (3, 5)


def build_squeezenet(weights: str) -> keras.Model:
    """The network without its classifier, for pictures [batch, height, width, 3] of any size.

    Its layers are ``conv1``, ``pool1``, ``fire2`` … ``fire9``, ``pool3`` and ``pool5``. ``weights`` is ``imagenet``,
    ``none`` or a path (``trainers/datasets/imagenet.py``).

    Raises:
        Failed: the file has the weights of another network.
    """
    path = imagenet.find_weights("squeezenet_notop", weights)
    image = keras.Input((None, None, 3), name="image")
    x = layers.Conv2D(64, 3, strides=2, activation="relu", kernel_initializer="he_normal", name="conv1")(image)
    x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    for number, (squeezed, expanded) in _FIRES.items():
        x = _fire(x, f"fire{number}", squeezed, expanded)
        if number in _POOLED:
            x = layers.MaxPooling2D(3, strides=2, name=f"pool{number}")(x)
    model = keras.Model(image, x, name="squeezenet")
    if path:
        try:
            model.load_weights(path)
        except Exception as error:  # h5py and Keras raise many types of errors
            raise Failed(
                f"{path} does not have the weights of SqueezeNet 1.1 without top: {error}.", "Give another file."
            ) from error
    return model


def _fire(x: keras.KerasTensor, name: str, squeezed: int, expanded: int) -> keras.KerasTensor:
    def conv(tensor: keras.KerasTensor, filters: int, size: int, kind: str) -> keras.KerasTensor:
        layer = layers.Conv2D(
            filters,
            size,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"{name}_{kind}{size}x{size}",
        )
        return layer(tensor)

    x = conv(x, squeezed, 1, "squeeze")
    return layers.Concatenate(name=name)([conv(x, expanded, 1, "expand"), conv(x, expanded, 3, "expand")])
