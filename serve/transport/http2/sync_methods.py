# ruff: noqa: TID253
"""Runs methods that are not coroutines, such as those of generated base classes, in threads, as grpcio does."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, NoReturn

import grpc

_END = object()


class SyncContext:
    """What such a method sees of its call: ``grpc.ServicerContext``. What sends runs in the event loop."""

    def __init__(self, call: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._call = call
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)  # ``set_code``, ``peer`` and others that only read or set a value

    def is_active(self) -> bool:
        return not self._call.done()

    def time_remaining(self) -> float | None:
        async def read() -> float | None:
            left: float | None = self._call.time_remaining()
            return left

        return asyncio.run_coroutine_threadsafe(read(), self._loop).result()

    def send_initial_metadata(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        asyncio.run_coroutine_threadsafe(self._call.send_initial_metadata(metadata), self._loop).result()

    def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Iterable[tuple[str, str | bytes]] = ()
    ) -> NoReturn:
        if trailing_metadata:
            self._call.set_trailing_metadata(trailing_metadata)
        self._call.set_code(code)
        self._call.set_details(details)
        raise grpc.aio.AbortError


def as_coroutine(handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
    """The handler itself, or one that runs its method in a thread if it is not a coroutine or an async generator."""
    kind = "_".join("stream" if one else "unary" for one in (handler.request_streaming, handler.response_streaming))
    method = getattr(handler, kind)
    if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
        return handler
    called = getattr(method, "__call__", None)  # noqa: B004 - a callable object may be asynchronous
    if inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called):
        return handler
    wrapped: Callable[..., Any] = _streamed(method) if handler.response_streaming else _unary(method)
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    return make(wrapped, handler.request_deserializer, handler.response_serializer)


def _unary(method: Callable[..., Any]) -> Callable[..., Any]:
    async def answer(request: Any, context: Any) -> Any:
        loop = asyncio.get_running_loop()
        reply = await asyncio.to_thread(method, _readable(request, loop), SyncContext(context, loop))
        return await reply if inspect.isawaitable(reply) else reply

    return answer


def _streamed(method: Callable[..., Any]) -> Callable[..., Any]:
    async def answers(request: Any, context: Any) -> AsyncIterator[Any]:
        loop = asyncio.get_running_loop()
        replies = await asyncio.to_thread(method, _readable(request, loop), SyncContext(context, loop))
        if hasattr(replies, "__aiter__"):
            async for reply in replies:
                yield reply
            return
        iterator = iter(replies)
        while (reply := await asyncio.to_thread(next, iterator, _END)) is not _END:
            yield reply

    return answers


def _readable(request: Any, loop: asyncio.AbstractEventLoop) -> Any:
    """The request, or an iterator for a thread over the messages of a streamed one."""
    return _iterate(request, loop) if hasattr(request, "__aiter__") else request


def _iterate(requests: AsyncIterator[Any], loop: asyncio.AbstractEventLoop) -> Iterator[Any]:
    async def read() -> Any:
        return await anext(requests, _END)

    while (message := asyncio.run_coroutine_threadsafe(read(), loop).result()) is not _END:
        yield message
