"""Load MNIST: 60,000 handwritten digits to train and 10,000 to test, 28×28 pixels, white on black.

The sample is scikit-learn's ``load_digits`` (1,797 real handwritten digits of 8×8 pixels), enlarged and centred
as MNIST's are.
Source: http://yann.lecun.com/exdb/mnist (LeCun, Cortes), as published by Keras.
"""

from __future__ import annotations

import numpy as np

from bookserve import digits
from trainers.datasets.dataset import KERAS_DATASETS_URL, DataSet, Kind, Split, cached_file, report_unreadable

_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"


def load(kind: Kind) -> DataSet:
    """Pictures uint8 [n, 28, 28] and labels int64 [n]."""
    return _real() if kind == "real" else _sample()


def _real() -> DataSet:
    path = cached_file("mnist.npz", f"{KERAS_DATASETS_URL}mnist.npz", _SHA256)
    with report_unreadable(path), np.load(path, allow_pickle=False) as arrays:
        train, test = ((arrays[f"x_{part}"], arrays[f"y_{part}"].astype(np.int64)) for part in ("train", "test"))
    return DataSet("MNIST: 60,000 handwritten digits, and 10,000 to test", Split(*train), Split(*test), test[0][:16])


def scikit_learn_digits() -> Split:
    """scikit-learn's 1,797 handwritten digits, which fill their pictures: uint8 [n, 8, 8], and labels int64 [n]."""
    from sklearn.datasets import load_digits

    small = load_digits()
    return Split(np.rint(small.images * (255 / 16)).astype(np.uint8), small.target.astype(np.int64))


def _sample() -> DataSet:
    from PIL import Image

    small = scikit_learn_digits()
    large = (Image.fromarray(row).resize((80, 80), Image.Resampling.BICUBIC) for row in small.rows)
    rows = np.stack([digits.box_and_centre(np.asarray(picture)) for picture in large])
    order = np.random.default_rng(0).permutation(len(rows))
    labels = small.labels
    train, test = order[360:], order[:360]
    about = "scikit-learn's handwritten digits enlarged from 8×8: 1,437, and 360 to test"
    return DataSet(about, Split(rows[train], labels[train]), Split(rows[test], labels[test]), rows[test[:16]])
