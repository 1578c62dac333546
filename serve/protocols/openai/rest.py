# ruff: noqa: TID253
"""The HTTP routes of OpenAI's completions API: completions, and the models that generate texts.

They are below ``/openai/v1``, and also below ``/v1``, the base URL of other servers of this API, as far as TensorFlow
Serving has no use for the path (``guest_routes``). Errors are ``{"error": {"message", "type", "param", "code"}}``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from bookserve.api.requests import GenerateRequest
from bookserve.errors import BookserveError, NotFound
from bookserve.generation.text import Piece
from serve.batching.text_scheduler import PAUSE, WHOLE, collect_texts
from serve.codecs.json_pieces import json_pieces
from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.observability.internal_error import internal_error
from serve.protocols.openai.request import Completions, find_text_model, parse_completions, text_models
from serve.protocols.openai.response import (
    CompletionResponse,
    Echo,
    error_fields,
    error_response,
    json_response,
    mean_logprob,
    model_fields,
)
from serve.transport.http.body import read_body
from serve.transport.http.long_answer import LongAnswer
from serve.transport.http.streaming import EventStream, unless_disconnected

COMPLETIONS = "/v1/completions"
#: Characters with log-probabilities up to which a text is written at once.
INLINE_DRAWN = 2000

#: Gives what is returned before the texts of each prompt.
Echoes = Callable[[], Awaitable[list[Echo | None]]]


def routes(engine: Engine) -> list[BaseRoute]:
    """All routes below ``/openai/v1``, and those below ``/v1`` that TensorFlow Serving does not know."""

    async def models(_: Request) -> Response:
        return json_response(_listed(engine))

    async def model(request: Request) -> Response:
        name = request.path_params["model"]
        return json_response(model_fields(find_text_model(engine, name), name))

    async def completions(request: Request) -> Response:
        body = parse_completions(await read_body(request))
        live = find_text_model(engine, body.model)
        prompts = body.prompts()
        requests = [body.engine_request(prompt) for prompt in prompts]
        # All are created before the first is started, so that an invalid prompt is answered with an error status.
        streams = [engine.generate(live, item, PAUSE if body.stream else WHOLE) for item in requests]
        if body.max_tokens == 0:  # the prompts are valid; nothing is generated
            streams = [_no_texts(item.n) for item in requests]
        echoes = partial(_echoes, engine, live, body, prompts)
        if body.stream:
            return EventStream(_events(body, CompletionResponse(body.model, prompts), echoes, streams))
        whole = await unless_disconnected(request.receive, _complete_response(body, requests, echoes, streams))
        if not whole:  # the client has disconnected
            return Response(status_code=499)
        is_long = any(
            len(choice["logprobs"]["tokens"]) > INLINE_DRAWN for choice in whole["choices"] if choice["logprobs"]
        )
        return LongAnswer(json_pieces(whole)) if is_long else json_response(whole)

    async def chat(_: Request) -> Response:
        hint = f"POST to {COMPLETIONS} with a 'prompt': the models of this server continue a text."
        return error_response(NotFound("this server has no chat completions.", hint))

    return [
        Route("/openai/v1/models", models),
        Route("/openai/v1/models/{model}", model),
        *(Route(f"{base}{COMPLETIONS}", completions, methods=["POST"]) for base in ("/openai", "")),
        *(Route(f"{base}/v1/chat/completions", chat, methods=["POST"]) for base in ("/openai", "")),
    ]


def guest_routes(engine: Engine) -> list[BaseRoute]:
    """Routes on paths of TensorFlow Serving, for requests that only a client of this API sends.

    TensorFlow Serving has no list of models, so whoever authenticates there is given one; the path of one model is its
    status, so OpenAI's own clients alone are told otherwise.
    """

    async def models(_: Request) -> Response:
        return json_response(_listed(engine))

    async def model(request: Request) -> Response:
        name = request.path_params["model"]
        try:
            return json_response(model_fields(find_text_model(engine, name), name))
        except BookserveError as error:
            return error_response(error)

    return [
        _GuestRoute("/v1/models", models, lambda names: "authorization" in names or _is_openai(names)),
        _GuestRoute("/v1/models/{model}", model, _is_openai),
    ]


class _GuestRoute(Route):
    """A route that matches only requests whose headers have names that ``wanted`` accepts."""

    def __init__(
        self, path: str, endpoint: Callable[[Request], Awaitable[Response]], wanted: Callable[[set[str]], bool]
    ) -> None:
        super().__init__(path, endpoint, methods=["GET"])
        self._wanted = wanted

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        if match is not Match.FULL or not self._wanted({name.decode("latin-1") for name, _ in scope["headers"]}):
            return Match.NONE, {}
        return match, child


def _is_openai(header_names: set[str]) -> bool:
    """Whether a request comes from OpenAI's own clients, which send headers of this name."""
    return any(name.startswith("x-stainless-") for name in header_names)


def _listed(engine: Engine) -> dict[str, Any]:
    return {"object": "list", "data": [model_fields(live, live.name) for live in text_models(engine)]}


async def _no_texts(n: int) -> AsyncGenerator[list[Piece]]:
    yield [Piece("", index, "length") for index in range(n)]


async def _echoes(engine: Engine, live: LiveModel, body: Completions, prompts: list[str]) -> list[Echo | None]:
    """What is returned before the texts of each prompt."""
    if not body.judges_prompts:
        return [Echo(prompt) if body.echo else None for prompt in prompts]
    count = body.logprobs or 0
    return [
        Echo(prompt, tuple(await engine.score_prompt(live, prompt, count))) if prompt else None for prompt in prompts
    ]


async def _complete_response(
    body: Completions,
    requests: list[GenerateRequest],
    echoes: Echoes,
    streams: list[AsyncGenerator[list[Piece]]],
) -> dict[str, Any]:
    """The whole response; of ``best_of`` texts it has the ``n`` with the highest mean log-probability."""
    response = CompletionResponse(body.model, [request.prompt for request in requests])
    choices: list[dict[str, Any]] = []
    all_texts = await asyncio.gather(
        *(collect_texts(stream, request.n) for stream, request in zip(streams, requests, strict=True))
    )
    for request, texts, echo in zip(requests, all_texts, await echoes(), strict=True):
        best = sorted(texts, key=mean_logprob, reverse=True) if request.n > (body.n or 1) else texts
        for text in best[: body.n or 1]:
            shown = text if body.logprobs is not None else msgspec.structs.replace(text, drawn=())
            many = len(shown.drawn) + len((echo and echo.drawn) or ()) > INLINE_DRAWN
            write = partial(response.choice, len(choices), shown, echo)
            choices.append(await asyncio.to_thread(write) if many else write())
        for text in best[body.n or 1 :]:
            response.count(text)
    return response.body(choices)


async def _events(
    body: Completions, response: CompletionResponse, echoes: Echoes, streams: list[AsyncGenerator[list[Piece]]]
) -> AsyncGenerator[bytes]:
    """Server-sent events: one for each piece, the usage if requested, and ``[DONE]``; or an error at the end."""
    n = body.n or 1
    usage = {"usage": None} if body.stream_options and body.stream_options.include_usage else {}
    try:
        unsent = dict(enumerate(echo for echo in await echoes() for _ in range(n)))
        async with aclosing(_merge_streams(streams)) as pieces:
            async for prompt_index, new_pieces in pieces:
                chunks = []
                for piece in new_pieces:
                    index = prompt_index * n + piece.index
                    choice = response.choice(index, piece, unsent.pop(index, None))
                    chunks.append(_event(response.chunk([choice], **usage)))
                yield b"".join(chunks)
        if usage:
            yield _event(response.chunk([], usage=response.usage()))
        yield b"data: [DONE]\n\n"
    except Exception as error:
        failure = error if isinstance(error, BookserveError) else internal_error("generating a text failed", error)
        yield _event(error_fields(failure))


async def _merge_streams(streams: list[AsyncGenerator[list[Piece]]]) -> AsyncGenerator[tuple[int, list[Piece]]]:
    """Yield what any of the streams yields, as soon as it comes, with the stream's index."""
    if len(streams) == 1:
        async with aclosing(streams[0]) as only:
            async for pieces in only:
                yield 0, pieces
        return
    queue: asyncio.Queue[tuple[int, list[Piece] | Exception | None]] = asyncio.Queue(1)

    async def drain(index: int, texts: AsyncGenerator[list[Piece]]) -> None:
        try:
            async with aclosing(texts):
                async for pieces in texts:
                    await queue.put((index, pieces))
            await queue.put((index, None))
        except Exception as error:
            await queue.put((index, error))

    async with AsyncExitStack() as stack:
        for index, texts in enumerate(streams):
            task = asyncio.create_task(drain(index, texts))
            stack.callback(task.cancel)
        running = len(streams)
        while running:
            index, item = await queue.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                running -= 1
            else:
                yield index, item


def _event(value: Any) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(value)
