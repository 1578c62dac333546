"""Reads completion requests: their fields, the model that they name, and what the engine must generate for them.

A token is a character here. Options of other servers (llama.cpp, vLLM) that would change the text are refused by name
(``bookserve/api/sampling_fields.py``). Source: https://platform.openai.com/docs/api-reference/completions
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec

from bookserve.api.requests import (
    MAX_LENGTH,
    MAX_PROMPT,
    MAX_STOP,
    MAX_STOPS,
    MAX_TEXTS,
    GenerateRequest,
    Seed,
    validate_request,
)
from bookserve.api.sampling_fields import unsupported_option
from bookserve.errors import InvalidInput, NotFound
from bookserve.verb import Generate
from serve.engine import Engine
from serve.models.live_model import LiveModel

#: The highest temperature in OpenAI's API; bookserve's own takes higher ones.
_MAX_TEMPERATURE = 2.0
#: Other names of fields: llama.cpp's, and that of chat completions.
_ALIASES = {"n_predict": "max_tokens", "max_completion_tokens": "max_tokens"}
_FIELD = re.compile(r"`\$\.(\w+)")

_Stop = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_STOP)]
_Count = Annotated[int, msgspec.Meta(ge=1, le=MAX_TEXTS)]
_Prompt = Annotated[str, msgspec.Meta(max_length=MAX_PROMPT)]


class StreamOptions(msgspec.Struct, frozen=True):
    """Options of a streamed response."""

    include_usage: bool | None = None


class Completions(msgspec.Struct, frozen=True):
    """Body of ``POST …/v1/completions``. ``null`` means a field's default; unknown fields are ignored.

    ``top_k`` and ``mode`` are additions; the official client sends them with ``extra_body``.
    """

    model: str
    prompt: _Prompt | list[Any] | None = None
    #: With 0 nothing is generated: with ``echo`` and ``logprobs`` the prompt is judged.
    max_tokens: Annotated[int, msgspec.Meta(ge=0, le=MAX_LENGTH)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=_MAX_TEMPERATURE)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    #: 0 and -1 mean no limit.
    top_k: Annotated[int, msgspec.Meta(ge=-1)] | None = None
    n: _Count | None = None
    best_of: _Count | None = None
    stop: _Stop | Annotated[list[_Stop], msgspec.Meta(max_length=MAX_STOPS)] | None = None
    seed: Seed | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=5)] | None = None
    echo: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    mode: Literal["state", "window"] | None = None

    def prompts(self) -> list[str]:
        """The prompts, at least one.

        Raises:
            InvalidInput: the list is empty, too long, or holds token ids instead of texts.
        """
        given = self.prompt if isinstance(self.prompt, list) else [self.prompt or ""]
        if not given:
            raise InvalidField("the list of prompts is empty.", "prompt")
        if not all(isinstance(prompt, str) and len(prompt) <= MAX_PROMPT for prompt in given):
            raise InvalidField(
                f"a prompt is no text of up to {MAX_PROMPT:,} characters; ids of tokens are not taken.", "prompt"
            )
        if len(given) * self.texts_per_prompt > MAX_TEXTS:
            raise InvalidField(f"{len(given)} prompts make more than {MAX_TEXTS} texts.", "prompt")
        return given

    @property
    def texts_per_prompt(self) -> int:
        """Number of texts generated for each prompt; ``n`` of them are returned."""
        return max(self.n or 1, self.best_of or 1)

    def check_supported(self) -> None:
        """Refuse fields that this server does not support, rather than ignore them.

        Raises:
            InvalidInput: such a field is set, or two fields contradict each other.
        """
        if self.best_of is not None and self.best_of < (self.n or 1):
            raise InvalidField(f"best_of is {self.best_of}; expected n ({self.n}) or more.", "best_of")
        if self.stream and self.texts_per_prompt > (self.n or 1):
            raise InvalidField(
                "best_of cannot be streamed: the best text is known only when all are complete.", "best_of"
            )
        if self.stream_options and not self.stream:
            raise InvalidField("stream_options needs stream: true.", "stream_options")

    @property
    def judges_prompts(self) -> bool:
        """Whether the log-probabilities of the prompts are to be returned."""
        return bool(self.echo) and self.logprobs is not None

    def engine_request(self, prompt: str) -> GenerateRequest:
        """The request to the engine for one prompt.

        Raises:
            InvalidInput: the texts are too long in total.
        """
        needs_ranking = self.texts_per_prompt > (self.n or 1)
        fields = {
            "prompt": prompt,
            "length": 16 if self.max_tokens is None else self.max_tokens or 1,
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "top_p": self.top_p or 1.0,
            "top_k": self.top_k if (self.top_k or 0) > 0 else None,
            "n": self.texts_per_prompt,
            "stop": [self.stop] if isinstance(self.stop, str) else self.stop or [],
            "seed": self.seed,
            "logprobs": 0 if needs_ranking and self.logprobs is None else self.logprobs,
            "mode": self.mode or "state",
        }
        return validate_request(GenerateRequest, fields)


class InvalidField(InvalidInput):
    """A field of the request is invalid; ``field`` is its name."""

    def __init__(self, message: str, field: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.field = field


def parse_completions(data: bytes) -> Completions:
    """The request in a body.

    Raises:
        InvalidField: it is not JSON, a field has the wrong type or is out of range, or asks for what is not done here.
    """
    try:
        document = msgspec.json.decode(data)
        if isinstance(document, dict):
            for name, proper in _ALIASES.items():
                if document.get(name) is not None and document.get(proper) is None:
                    document[proper] = document[name]
            if name := unsupported_option(document):
                raise InvalidField(f"'{name}' is not supported by this server.", name, "Leave it out.")
        body = msgspec.convert(document, Completions)
    except msgspec.ValidationError as error:
        field = _FIELD.search(str(error))
        raise InvalidField(f"the request is not valid: {error}.", field[1] if field else "") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidField(f"the request is not JSON: {error}.", "") from error
    body.check_supported()
    return body


class UnknownModel(NotFound):
    """The model does not exist, or does not generate texts."""


def find_text_model(engine: Engine, model: str) -> LiveModel:
    """The live model of the name ``NAME`` or ``NAME:VERSION``.

    Raises:
        UnknownModel: the model does not exist, or does not generate texts.
        NotReady: it could not be loaded.
    """
    name, _, version = model.partition(":")
    try:
        if version and not (version.isascii() and version.isdigit() and len(version) < 19):
            raise NotFound(f"'{version[:40]}' is not a version number.")
        live = engine.model(name, int(version) if version else None)
    except NotFound as error:
        raise UnknownModel(f"The model '{model[:200]}' does not exist.", _text_models_hint(engine)) from error
    if not isinstance(live.bundle.manifest.verb, Generate):
        raise UnknownModel(f"The model '{model[:200]}' does not generate texts.", _text_models_hint(engine))
    return live


def text_models(engine: Engine) -> list[LiveModel]:
    """All live models that generate texts, by name and version."""
    return [live for live in engine.models() if isinstance(live.bundle.manifest.verb, Generate)]


def _text_models_hint(engine: Engine) -> str:
    names = sorted({live.name for live in text_models(engine)})
    return f"Models that generate texts: {', '.join(names)}." if names else "No model of this server generates texts."
