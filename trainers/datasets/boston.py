"""Load Boston Housing: 506 suburbs of the 1970s, each with thirteen features and the median price of its houses.

The column B was computed from the share of Black residents, on the assumption that segregation raises prices. Learn
from the book's example, but do not use such a model for real prices. The sample is generated.
Source: Harrison and Rubinfeld 1978, as published by Keras.
"""

from __future__ import annotations

import numpy as np

from trainers.datasets.dataset import KERAS_DATASETS_URL, DataSet, Kind, Split, cached_file, report_unreadable

_SHA256 = "f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5"

#: Crime rate, large lots, industry, at the river, nitric oxides, rooms, age, distance to work, highways, tax, pupils
#: per teacher, B (see above), lower status.
FEATURES = ("CRIM", "ZN", "INDUS", "CHAS", "NOX", "RM", "AGE", "DIS", "RAD", "TAX", "PTRATIO", "B", "LSTAT")
#: The unit or meaning of each of ``FEATURES``.
UNITS = (
    "crime rate per person",
    "% of land for large lots",
    "% of industrial land",
    "1 if at the river, else 0",
    "nitric oxides, parts per 10 million",
    "rooms per dwelling",
    "% of houses built before 1940",
    "weighted distance to work, miles",
    "index of access to highways",
    "tax, dollars per 10,000",
    "pupils per teacher",
    "1000 (share of Black residents - 0.63)²",
    "% of lower status",
)


def load(kind: Kind) -> DataSet:
    """Rows float64 [n, 13] with columns ``FEATURES``, and labels float64 [n]: prices in thousands of dollars."""
    return _real() if kind == "real" else _sample()


def _real() -> DataSet:
    path = cached_file("boston_housing.npz", f"{KERAS_DATASETS_URL}boston_housing.npz", _SHA256)
    with report_unreadable(path), np.load(path, allow_pickle=False) as arrays:
        rows, prices = arrays["x"].astype(np.float64), arrays["y"].astype(np.float64)
    order = np.arange(len(rows))
    np.random.RandomState(113).shuffle(order)  # as Keras does: shuffle all rows; the last fifth is for testing
    return _split("Boston: 404 suburbs, and 102 to test", rows[order], prices[order])


def _sample() -> DataSet:
    """Features of realistic size; the price rises with rooms, and falls with low status, pupils and crime."""
    rng = np.random.default_rng(0)
    centre = np.array([3.6, 11, 11, 0.07, 0.55, 6.3, 68, 3.8, 9.5, 408, 18.5, 380, 12.6])
    spread = np.array([3, 12, 6.8, 0.1, 0.11, 0.7, 28, 2.1, 8.7, 168, 2.2, 20, 7])
    common = rng.normal(size=(500, 1))  # makes the features correlate, as real ones do
    lean = np.array([1, -0.6, 0.8, 0, 0.8, -0.6, 0.6, -0.7, 0.8, 0.8, 0.5, 0, 1])
    figures = centre + spread * (0.6 * common * lean + 0.8 * rng.normal(size=(500, 13)))
    rows = np.maximum(figures, 0)
    z = (rows - centre) / spread
    prices = (
        22 + 5 * z[:, 5] - 4 * z[:, 12] - 2 * z[:, 10] - 1.5 * z[:, 0] + 1.5 * z[:, 5] ** 2 + rng.normal(0, 1.5, 500)
    )
    return _split("400 generated suburbs, and 100 to test", rows, np.clip(prices, 5, 50))


def _split(about: str, rows: np.ndarray, prices: np.ndarray) -> DataSet:
    cut = int(len(rows) * 0.8)
    return DataSet(about, Split(rows[:cut], prices[:cut]), Split(rows[cut:], prices[cut:]), rows[cut : cut + 16])
