"""Find weights of networks trained on ImageNet, as published by keras.applications, and the names of the classes."""

from __future__ import annotations

import json
from pathlib import Path

from bookserve.errors import NotFound
from trainers.datasets.dataset import cached_file, report_unreadable, user_data_path

_SITE = "https://storage.googleapis.com/tensorflow/keras-applications/"
_LABELS = "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"

#: File and MD5 checksum of each network; those called ``notop`` are without the classifier.
_FILES = {
    "vgg16": ("vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5", "64373286793e3c8b2b4e3219cbf3544b"),
    "vgg16_notop": ("vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "6d6bbae143d832006294945121d1f1fc"),
    "vgg19_notop": ("vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5", "253f8cb515780f3b799900260a226db6"),
    "inception_v3_notop": (
        "inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "bcbd6486424b2319ff4ef7d526e38f63",
    ),
}

#: Networks whose weights have no permanent web address; users put them into ``$BOOKSERVE_DATA/weights``.
_MANUAL = {"squeezenet_notop": "squeezenet_v1.1_weights_tf_dim_ordering_tf_kernels_notop.h5"}


def find_weights(network: str, weights: str) -> Path | None:
    """The file with the weights of ``network``.

    ``weights`` is ``imagenet`` (the published file, downloaded once if it has a permanent web address), ``none`` (None
    is returned: random weights, to try things out), or the path of a file.

    Raises:
        NotFound: the file does not exist, or could not be downloaded.
    """
    if weights == "none":
        return None
    if weights != "imagenet":
        path = Path(weights).expanduser()
        if not path.is_file():
            raise NotFound(
                f"there is no file '{weights}' of weights.", "Give imagenet, none, or the path of an .h5 file."
            )
        return path
    if network in _MANUAL:
        how = "Put the .h5 file there (it comes with keras-squeezenet), or give its path: -p weights=PATH"
        return user_data_path(f"weights/{_MANUAL[network]}", how)
    place, md5 = _FILES[network]
    return cached_file(place.rpartition("/")[2], f"{_SITE}{place}", f"md5:{md5}", folder="models")


def class_names() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes, such as ``African elephant``."""
    path = cached_file("imagenet_class_index.json", _LABELS, "md5:c2c37ea517e94d9795004a39431a14cb", folder="models")
    with report_unreadable(path):
        index: dict[str, tuple[str, str]] = json.loads(path.read_text("utf-8"))
        return tuple(index[str(number)][1].replace("_", " ") for number in range(1000))
