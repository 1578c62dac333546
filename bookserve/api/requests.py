"""Requests: what can be asked of a model on the human level, and within which bounds.

The same structures are the bodies of ``/api`` over HTTP, are filled from the gRPC messages, and are checked by the
local client: one contract on every wire.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec

from bookserve.errors import InvalidInput

MAX_ROWS = 65_536
#: Pictures in one answer, and steps of a walk.
MAX_PICTURES, MAX_WALK_STEPS = 4096, 100_000
#: Characters of a prompt, and of one text.
MAX_PROMPT = 100_000
MAX_LENGTH = 100_000
#: Texts that one request may ask for, and the characters of all of them.
MAX_TEXTS = 128
MAX_CHARACTERS = 1_000_000
#: Beyond this every character is as likely as any other.
MAX_TEMPERATURE = 10.0
#: Strings that end a text, and the characters of one.
MAX_STOPS = 16
MAX_STOP = 256
#: Likeliest characters that are told beside each one drawn.
MAX_LOGPROBS = 20

Seed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class PredictRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows to predict; ``version`` of the model, newest where none is given."""

    rows: Annotated[list[Any], msgspec.Meta(min_length=1, max_length=MAX_ROWS)]
    version: int | None = None


class GenerateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``n`` texts of up to ``length`` characters that continue ``prompt`` (the model's own where empty).

    Text ``i`` of a request with a seed is the one that ``seed + i`` gives alone.
    """

    prompt: Annotated[str, msgspec.Meta(max_length=MAX_PROMPT)] = ""
    length: Annotated[int, msgspec.Meta(ge=1, le=MAX_LENGTH)] = 400
    #: 0 takes the likeliest character each time.
    temperature: Annotated[float, msgspec.Meta(ge=0, le=MAX_TEMPERATURE)] = 0.5
    #: Draw only from this many of the likeliest characters.
    top_k: Annotated[int, msgspec.Meta(ge=1)] | None = None
    #: Draw only from the likeliest characters that together have this probability.
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    seed: Seed | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=MAX_TEXTS)] = 1
    #: A text ends before the first of these that it would contain.
    stop: Annotated[
        list[Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_STOP)]], msgspec.Meta(max_length=MAX_STOPS)
    ] = []
    #: Tell the log-probability of each character, and of so many of the likeliest.
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=MAX_LOGPROBS)] | None = None
    #: ``state``: the model's state is carried on; ``window``: each character re-reads the last ones, as in the book.
    mode: Literal["state", "window"] = "state"
    stream: bool = False
    version: int | None = None

    def __post_init__(self) -> None:
        if self.n * self.length > MAX_CHARACTERS:
            raise ValueError(f"{self.n} texts of {self.length} characters; expected {MAX_CHARACTERS:,} in all or fewer")

    def plain(self, likeliest: bool) -> bool:
        """Whether a character follows from the last one, the state and the noise alone, so that many can be drawn in
        one run of a graph; ``likeliest`` says whether that graph knows ``top_k`` and ``top_p``."""
        bound = self.top_k is not None or self.top_p < 1
        return self.mode == "state" and self.logprobs is None and (likeliest or not bound)


class SampleRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pictures from ``n`` random points, given ``latent`` points, a ``grid`` × ``grid``, or what ``images`` encode to.

    ``bookserve/generation/latent.py`` says what the rest means. One answer has ``MAX_PICTURES`` at most: of more,
    ``count`` from ``start`` are asked for at a time, with a seed.
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
    """A picture to dream of, or a photo and a picture in whose style it is painted.

    ``images`` are files (in JSON ``{"b64": …}``); ``params`` are those of ``bookserve.verb.Dream`` or ``Style`` that
    shall be other than the model's.
    """

    model: str
    images: Annotated[list[Any], msgspec.Meta(min_length=1, max_length=2)]
    params: dict[str, Any] = {}
    version: int | None = None


class ExplainRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A picture (a row of the model) and, to explain, the class to look for: the likeliest where none is named."""

    row: Any
    label: str | None = None
    version: int | None = None


Request = TypeVar("Request", PredictRequest, GenerateRequest, SampleRequest, TransformRequest, ExplainRequest)


def validate_request(kind: type[Request], fields: dict[str, Any]) -> Request:
    """Build a request from plain values.

    Raises:
        InvalidInput: an unknown field, a value of another type or out of bounds.
    """
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise invalid_request(error) from error


def parse_request(kind: type[Request], body: bytes) -> Request:
    """Build a request from JSON.

    Raises:
        InvalidInput: not JSON, or as for ``check``.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise invalid_request(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the request is not JSON: {error}.", 'Send an object like {"rows": […]}.') from error


def invalid_request(error: msgspec.ValidationError) -> InvalidInput:
    """msgspec's complaint as ours."""
    return InvalidInput(f"the request is not valid: {error}.")
