# ruff: noqa: TID253
"""The HTTP routes of OpenAI's completions API, below ``/openai/v1``: completions, and the models that generate texts.

Errors are ``{"error": {"message", "type", "param", "code"}}``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bookserve.api.requests import GenerateRequest
from bookserve.errors import BookserveError
from bookserve.generation.text import Piece
from serve.batching.text_scheduler import PAUSE, WHOLE, collect_texts
from serve.engine import Engine
from serve.observability.internal_error import internal_error
from serve.protocols.openai.request import Completions, InvalidField, find_text_model, text_models
from serve.protocols.openai.response import CompletionResponse, error_fields, json_response, mean_logprob, model_fields
from serve.transport.http.body import read_body
from serve.transport.http.streaming import EventStream, unless_disconnected

_FIELD = re.compile(r"`\$\.(\w+)")


def routes(engine: Engine) -> list[BaseRoute]:
    """All routes below ``/openai/v1``."""

    async def models(_: Request) -> Response:
        return json_response(
            {"object": "list", "data": [model_fields(live, live.name) for live in text_models(engine)]}
        )

    async def model(request: Request) -> Response:
        name = request.path_params["model"]
        return json_response(model_fields(find_text_model(engine, name), name))

    async def completions(request: Request) -> Response:
        body = _parse_request(await read_body(request))
        live = find_text_model(engine, body.model)
        prompts = body.prompts()
        requests = [body.engine_request(prompt) for prompt in prompts]
        # All are created before the first is started, so that an invalid prompt is answered with an error status.
        streams = [engine.generate(live, item, PAUSE if body.stream else WHOLE) for item in requests]
        if body.stream:
            return EventStream(_events(body, CompletionResponse(body.model, prompts), prompts, streams))
        whole = await unless_disconnected(request.receive, _complete_response(body, requests, streams))
        return json_response(whole) if whole else Response(status_code=499)  # the client has disconnected

    return [
        Route("/openai/v1/models", models),
        Route("/openai/v1/models/{model}", model),
        Route("/openai/v1/completions", completions, methods=["POST"]),
    ]


async def _complete_response(
    body: Completions, requests: list[GenerateRequest], streams: list[AsyncGenerator[list[Piece]]]
) -> dict[str, Any]:
    """The whole response; of ``best_of`` texts it has the ``n`` with the highest mean log-probability."""
    response = CompletionResponse(body.model, [request.prompt for request in requests])
    choices: list[dict[str, Any]] = []
    all_texts = await asyncio.gather(
        *(collect_texts(stream, request.n) for stream, request in zip(streams, requests, strict=True))
    )
    for request, texts in zip(requests, all_texts, strict=True):
        best = sorted(texts, key=mean_logprob, reverse=True) if request.n > (body.n or 1) else texts
        for text in best[: body.n or 1]:
            shown = text if body.logprobs is not None else msgspec.structs.replace(text, drawn=())
            choices.append(response.choice(len(choices), shown, request.prompt if body.echo else ""))
        for text in best[body.n or 1 :]:
            response.count(text)
    return response.body(choices)


async def _events(
    body: Completions, response: CompletionResponse, prompts: list[str], streams: list[AsyncGenerator[list[Piece]]]
) -> AsyncIterator[bytes]:
    """Server-sent events: one for each piece, the usage if requested, and ``[DONE]``; or an error at the end."""
    n = body.n or 1
    usage = {"usage": None} if body.stream_options and body.stream_options.include_usage else {}
    echoes = {index: prompts[index // n] for index in range(n * len(prompts))} if body.echo else {}
    try:
        async with aclosing(_merge_streams(streams)) as pieces:
            async for prompt_index, new_pieces in pieces:
                chunks = []
                for piece in new_pieces:
                    index = prompt_index * n + piece.index
                    choice = response.choice(index, piece, echoes.pop(index, ""))
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


def _parse_request(data: bytes) -> Completions:
    try:
        body = msgspec.json.decode(data, type=Completions)
    except msgspec.ValidationError as error:
        field = _FIELD.search(str(error))
        raise InvalidField(f"the request is not valid: {error}.", field[1] if field else "") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidField(f"the request is not JSON: {error}.", "") from error
    body.check_supported()
    return body


def _event(value: Any) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(value)
