"""Concepts: directions of a latent space along which pictures change in one respect (section 8.4.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bookserve.errors import InvalidInput, NotFound
from bookserve.generation import latent
from bookserve.steps import Rows, apply_steps
from bookserve.verb import Sample, verb_name
from trainers.inspect.source import Source

if TYPE_CHECKING:
    import keras

#: Pictures → points float32 [n, dimensions], and points → pictures uint8 [n, height, width, channels].
Encode = Callable[[Rows], np.ndarray]
Decode = Callable[[np.ndarray], np.ndarray]

BATCH = 256
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


def concept(encode: Encode, rows_with: Rows, rows_without: Rows) -> np.ndarray:
    """The vector [dimensions] from the mean point of pictures without something to that of pictures with it.

    Raises:
        InvalidInput: one of them has no picture.
    """
    if not len(rows_with) or not len(rows_without):
        raise InvalidInput("a concept needs pictures with it and pictures without it.")
    return latent.concept_vector(encode(rows_with), encode(rows_without))


def along(encode: Encode, decode: Decode, rows: Rows, vector: np.ndarray, amounts: Sequence[float]) -> np.ndarray:
    """Every picture of ``rows``, decoded after moving by each of ``amounts`` times ``vector``.

    uint8 [rows, amounts, height, width, channels].
    """
    decoded = decode(latent.move_points(encode(rows), vector, amounts))
    return decoded.reshape(len(rows), len(amounts), *decoded.shape[1:])


def coders(source: Source) -> tuple[Encode, Decode]:
    """The encoder and the decoder of a model whose verb is ``sample``, with its Steps.

    The encoder's first output is the point.

    Raises:
        InvalidInput: another verb, or no encoder.
    """
    verb = source.verb
    if not isinstance(verb, Sample) or not verb.encode:
        raise InvalidInput(
            f"{source.name} cannot encode pictures: it does {verb_name(verb)}.", "Give an autoencoder's run: mnist_vae."
        )
    encoder, decoder = source.graphs[verb.encode], source.graphs[verb.decode]

    def encode(rows: Rows) -> np.ndarray:
        return _run(encoder, source.encode(rows))

    def decode(points: np.ndarray) -> np.ndarray:
        return np.asarray(apply_steps(verb.after, _run(decoder, points)))

    return encode, decode


def chosen(source: Source, wanted: str) -> Rows:
    """The pictures that ``wanted`` means: the files of a folder, or those of a label in the test rows of its data set.

    Raises:
        NotFound: neither; the hint names the labels.
    """
    folder = Path(wanted)
    if folder.is_dir():
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if not files:
            raise NotFound(f"there is no picture in {folder}.", f"Known are {', '.join(SUFFIXES)}.")
        return [path.read_bytes() for path in files]
    rows, labels = _test_rows(source)
    known = sorted({str(label) for label in labels})
    if wanted not in known:
        raise NotFound(
            f"'{wanted}' is neither a folder nor a label of what {source.name} was trained on.",
            f"Its labels are {', '.join(known)}." if known else "Give two folders of pictures.",
        )
    return np.asarray(rows)[[str(label) == wanted for label in labels]]


def _test_rows(source: Source) -> tuple[Rows, Sequence[Any]]:
    import importlib

    from trainers import catalogue

    data = importlib.import_module(f"trainers.datasets.{catalogue.find_task(source.origin.task).dataset}")
    test = getattr(data.load(source.origin.data), "test", None)
    return ([], []) if test is None else (test.rows, test.labels)


def _run(model: keras.Model, rows: np.ndarray) -> np.ndarray:
    """The first output of ``model`` for ``rows``, in batches."""
    import keras

    parts = []
    for start in range(0, len(rows), BATCH):
        outputs = model(keras.tree.pack_sequence_as(model.input, [rows[start : start + BATCH]]), training=False)
        first = next(iter(outputs.values())) if isinstance(outputs, dict) else outputs
        parts.append(keras.ops.convert_to_numpy(first))
    return np.concatenate(parts)
