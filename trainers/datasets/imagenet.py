"""Find weights of networks trained on ImageNet, as published by keras.applications, and the names of the classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from bookserve.environment import expand_home
from bookserve.errors import NotFound
from trainers.datasets.dataset import cached_file, find_user_file, report_unreadable, user_data_path

_SITE = "https://storage.googleapis.com/tensorflow/keras-applications/"
_LABELS = "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"


class _Weights(NamedTuple):
    """A file of weights: names that users' files have, and where it is published."""

    #: Pattern of file names under ``$BOOKSERVE_DATA/weights``; the part after ``!`` is a pattern of other files.
    pattern: str
    #: Place below the site, with the name in Keras's cache; empty: no permanent web address.
    place: str = ""
    #: MD5 checksum, if one is published.
    md5: str = ""


#: The weights of each network; those called ``notop`` are without the classifier.
_FILES = {
    "vgg16": _Weights(
        "vgg16*.h5!*no*top*",
        "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        "64373286793e3c8b2b4e3219cbf3544b",
    ),
    "vgg16_notop": _Weights(
        "vgg16*no*top*.h5",
        "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "6d6bbae143d832006294945121d1f1fc",
    ),
    "vgg19_notop": _Weights(
        "vgg19*no*top*.h5",
        "vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "253f8cb515780f3b799900260a226db6",
    ),
    "inception_v3_notop": _Weights(
        "inception*v3*no*top*.h5",
        "inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "bcbd6486424b2319ff4ef7d526e38f63",
    ),
    **{
        f"mobilenet_{alpha}_{size}": _Weights(
            f"mobilenet_{alpha}_{size}*.h5!*no*top*",
            f"mobilenet/mobilenet_{text}_{size}_tf.h5",
        )
        for alpha, text in ((0.25, "2_5"), (0.5, "5_0"), (0.75, "7_5"), (1.0, "1_0"))
        for size in (128, 160, 192, 224)
    },
    **{
        f"mobilenet_v2_{alpha}_{size}": _Weights(
            f"mobilenet_v2*{alpha}_{size}*.h5!*no*top*",
            f"mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{size}.h5",
        )
        for alpha in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
        for size in (96, 128, 160, 192, 224)
    },
    "squeezenet_notop": _Weights("squeezenet*no*top*.h5"),
}


def find_weights(network: str, weights: str) -> Path | None:
    """The file with the weights of ``network``.

    ``weights`` is ``imagenet`` (the file in ``$BOOKSERVE_DATA/weights`` with the network's name, or the published one,
    downloaded once if it has a permanent web address), ``none`` (None is returned: random weights, to try things out),
    or the path of a file.

    Raises:
        NotFound: the file does not exist, or could not be downloaded.
    """
    if weights == "none":
        return None
    if weights != "imagenet":
        path = expand_home(weights)
        if not path.is_file():
            raise NotFound(
                f"there is no file '{weights}' of weights.", "Give imagenet, none, or the path of an .h5 file."
            )
        return path
    found = _FILES.get(network)
    if not found:
        alike = [name for name in _FILES if name.startswith(network.partition("_")[0])]
        raise NotFound(
            f"no weights of {network} are published.", f"There are {', '.join(alike)}. Or give a file: -p weights=PATH"
        )
    wanted, _, unwanted = found.pattern.partition("!")
    found_path = find_user_file("weights", wanted, unwanted)
    if found_path:
        return found_path
    how = f"Or put a file {wanted} into the folder weights under BOOKSERVE_DATA, or give its path: -p weights=PATH."
    if not found.place:
        return user_data_path(f"weights/{wanted}", how.replace("Or put", "Put", 1))
    name, checksum = found.place.rpartition("/")[2], f"md5:{found.md5}" if found.md5 else None
    return cached_file(name, f"{_SITE}{found.place}", checksum, folder="models", hint=how)


def class_names() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes, such as ``African elephant``."""
    path = cached_file("imagenet_class_index.json", _LABELS, "md5:c2c37ea517e94d9795004a39431a14cb", folder="models")
    with report_unreadable(path):
        index: dict[str, tuple[str, str]] = json.loads(path.read_text("utf-8"))
        return tuple(index[str(number)][1].replace("_", " ") for number in range(1000))
