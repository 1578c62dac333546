"""The server's side of gRPC's interoperability test, on the builtin gRPC server.

Source: https://github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PROTO = Path(__file__).with_name("interop.proto")
#: Metadata that is sent back: at the beginning, and at the end.
INITIAL, TRAILING = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"


def messages() -> dict[str, Any]:
    """The classes of the messages by name."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set"
        # In a process of its own: its copy of protobuf and that of other packages may crash each other.
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO.parent}", f"--descriptor_set_out={out}"]
        subprocess.run([*command, PROTO.name], check=True)
        (file,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClassesForFiles([file.name], pool)


class TestService:
    """``grpc.testing.TestService``. ``UnimplementedCall`` is not there, on purpose."""

    __test__ = False  # no test of pytest's

    def __init__(self) -> None:
        self._types = messages()

    async def _echo_metadata(self, context: Any) -> None:
        for key, value in context.invocation_metadata():
            if key == INITIAL:
                await context.send_initial_metadata(((key, value),))
            elif key == TRAILING:
                context.set_trailing_metadata(((key, value),))

    async def _echo_status(self, request: Any, context: Any) -> None:
        status = request.response_status
        if status.code:
            code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
            await context.abort(code, status.message, context.trailing_metadata())

    def _message(self, name: str, **fields: Any) -> Any:
        return self._types[f"grpc.testing.{name}"](**fields)

    def _reply(self, name: str, size: int) -> Any:
        return self._message(name, payload=self._message("Payload", body=bytes(size)))

    async def empty(self, request: Any, context: Any) -> Any:
        await self._echo_metadata(context)
        return request

    async def unary(self, request: Any, context: Any) -> Any:
        await self._echo_metadata(context)
        await self._echo_status(request, context)
        if request.response_compressed.value:
            context.set_compression(grpc.Compression.Gzip)
        return self._reply("SimpleResponse", request.response_size)

    async def streaming_output(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self._echo_status(request, context)
        for wanted in request.response_parameters:
            await asyncio.sleep(wanted.interval_us / 1e6)
            yield self._reply("StreamingOutputCallResponse", wanted.size)

    async def streaming_input(self, requests: AsyncIterator[Any], context: Any) -> Any:
        total = 0
        async for request in requests:
            total += len(request.payload.body)
        return self._message("StreamingInputCallResponse", aggregated_payload_size=total)

    async def full_duplex(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        await self._echo_metadata(context)
        async for request in requests:
            async for reply in self.streaming_output(request, context):
                yield reply

    def handler(self) -> grpc.GenericRpcHandler:
        """The methods for a server."""

        def made(make: Any, method: Any, request: str) -> Any:
            kind = self._types[f"grpc.testing.{request}"]
            return make(method, kind.FromString, lambda reply: reply.SerializeToString())

        return grpc.method_handlers_generic_handler(
            "grpc.testing.TestService",
            {
                "EmptyCall": made(grpc.unary_unary_rpc_method_handler, self.empty, "Empty"),
                "UnaryCall": made(grpc.unary_unary_rpc_method_handler, self.unary, "SimpleRequest"),
                "StreamingOutputCall": made(
                    grpc.unary_stream_rpc_method_handler, self.streaming_output, "StreamingOutputCallRequest"
                ),
                "StreamingInputCall": made(
                    grpc.stream_unary_rpc_method_handler, self.streaming_input, "StreamingInputCallRequest"
                ),
                "FullDuplexCall": made(
                    grpc.stream_stream_rpc_method_handler, self.full_duplex, "StreamingOutputCallRequest"
                ),
            },
        )
