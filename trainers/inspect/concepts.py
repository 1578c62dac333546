"""Find concept vectors: directions in a latent space along which one property of pictures changes (section 8.4.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bookserve.errors import InvalidInput, NotFound
from bookserve.generation import latent
from bookserve.steps import Rows, apply_steps
from bookserve.verb import Sample, verb_name
from trainers.inspect.trained_model import TrainedModel

if TYPE_CHECKING:
    import keras

#: Pictures → latent points float32 [n, dimensions], and latent points → pictures uint8 [n, height, width, channels].
EncodePictures = Callable[[Rows], np.ndarray]
DecodePoints = Callable[[np.ndarray], np.ndarray]

BATCH = 256
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


def concept_vector(encode: EncodePictures, rows_with: Rows, rows_without: Rows) -> np.ndarray:
    """The vector [dimensions] from the mean latent point of ``rows_without`` to that of ``rows_with``.

    Raises:
        InvalidInput: one of the two sets has no picture.
    """
    if not len(rows_with) or not len(rows_without):
        raise InvalidInput("a concept needs pictures with it and pictures without it, but one set is empty.")
    return latent.concept_vector(encode(rows_with), encode(rows_without))


def move_along(
    encode: EncodePictures, decode: DecodePoints, rows: Rows, vector: np.ndarray, amounts: Sequence[float]
) -> np.ndarray:
    """Move every picture of ``rows`` by each of ``amounts`` times ``vector`` in latent space, and decode it.

    Returns uint8 [rows, amounts, height, width, channels].
    """
    decoded = decode(latent.move_points(encode(rows), vector, amounts))
    return decoded.reshape(len(rows), len(amounts), *decoded.shape[1:])


def encoder_and_decoder(model: TrainedModel) -> tuple[EncodePictures, DecodePoints]:
    """The encoder and the decoder of a model whose verb is ``sample``, including its Steps.

    The encoder's first output is the latent point.

    Raises:
        InvalidInput: the model has another verb, or no encoder.
    """
    verb = model.verb
    if not isinstance(verb, Sample) or not verb.encode:
        raise InvalidInput(
            f"{model.name} has no encoder: its verb is {verb_name(verb)}.", "Give an autoencoder's run: mnist_vae."
        )
    encoder, decoder = model.graphs[verb.encode], model.graphs[verb.decode]

    def encode(rows: Rows) -> np.ndarray:
        return _run_in_batches(encoder, model.encode_pictures(rows))

    def decode(points: np.ndarray) -> np.ndarray:
        return np.asarray(apply_steps(verb.after, _run_in_batches(decoder, points)))

    return encode, decode


def find_pictures(model: TrainedModel, wanted: str) -> Rows:
    """The pictures in the folder ``wanted``, or the test rows with the label ``wanted`` in the model's data set.

    Raises:
        NotFound: there is no such folder or label, or the folder has no pictures; the hint lists the labels.
    """
    folder = Path(wanted)
    if folder.is_dir():
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if not files:
            raise NotFound(f"there is no picture in {folder}.", f"Known file types are {', '.join(SUFFIXES)}.")
        return [path.read_bytes() for path in files]
    rows, labels = _test_rows(model)
    known = sorted({str(label) for label in labels})
    if wanted not in known:
        raise NotFound(
            f"'{wanted}' is neither a folder nor a label of the data set that {model.name} was trained on.",
            f"Its labels are {', '.join(known)}." if known else "Give two folders of pictures.",
        )
    return np.asarray(rows)[[str(label) == wanted for label in labels]]


def _test_rows(model: TrainedModel) -> tuple[Rows, Sequence[Any]]:
    import importlib

    from trainers import catalogue

    data = importlib.import_module(f"trainers.datasets.{catalogue.find_task(model.origin.task).dataset}")
    test = getattr(data.load(model.origin.data), "test", None)
    return ([], []) if test is None else (test.rows, test.labels)


def _run_in_batches(network: keras.Model, rows: np.ndarray) -> np.ndarray:
    """The first output of ``network`` for ``rows``, computed in batches."""
    import keras

    parts = []
    for start in range(0, len(rows), BATCH):
        outputs = network(keras.tree.pack_sequence_as(network.input, [rows[start : start + BATCH]]), training=False)
        first = next(iter(outputs.values())) if isinstance(outputs, dict) else outputs
        parts.append(keras.ops.convert_to_numpy(first))
    return np.concatenate(parts)
