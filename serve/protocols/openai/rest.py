# ruff: noqa: TID253
"""OpenAI's completions over HTTP, under ``/openai/v1``: completions (whole or as a stream), and the models that write.

Any key is accepted. Errors are ``{"error": {"message", "type", "param", "code"}}``.
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
from serve.protocols.openai.response import CompletionResponse, error_fields, json_response, mean_logprob, model_fields
from serve.protocols.openai.request import Completions, InvalidField, find_text_model, text_models
from serve.transport.http.body import read_body
from serve.transport.http.streaming import EventStream, unless_disconnected

_FIELD = re.compile(r"`\$\.(\w+)")


def routes(engine: Engine) -> list[BaseRoute]:
    """Everything under ``/openai/v1``."""

    async def models(_: Request) -> Response:
        return json_response(
            {"object": "list", "data": [model_fields(live, live.name) for live in text_models(engine)]}
        )

    async def model(request: Request) -> Response:
        name = request.path_params["model"]
        return json_response(model_fields(find_text_model(engine, name), name))

    async def completions(request: Request) -> Response:
        asked = _parse_request(await read_body(request))
        live = find_text_model(engine, asked.model)
        prompts = asked.prompts()
        requests = [asked.generate(prompt) for prompt in prompts]
        # Made before any is begun, so that a prompt that does not fit is answered as an error.
        written = [engine.generate(live, one, PAUSE if asked.stream else WHOLE) for one in requests]
        if asked.stream:
            return EventStream(_events(asked, CompletionResponse(asked.model, prompts), prompts, written))
        whole = await unless_disconnected(request.receive, _complete_response(asked, requests, written))
        return json_response(whole) if whole else Response(status_code=499)  # nobody is there to read it

    return [
        Route("/openai/v1/models", models),
        Route("/openai/v1/models/{model}", model),
        Route("/openai/v1/completions", completions, methods=["POST"]),
    ]


async def _complete_response(
    asked: Completions, requests: list[GenerateRequest], written: list[AsyncGenerator[list[Piece]]]
) -> dict[str, Any]:
    """All texts at once; of ``best_of`` the ``n`` whose characters are the likeliest on the mean."""
    made = CompletionResponse(asked.model, [request.prompt for request in requests])
    choices: list[dict[str, Any]] = []
    all_texts = await asyncio.gather(
        *(collect_texts(one, request.n) for one, request in zip(written, requests, strict=True))
    )
    for request, texts in zip(requests, all_texts, strict=True):
        best = sorted(texts, key=mean_logprob, reverse=True) if request.n > (asked.n or 1) else texts
        for text in best[: asked.n or 1]:
            told = text if asked.logprobs is not None else msgspec.structs.replace(text, drawn=())
            choices.append(made.choice(len(choices), told, request.prompt if asked.echo else ""))
        for text in best[asked.n or 1 :]:
            made.count(text)
    return made.whole(choices)


async def _events(
    asked: Completions, made: CompletionResponse, prompts: list[str], written: list[AsyncGenerator[list[Piece]]]
) -> AsyncIterator[bytes]:
    """One event for each piece, the usage where it was asked for, and ``[DONE]``; or the error that ended it."""
    n = asked.n or 1
    usage = {"usage": None} if asked.stream_options and asked.stream_options.include_usage else {}
    echoes = {index: prompts[index // n] for index in range(n * len(prompts))} if asked.echo else {}
    try:
        async with aclosing(_merge_streams(written)) as pieces:
            async for place, some in pieces:
                chunks = []
                for piece in some:
                    index = place * n + piece.index
                    choice = made.choice(index, piece, echoes.pop(index, ""))
                    chunks.append(_event(made.chunk([choice], **usage)))
                yield b"".join(chunks)
        if usage:
            yield _event(made.chunk([], usage=made.usage()))
        yield b"data: [DONE]\n\n"
    except Exception as error:
        known = error if isinstance(error, BookserveError) else internal_error("a text broke off", error)
        yield _event(error_fields(known))


async def _merge_streams(written: list[AsyncGenerator[list[Piece]]]) -> AsyncGenerator[tuple[int, list[Piece]]]:
    """What any of them yields, as it comes, with its place in the list."""
    if len(written) == 1:
        async with aclosing(written[0]) as only:
            async for pieces in only:
                yield 0, pieces
        return
    queue: asyncio.Queue[tuple[int, list[Piece] | Exception | None]] = asyncio.Queue(1)

    async def drain(place: int, texts: AsyncGenerator[list[Piece]]) -> None:
        try:
            async with aclosing(texts):
                async for pieces in texts:
                    await queue.put((place, pieces))
            await queue.put((place, None))
        except Exception as error:
            await queue.put((place, error))

    async with AsyncExitStack() as stack:
        for place, texts in enumerate(written):
            task = asyncio.create_task(drain(place, texts))
            stack.callback(task.cancel)
        left = len(written)
        while left:
            place, came = await queue.get()
            if isinstance(came, Exception):
                raise came
            if came is None:
                left -= 1
            else:
                yield place, came


def _parse_request(body: bytes) -> Completions:
    try:
        asked = msgspec.json.decode(body, type=Completions)
    except msgspec.ValidationError as error:
        field = _FIELD.search(str(error))
        raise InvalidField(f"the request is not valid: {error}.", field[1] if field else "") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidField(f"the request is not JSON: {error}.", "") from error
    asked.check()
    return asked


def _event(value: Any) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(value)
