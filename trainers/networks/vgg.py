# ruff: noqa: TID253 - imported only inside functions of the command line
"""Build the convolutional base of VGG16 or VGG19, with ImageNet's weights or with random ones (section 5.3)."""

from __future__ import annotations

import keras
from keras import layers

from trainers.datasets import imagenet
from trainers.networks.convolution_weights import load_convolutions

#: The number of convolutions in each of the five blocks.
_BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}


def build_vgg(
    network: str, weights: str, size: tuple[int | None, int | None], width: float = 1.0, blocks: int = 5
) -> keras.Model:
    """The base of ``vgg16`` or ``vgg19`` for pictures [batch, *size, 3], with the layer names of keras.applications.

    ``weights`` is ``imagenet``, ``none`` or a path (``trainers/datasets/imagenet.py``). With a smaller ``width`` or
    fewer ``blocks``, only random weights fit. Random weights are the same every time, since features are computed with
    one copy of the base and served with another.

    Raises:
        Failed: the file has the weights of another network.
    """
    path = imagenet.find_weights(f"{network}_notop", weights)
    image = keras.Input((*size, 3), name="image")
    x, seed = image, 0
    for block, count in enumerate(_BLOCKS[network][:blocks], 1):
        filters = max(1, round(min(64 * 2 ** (block - 1), 512) * width))
        for number in range(1, count + 1):
            seed += 1
            # He initialisation keeps the activations from vanishing in so many ReLU layers.
            start = keras.initializers.HeNormal(seed=seed)
            name = f"block{block}_conv{number}"
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer=start, name=name)(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    model = keras.Model(image, x, name=network)
    if path:
        load_convolutions(model, path)
    return model
