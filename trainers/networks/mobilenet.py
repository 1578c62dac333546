# ruff: noqa: TID253 - imported only inside functions of the command line
"""Build MobileNet or MobileNetV2 with the classifier of ImageNet's 1,000 classes.

Sources: Howard et al. 2017, arXiv 1704.04861; Sandler et al. 2018, arXiv 1801.04381.
"""

from __future__ import annotations

import keras

from bookserve.errors import Failed, NotFound
from trainers.datasets import imagenet

#: Moving means of the normalisation follow new batches this slowly; with Keras's 0.999, a short training on the sample
#: would leave them where they began. Published weights include them.
_MOMENTUM = 0.9


def build_mobilenet(network: str, alpha: float, size: int, weights: str) -> keras.Model:
    """``mobilenet`` or ``mobilenet_v2`` for pictures [batch, size, size, 3] with values from -1 to 1.

    ``alpha`` multiplies the numbers of channels. ``weights`` is ``imagenet``, ``none`` or a path
    (``trainers/datasets/imagenet.py``).

    Raises:
        NotFound: there is no such network, or no weights of this size are published.
        Failed: the file has the weights of another network.
    """
    if network not in _NETWORKS:
        raise NotFound(f"there is no network '{network}'.", f"Choose one of {', '.join(_NETWORKS)}.")
    path = imagenet.find_weights(f"{network}_{alpha}_{size}", weights)
    model = _NETWORKS[network](input_tensor=keras.Input((size, size, 3), name="image"), alpha=alpha, weights=None)
    if path:
        try:
            model.load_weights(path)
        except Exception as error:  # h5py and Keras raise many types of errors
            raise Failed(
                f"{path} does not have the weights of {network} with alpha {alpha}: {error}.", "Give another file."
            ) from error
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = _MOMENTUM
    return model


_NETWORKS = {"mobilenet": keras.applications.MobileNet, "mobilenet_v2": keras.applications.MobileNetV2}
