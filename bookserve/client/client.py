"""Client: the same calls over any wire. ``bookserve/client/connect.py`` chooses the wire by the address.

Every call raises the errors of ``bookserve/errors.py``: NotFound, InvalidInput, NotReady (nobody answers), Overloaded
and Failed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple, Protocol

import numpy as np

from bookserve.api.requests import (
    ExplainRequest,
    GenerateRequest,
    PredictRequest,
    SampleRequest,
    TransformRequest,
    validate_request,
)
from bookserve.errors import InvalidInput
from bookserve.generation.explain import Explanation, Layer
from bookserve.generation.text import Piece, join_texts
from bookserve.generation.transform import Progress
from bookserve.verb import Answer


class Samples(NamedTuple):
    """Pictures, uint8 [n, height, width, channels], and the points they were made from, float32 [n, dimensions]."""

    latent: np.ndarray
    images: np.ndarray


#: Called with what has happened to a picture that is being changed; what it raises stops the work.
OnProgress = Callable[[Progress], None]


class Wire(Protocol):
    """One way to reach models; requests have been checked when they come here."""

    def models(self) -> list[dict[str, Any]]:
        """See ``Client.models``."""

    def predict(self, model: str, request: PredictRequest) -> list[Answer]:
        """See ``Client.predict``."""

    def generate(self, model: str, request: GenerateRequest) -> Generator[Piece]:
        """See ``Client.pieces``; a piece may be empty."""

    def sample(self, model: str, request: SampleRequest) -> Samples:
        """See ``Client.sample``."""

    def transform(self, request: TransformRequest, tell: OnProgress) -> np.ndarray:
        """See ``Client.transform``."""

    def explain(self, model: str, request: ExplainRequest) -> Explanation:
        """See ``Client.explain``."""

    def activations(self, model: str, request: ExplainRequest) -> list[Layer]:
        """See ``Client.activations``."""

    def filters(self, model: str, version: int | None) -> list[Layer]:
        """See ``Client.filters``."""

    def close(self) -> None:
        """Let go of connections and sessions."""


class Client:
    """Models at one address. Use it in a ``with`` block, or ``close`` it."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def models(self) -> list[dict[str, Any]]:
        """All models there, by name and version, as ``bookserve.bundle.summary`` describes them."""
        return self._wire.models()

    def predict(self, model: str, rows: Sequence[Any] | np.ndarray, version: int | None = None) -> list[Answer]:
        """Answer each row: labels with scores, or an array, by output name.

        A row is what the model's Steps take: the bytes of a picture file, a text, numbers, an array; for a model of
        several inputs, a dictionary that names each.
        """
        if isinstance(rows, str | bytes | dict):
            raise InvalidInput("rows must be a list of rows.", "For a single one, send [row].")
        return self._wire.predict(model, validate_request(PredictRequest, {"rows": list(rows), "version": version}))

    def generate(
        self,
        model: str,
        prompt: str = "",
        length: int = 400,
        temperature: float = 0.5,
        seed: int | None = None,
        version: int | None = None,
        **options: Any,
    ) -> Generator[str]:
        """Yield a text that continues ``prompt`` (the model's own where empty), piece by piece as it comes.

        ``length`` counts characters; temperature 0 takes the likeliest each time. ``options`` are the other fields of
        ``GenerateRequest``: ``top_k``, ``top_p``, ``stop``, ``mode``. Closing the generator stops the work.
        """
        if options.get("n", 1) != 1:
            raise InvalidInput("generate yields one text.", "Use pieces or complete for several.")
        asked = {"prompt": prompt, "length": length, "temperature": temperature, "seed": seed, "version": version}
        return self._texts(self.pieces(model, **asked, **options))

    def pieces(self, model: str, **options: Any) -> Generator[Piece]:
        """Yield pieces of one or several texts as they come; ``options`` are the fields of ``GenerateRequest``."""
        return self._wire.generate(model, validate_request(GenerateRequest, options))

    def complete(self, model: str, **options: Any) -> list[Piece]:
        """The ``n`` whole texts, with why each ended and, where ``logprobs`` is given, its characters."""
        asked = validate_request(GenerateRequest, options)
        return join_texts(self._wire.generate(model, asked), asked.n)

    @staticmethod
    def _texts(pieces: Generator[Piece]) -> Generator[str]:
        with closing(pieces):
            for piece in pieces:
                if piece.text:
                    yield piece.text

    def sample(
        self,
        model: str,
        n: int | None = None,
        latent: Sequence[Sequence[float]] | np.ndarray | None = None,
        grid: int | None = None,
        seed: int | None = None,
        version: int | None = None,
        *,
        images: Sequence[Any] | None = None,
        **ways: Any,
    ) -> Samples:
        """Draw pictures from ``n`` random points (16 by default), ``latent`` points or a ``grid`` × ``grid``.

        ``images`` (as for ``predict``) are encoded to points first. ``ways`` are ``truncation`` of random points,
        ``walk`` (steps from each point to the next) with ``interpolate`` ("linear", "slerp"), and ``start`` and
        ``count``, which ask for a part of many (``bookserve/generation/latent.py``).
        """
        points = latent.tolist() if isinstance(latent, np.ndarray) else latent
        fields = {"n": n, "latent": points, "grid": grid, "seed": seed, "version": version, **ways}
        if images is not None:
            fields["images"] = list(images)
        return self._wire.sample(model, validate_request(SampleRequest, fields))

    def transform(
        self,
        model: str,
        images: Sequence[bytes],
        params: Mapping[str, Any] | None = None,
        tell: OnProgress = lambda progress: None,
        version: int | None = None,
    ) -> np.ndarray:
        """Dream of a picture, or paint a photo in the style of a second picture; uint8 [height, width, 3].

        ``images`` are the bytes of files. ``params`` are those of the method that shall be other than the model's
        (``bookserve.verb.Dream``, ``Style``). ``tell`` hears of every step; what it raises stops the work.
        """
        fields = {"model": model, "images": list(images), "params": dict(params or {}), "version": version}
        return self._wire.transform(validate_request(TransformRequest, fields), tell)

    def explain(self, model: str, row: Any, label: str | None = None, version: int | None = None) -> Explanation:
        """Which parts of a picture (as for ``predict``) speak for a class, the likeliest by default: Grad-CAM."""
        return self._wire.explain(
            model, validate_request(ExplainRequest, {"row": row, "label": label, "version": version})
        )

    def activations(self, model: str, row: Any, version: int | None = None) -> list[Layer]:
        """What every layer of a convnet gives for a picture, as pictures of their channels."""
        return self._wire.activations(model, validate_request(ExplainRequest, {"row": row, "version": version}))

    def filters(self, model: str, version: int | None = None) -> list[Layer]:
        """The patterns that each convolution's filters answer to most, as they were drawn after the training."""
        return self._wire.filters(model, version)

    def close(self) -> None:
        """Let go of connections and sessions."""
        self._wire.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
