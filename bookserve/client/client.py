"""Call models, over any wire: HTTP, gRPC, or without a server. ``bookserve.client.connect`` chooses the wire.

Every call may raise the errors of ``bookserve/errors.py``: NotFound, InvalidInput, NotReady (no server answers),
Overloaded and Failed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from bookserve.api.requests import (
    ExplainRequest,
    GenerateRequest,
    PredictRequest,
    SampleRequest,
    TransformRequest,
    validate_request,
)
from bookserve.client.answers import Answers, AnswerTable, notes_from
from bookserve.client.concurrency import in_order
from bookserve.client.rows import as_row, as_rows
from bookserve.errors import InvalidInput
from bookserve.table import Table
from bookserve.verb import Answer, Piece

if TYPE_CHECKING:
    from bookserve.generation.explain import Explanation, Layer
    from bookserve.generation.transform import Progress

#: Maximum number of rows in one request, and about how many bytes of them.
BATCH, BATCH_BYTES = 1024, 8 * 2**20
#: Pictures of a latent space in one request, where many are asked for.
SAMPLES = 256

_ROW = re.compile(r"row (\d+)\b")


class Samples(NamedTuple):
    """Pictures uint8 [n, height, width, channels] and their points in the latent space, float32 [n, dimensions]."""

    latent: np.ndarray
    images: np.ndarray


#: Called with the progress of a picture transformation. If it raises an exception, the work stops.
OnProgress = Callable[["Progress"], None]


class Wire(Protocol):
    """One way to reach models. Its methods get requests that have been validated."""

    #: How many predictions may run at the same time, in threads.
    parallel: int
    #: Rows of a table in one request at most.
    table_rows: int

    def models(self) -> list[dict[str, Any]]:
        """See ``Client.models``."""

    def predict(self, model: str, request: PredictRequest) -> Answers:
        """See ``Client.predict``."""

    def predict_table(self, model: str, table: Table, version: int | None) -> AnswerTable:
        """See ``Client.predict_parts``; the table has at most ``MAX_ROWS`` rows."""

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
        """Close connections and sessions."""


class Client:
    """The models at one address. Use it in a ``with`` block, or call ``close``.

    The examples are run with ``client = connect("local:pretrained")``: the models that come with bookserve.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def models(self) -> list[dict[str, Any]]:
        """The newest version of every model, as ``bookserve.bundle.summarise_bundle`` describes it.

        >>> {model["name"]: model["verb"] for model in client.models()}["imdb_lstm"]
        'predict'
        """
        return self._wire.models()

    def predict(self, model: str, rows: Any, version: int | None = None) -> Answers:
        """Predict each row. An answer has, for each output name, labels with scores or an array.

        A row is what the model's Steps take: the bytes of a picture file, a text, numbers or an array. For a model with
        several inputs it is a dictionary with one entry per input. ``bookserve.client.rows`` lists what ``rows`` may
        be: lists, arrays, files, tables of pandas, polars or Arrow, iterators. Many rows are sent in several requests,
        some at the same time; the answers have the order of the rows.

        >>> answers = client.predict("imdb_lstm", ["a wonderful film", "a terrible, boring film"])
        >>> [answer["probability"][0].label for answer in answers]
        ['positive', 'negative']
        """
        answers = Answers()
        answers.extend(self.predict_each(model, rows, version, answers.add_remarks))
        return answers

    def predict_each(
        self, model: str, rows: Any, version: int | None = None, tell: Callable[[Answers], None] | None = None
    ) -> Iterator[Answer]:
        """The same, one answer at a time, for rows of any number: only a few requests' rows are held in memory.

        ``tell`` is called with the answers of each request, which also have its notes and units, before they come.

        >>> films = (f"film number {number} is wonderful" for number in range(3000))
        >>> sum(1 for answer in client.predict_each("imdb_lstm", films))
        3000
        """
        parts = in_order(
            lambda part: self._predict_part(model, part, version), _parts(as_rows(rows)), self._wire.parallel
        )
        count = 0
        for answers in parts:
            count += len(answers)
            if tell:
                tell(answers)
            yield from answers
        if not count:
            raise InvalidInput("there are no rows to predict.", "Send at least one.")

    def predict_parts(
        self, model: str, parts: Iterable[Sequence[Any]], version: int | None = None
    ) -> Iterator[Answers | AnswerTable]:
        """The answers to parts of the rows, one after the other; a part that is a ``Table`` is answered by columns.

        This is how rows of millions are predicted: ``bookserve.client.parts.read_parts`` reads them in parts. Only a
        few parts are held in memory, and some are predicted at the same time.

        >>> from bookserve.table import UNNAMED, Table
        >>> houses = Table({UNNAMED: np.ones((5000, 13))})
        >>> for answers in client.predict_parts("boston_housing", [houses[:4000], houses[4000:]]):
        ...     print(answers.arrays()["price"].shape)
        (4000, 1)
        (1000, 1)
        """
        return in_order(lambda part: self.predict_part(model, part, version), iter(parts), self.parallel)

    def predict_part(self, model: str, rows: Sequence[Any], version: int | None = None) -> Answers | AnswerTable:
        """The answers to some rows, in one request or a few, one after the other; errors have the number of the row.

        >>> client.predict_part("boston_housing", [[0] * 13, [0] * 12])
        Traceback (most recent call last):
        bookserve.errors.InvalidInput: row 1: each row has shape [12]; expected float64[13] in each row.
        """
        if not isinstance(rows, Table):
            return self._predict_part(model, (0, list(as_rows(rows))), version)
        answers = []
        for start in range(0, len(rows), self._wire.table_rows):
            with _rows_counted_from(start):
                table = rows[start : start + self._wire.table_rows]
                answers.append(self._wire.predict_table(model, table, version))
        return AnswerTable.joined(answers) if len(answers) > 1 else answers[0]

    @property
    def parallel(self) -> int:
        """How many predictions may run at the same time, in threads.

        >>> client.parallel > 0
        True
        """
        return self._wire.parallel

    def _predict_part(self, model: str, part: tuple[int, list[Any]], version: int | None) -> Answers:
        """The answers to some rows, of which the first has the number given; errors have the number of the row."""
        start, rows = part
        with _rows_counted_from(start, len(rows) == 1):
            found = self._wire.predict(model, validate_request(PredictRequest, {"rows": rows, "version": version}))
        found.notes = notes_from(found.notes, start)
        return found

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
        """Yield the text that continues ``prompt`` (the model's default prompt if empty), in pieces as they arrive.

        ``length`` counts characters. With temperature 0 the likeliest character is always taken. ``options`` are other
        fields of ``GenerateRequest``: ``top_k``, ``top_p``, ``stop``, ``mode``. Closing the generator stops the work.

        >>> "".join(client.generate("nietzsche_lstm", "the will to ", length=20, temperature=0))
        'the most constitute '
        """
        if options.get("n", 1) != 1:
            raise InvalidInput("generate yields only one text.", "Use pieces or complete for several texts.")
        fields = {"prompt": prompt, "length": length, "temperature": temperature, "seed": seed, "version": version}
        return self._texts(self.pieces(model, **fields, **options))

    def pieces(self, model: str, **options: Any) -> Generator[Piece]:
        """Yield pieces of one or several texts as they arrive; ``options`` are the fields of ``GenerateRequest``.

        >>> pieces = list(client.pieces("nietzsche_lstm", prompt="man is ", length=20, n=2, seed=1))
        >>> sorted({piece.index for piece in pieces}), pieces[-1].finish
        ([0, 1], 'length')
        """
        return self._wire.generate(model, validate_request(GenerateRequest, options))

    def complete(self, model: str, **options: Any) -> list[Piece]:
        """The ``n`` complete texts, each with the reason why it ended and, with ``logprobs``, its characters.

        >>> (text,) = client.complete("nietzsche_lstm", prompt="the will to ", temperature=0, stop=["st"])
        >>> text.text, text.finish
        ('the mo', 'stop')
        """
        from bookserve.generation.text import join_texts

        request = validate_request(GenerateRequest, options)
        return join_texts(self._wire.generate(model, request), request.n)

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
        **options: Any,
    ) -> Samples:
        """Generate pictures from ``n`` random points (16 by default), from ``latent`` points or a ``grid`` × ``grid``.

        ``images`` (as for ``predict``) are first encoded to points. ``options`` are ``truncation`` of random points,
        ``walk`` (number of steps from each point to the next) with ``interpolate`` ("linear", "slerp"), and ``start``
        and ``count`` for a part of many pictures (``bookserve/generation/latent.py``).

        >>> digits = client.sample("mnist_vae", 4, seed=1)
        >>> digits.images.shape, digits.latent.shape
        ((4, 28, 28, 1), (4, 2))
        """
        points = latent.tolist() if isinstance(latent, np.ndarray) else latent
        fields = {"n": n, "latent": points, "grid": grid, "seed": seed, "version": version, **options}
        if images is not None:
            fields["images"] = [as_row(image) for image in images]
        return self._wire.sample(model, validate_request(SampleRequest, fields))

    def sample_parts(
        self,
        model: str,
        n: int | None = None,
        latent: Sequence[Sequence[float]] | np.ndarray | None = None,
        grid: int | None = None,
        seed: int | None = None,
        version: int | None = None,
        *,
        images: Sequence[Any] | None = None,
        walk: int | None = None,
        **options: Any,
    ) -> Iterator[Samples]:
        """The pictures of ``sample``, any number of them, in parts that come as they are made; arguments as there.

        Some parts are made at the same time; they keep their order.

        >>> for part in client.sample_parts("mnist_vae", 600, seed=1):
        ...     print(part.images.shape)
        (256, 28, 28, 1)
        (256, 28, 28, 1)
        (88, 28, 28, 1)
        """
        import secrets

        from bookserve.generation.latent import count_points

        if images is not None:
            starts = range(0, len(images), SAMPLES)
            encoded = [self.sample(model, images=images[i : i + SAMPLES], version=version).latent for i in starts]
            latent = np.concatenate(encoded) if encoded else np.empty((0, 0), np.float32)
        total = count_points(n=n, latent=latent, grid=grid, walk=walk)
        # All parts must use the same seed.
        seed = secrets.randbits(32) if seed is None else seed

        def part(start: int) -> Samples:
            count = min(SAMPLES, total - start)
            fields = {**options, "walk": walk, "start": start, "count": count}
            return self.sample(model, n, latent, grid, seed, version, **fields)

        return in_order(part, iter(range(0, total, SAMPLES)), self.parallel)

    def transform(
        self,
        model: str,
        images: Sequence[bytes],
        params: Mapping[str, Any] | None = None,
        tell: OnProgress = lambda progress: None,
        version: int | None = None,
    ) -> np.ndarray:
        """Change a picture by DeepDream, or give it the style of a second picture; returns uint8 [height, width, 3].

        ``images`` are the bytes of picture files. ``params`` override parameters of the model's method
        (``bookserve.verb.Dream``, ``Style``). ``tell`` is called after each step; an exception from it stops the work.

        >>> photo = Path("photo.png").read_bytes()
        >>> client.transform("deepdream", [photo], {"octaves": 1, "iterations": 2}).dtype
        dtype('uint8')
        """
        fields = {"model": model, "images": list(images), "params": dict(params or {}), "version": version}
        return self._wire.transform(validate_request(TransformRequest, fields), tell)

    def explain(self, model: str, row: Any, label: str | None = None, version: int | None = None) -> Explanation:
        """Grad-CAM: which parts of a picture (as for ``predict``) count for a class; by default the likeliest class.

        >>> found = client.explain("mnist_convnet", Path("digit.png"))
        >>> found.label, found.heatmap.shape
        ('7', (3, 3))
        """
        return self._wire.explain(
            model, validate_request(ExplainRequest, {"row": as_row(row), "label": label, "version": version})
        )

    def activations(self, model: str, row: Any, version: int | None = None) -> list[Layer]:
        """The activations of every layer of a convnet for a picture, drawn channel by channel.

        >>> [layer.name for layer in client.activations("mnist_convnet", Path("digit.png"))][:2]
        ['conv2d', 'max_pooling2d']
        """
        return self._wire.activations(model, validate_request(ExplainRequest, {"row": as_row(row), "version": version}))

    def filters(self, model: str, version: int | None = None) -> list[Layer]:
        """The patterns that the filters of each convolution respond to most, drawn when the model was trained.

        >>> client.filters("mnist_convnet")
        Traceback (most recent call last):
        bookserve.errors.NotFound: model 'mnist_convnet' has no pictures of its filters. ...
        """
        return self._wire.filters(model, version)

    def close(self) -> None:
        """Close connections and sessions.

        >>> connect("local:pretrained").close()
        """
        self._wire.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@contextmanager
def _rows_counted_from(start: int, is_single: bool = False) -> Iterator[None]:
    """Errors raised in this block count their rows from the number ``start``."""
    try:
        yield
    except InvalidInput as error:
        if not start:
            raise
        found = _ROW.match(error.message)
        if found:
            message = f"row {int(found[1]) + start}{error.message[found.end() :]}"
        else:
            message = f"row {start}: {error.message}" if is_single else error.message
        raise InvalidInput(message, error.hint) from error


def _parts(rows: Iterator[Any]) -> Iterator[tuple[int, list[Any]]]:
    """The rows in parts of ``BATCH`` rows or ``BATCH_BYTES``, each with the number of its first row."""
    start, part, size = 0, list[Any](), 0
    for row in rows:
        part.append(row)
        size += _size(row)
        if len(part) >= BATCH or size >= BATCH_BYTES:
            yield start, part
            start, part, size = start + len(part), [], 0
    if part:
        yield start, part


def _size(row: Any) -> int:
    """About how many bytes a row has."""
    if isinstance(row, np.ndarray):
        return 8 * row.size
    if isinstance(row, dict):
        return sum(map(_size, row.values()))
    return len(row) if isinstance(row, str | bytes) else 8
