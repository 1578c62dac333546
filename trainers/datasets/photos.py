"""Photos: a few pictures to try networks on, and to dream from.

Real are the book's elephants and the paintings of chapter 8; the sample is scikit-learn's two photos of China and of a
flower.
"""

from __future__ import annotations

import numpy as np

from bookserve import images as pictures
from trainers.datasets.source import Kind, given_folder, reading

_HOW = "Put creative_commons_elephant.jpg, portrait.jpg and starry_night.jpg into the folder images there."
_NAMES = {
    "elephants": ("creative_commons_elephant.jpg",),
    "portrait": ("portrait.jpg", "portrait_mona_lisa.jpg"),
    "starry night": ("starry_night.jpg",),
}


def load(kind: Kind) -> dict[str, np.ndarray]:
    """Pictures uint8 [height, width, 3] by name, the one to look at first."""
    return _real() if kind == "real" else _sample()


def _real() -> dict[str, np.ndarray]:
    folder = given_folder("images", _HOW)
    shown = {}
    for name, files in _NAMES.items():
        path = next((folder / file for file in files if (folder / file).exists()), folder / files[0])
        with reading(path):
            shown[name] = pictures.decode_image(path.read_bytes())
    return shown


def _sample() -> dict[str, np.ndarray]:
    from sklearn.datasets import load_sample_image

    return {"china": load_sample_image("china.jpg"), "flower": load_sample_image("flower.jpg")}
