"""Define the requests of bookserve's own API, with their limits.

The same classes are the JSON bodies of ``/api`` over HTTP, are filled from gRPC messages, and are used by the local
client, so every wire accepts the same requests.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec

from bookserve.errors import InvalidInput

MAX_ROWS = 65_536
#: Maximum number of pictures in one answer, and of steps in a walk.
MAX_PICTURES, MAX_WALK_STEPS = 4096, 100_000
#: Maximum number of characters of a prompt, and of one text.
MAX_PROMPT = 100_000
MAX_LENGTH = 100_000
#: Maximum number of texts in one request, and of characters in all of them.
MAX_TEXTS = 128
MAX_CHARACTERS = 1_000_000
#: At higher temperatures all characters are about equally likely.
MAX_TEMPERATURE = 10.0
#: Maximum number of stop strings, and of characters in one.
MAX_STOPS = 16
MAX_STOP = 256
#: Maximum number of alternatives that are returned with each character.
MAX_LOGPROBS = 20

Seed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class PredictRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows to predict. ``version`` of the model is the newest by default."""

    rows: Annotated[list[Any], msgspec.Meta(min_length=1, max_length=MAX_ROWS)]
    version: int | None = None


class GenerateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``n`` texts of up to ``length`` characters that continue ``prompt`` (the model's default prompt if empty).

    With a seed, text ``i`` is the same as the only text of a request with the seed ``seed + i``.
    """

    prompt: Annotated[str, msgspec.Meta(max_length=MAX_PROMPT)] = ""
    length: Annotated[int, msgspec.Meta(ge=1, le=MAX_LENGTH)] = 400
    #: With 0 the likeliest character is always taken.
    temperature: Annotated[float, msgspec.Meta(ge=0, le=MAX_TEMPERATURE)] = 0.5
    #: Choose only among this number of likeliest characters.
    top_k: Annotated[int, msgspec.Meta(ge=1)] | None = None
    #: Choose only among the likeliest characters whose probabilities add up to this.
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    seed: Seed | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=MAX_TEXTS)] = 1
    #: A text ends before the first of these strings.
    stop: Annotated[
        list[Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_STOP)]], msgspec.Meta(max_length=MAX_STOPS)
    ] = []
    #: Also return the log-probability of each character, and of this number of likeliest alternatives.
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=MAX_LOGPROBS)] | None = None
    #: ``state``: keep the state of the network; ``window``: read the last characters again for each, as in the book.
    mode: Literal["state", "window"] = "state"
    stream: bool = False
    version: int | None = None

    def __post_init__(self) -> None:
        if self.n * self.length > MAX_CHARACTERS:
            raise ValueError(
                f"{self.n} texts of {self.length} characters; expected at most {MAX_CHARACTERS:,} characters in all"
            )

    def plain(self, likeliest: bool) -> bool:
        """Whether the multi-step decoder can generate the texts.

        It needs only the last character, the state and the noise. ``likeliest`` says whether it supports ``top_k`` and
        ``top_p``.
        """
        bound = self.top_k is not None or self.top_p < 1
        return self.mode == "state" and self.logprobs is None and (likeliest or not bound)


class SampleRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pictures from ``n`` random points, ``latent`` points, a ``grid`` × ``grid``, or the points of ``images``.

    ``bookserve/generation/latent.py`` explains the other fields. One answer has at most ``MAX_PICTURES`` pictures. For
    more, send several requests with ``start``, ``count`` and the same seed.
    """

    n: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] | None = None
    latent: Annotated[list[list[float]], msgspec.Meta(min_length=1, max_length=MAX_PICTURES)] | None = None
    grid: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None
    images: Annotated[list[Any], msgspec.Meta(min_length=1, max_length=MAX_PICTURES)] | None = None
    seed: Seed | None = None
    truncation: Annotated[float, msgspec.Meta(gt=0, le=10)] | None = None
    walk: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    interpolate: Literal["linear", "slerp"] = "linear"
    start: Annotated[int, msgspec.Meta(ge=0)] = 0
    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_PICTURES)] | None = None
    version: int | None = None


class TransformRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A picture for DeepDream, or a photo and a picture whose style it gets.

    ``images`` are picture files (in JSON ``{"b64": …}``). ``params`` override the model's parameters of
    ``bookserve.verb.Dream`` or ``Style``.
    """

    model: str
    images: Annotated[list[Any], msgspec.Meta(min_length=1, max_length=2)]
    params: dict[str, Any] = {}
    version: int | None = None


class ExplainRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A picture (a row of the model) and, for Grad-CAM, the label of the class; by default the likeliest class."""

    row: Any
    label: str | None = None
    version: int | None = None


Request = TypeVar("Request", PredictRequest, GenerateRequest, SampleRequest, TransformRequest, ExplainRequest)


def validate_request(kind: type[Request], fields: dict[str, Any]) -> Request:
    """Build a request from plain values.

    Raises:
        InvalidInput: a field is unknown, or a value has the wrong type or is out of range.
    """
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise invalid_request(error) from error


def parse_request(kind: type[Request], body: bytes) -> Request:
    """Build a request from JSON.

    Raises:
        InvalidInput: the body is not JSON, or as for ``validate_request``.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise invalid_request(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the request is not JSON: {error}.", 'Send an object like {"rows": […]}.') from error


def invalid_request(error: msgspec.ValidationError) -> InvalidInput:
    """msgspec's error as an error of bookserve."""
    return InvalidInput(f"the request is not valid: {error}.")
