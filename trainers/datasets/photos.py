"""Load a few photos to try networks on, and for DeepDream and style transfer.

The real ones are the book's elephants and the pictures of chapter 8; the sample is scikit-learn's two photos of a
Chinese temple and of a flower.
"""

from __future__ import annotations

import numpy as np

from bookserve import images
from trainers.datasets.dataset import Kind, report_unreadable, user_data_path

_HOW = "Put creative_commons_elephant.jpg, portrait.jpg and starry_night.jpg into the folder images there."
_NAMES = {
    "elephants": ("creative_commons_elephant.jpg",),
    "portrait": ("portrait.jpg", "portrait_mona_lisa.jpg"),
    "starry night": ("starry_night.jpg",),
}


def load(kind: Kind) -> dict[str, np.ndarray]:
    """Pictures uint8 [height, width, 3] by name; tasks with one picture use the first."""
    return _real() if kind == "real" else _sample()


def _real() -> dict[str, np.ndarray]:
    folder = user_data_path("images", _HOW)
    shown = {}
    for name, files in _NAMES.items():
        path = next((folder / file for file in files if (folder / file).exists()), folder / files[0])
        with report_unreadable(path):
            shown[name] = images.decode_image(path.read_bytes())
    return shown


def _sample() -> dict[str, np.ndarray]:
    from sklearn.datasets import load_sample_image

    return {"china": load_sample_image("china.jpg"), "flower": load_sample_image("flower.jpg")}
