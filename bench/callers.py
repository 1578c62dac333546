# ruff: noqa: TID253
"""Callers: clients of a soak, one kind for each wire, that ask without a pause and check every answer."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from itertools import cycle, islice
from typing import Any

import grpc
import numpy as np
from book import Book, EndedError, WrongError
from line import RENEWED, Line

from bookserve.api import native_pb2 as pb
from bookserve.api import oip_pb2 as v2_pb2
from clients.bench.load import infer_request

#: Times that a request is sent again.
TRIES = 6
#: Seconds without an answer after which a request counts as lost.
PATIENCE = 60
#: What the writer of ``tests/bundles.py`` goes on with after "abc".
TEXT = "deabc"

Asks = Callable[[], Awaitable[None]]


class Caller:
    """Asks in one way, again and again."""

    def __init__(self, book: Book, http: int, rpc: int, seed: int) -> None:
        self.book = book
        self.line = Line(http)
        self.draw = random.Random(seed)  # noqa: S311
        self._rpc = rpc
        self._channel: Any = None
        self._calls = 0

    async def run(self, kind: str) -> None:
        """Ask until the soak is over."""
        ask: Asks = getattr(self, kind)
        while not self.book.over and await self._once(kind, ask):
            pass
        self.line.close()
        if self._channel:
            await self._channel.close()

    async def _once(self, kind: str, ask: Asks) -> bool:
        book = self.book
        for _ in range(TRIES):
            begun = time.perf_counter()
            self.line.sent = begun if kind.startswith("grpc") else float("inf")
            try:
                await asyncio.wait_for(ask(), PATIENCE)
                book.answered[kind] += 1
                return True
            except WrongError as error:
                book.wrong.append(f"{kind}: {error}")
                return True
            except TimeoutError:
                book.lost.append(f"{kind}: no answer in {PATIENCE} s")
                return False
            except (OSError, EOFError, EndedError, ValueError) as error:
                self.line.close()
                if self._channel:
                    await self._channel.close()
                self._channel = None
                if book.stopped <= time.perf_counter() and self.line.sent >= book.stopped:
                    book.refused[kind] += 1
                    return False
                rpc = kind.startswith("grpc")
                if not (book.killed(begun) if rpc else book.killed(self.line.opened, self.line.port)):
                    ago = time.perf_counter() - book.stopped
                    when = f" {ago:.2f} s after the signal, sent {book.stopped - self.line.sent:.4f} s before it"
                    book.lost.append(f"{kind}: {error!r}{when if ago > 0 else ''}")
                    return ago < 0
                book.resent[kind] += 1
        book.lost.append(f"{kind}: sent {TRIES} times in vain")
        return True

    def _rows(self) -> np.ndarray:
        count = self.draw.choice((1, 1, 1, 2, 8))
        return np.array([[self.draw.randrange(1000) for _ in range(3)] for _ in range(count)], np.float32)

    async def http_v1(self) -> None:
        x = self._rows()
        body = json.dumps({"instances": x.tolist()}).encode()
        answer = await self.line.ask("/v1/models/affine:predict", body)
        self.book.check(x, json.loads(answer)["predictions"])

    async def http_v2_binary(self) -> None:
        x = self._rows()
        sized = {"name": "x", "shape": x.shape, "datatype": "FP32", "parameters": {"binary_data_size": x.nbytes}}
        head = json.dumps({"inputs": [sized], "parameters": {"binary_data_output": True}}).encode()
        length = f"inference-header-content-length: {len(head)}\r\n"
        content = await self.line.ask("/v2/models/affine/infer", head + x.tobytes(), length)
        cut = int(self.line.header(b"inference-header-content-length") or 0)
        answer = json.loads(content[:cut])
        y = np.frombuffer(content[cut:], np.float32).reshape(answer["outputs"][0]["shape"])
        self.book.check(x, y, int(answer["model_version"]))

    async def http_api(self) -> None:
        x = self._rows()
        answer = json.loads(
            await self.line.ask("/api/models/affine/predict", json.dumps({"rows": x.tolist()}).encode())
        )
        self.book.check(x, [one["y"] for one in answer["answers"]], answer["version"])

    async def http_stream(self) -> None:
        length = self.draw.choice((50, 400, 3000))
        asked = {"prompt": "abc", "length": length, "temperature": 0, "stream": True}
        status = await self.line.send("/api/models/writer/generate", json.dumps(asked).encode())
        content = b"".join([chunk async for chunk in self.line.chunks()])
        events = [json.loads(event[6:]) for event in content.split(b"\n\n") if event]
        if status != 200 or not events or events[-1] != {"done": True}:
            raise WrongError(f"a stream ended with {status} {content[-200:]!r}")
        written("".join(event.get("text", "") for event in events), length)

    async def _call(self, method: str, request: bytes) -> list[bytes]:
        """The replies of a call that streams them, or the only one."""
        self._calls += 1
        if self._channel is None or self._calls % RENEWED == 0:
            if self._channel:
                await self._channel.close()
            options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
            self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{self._rpc}", options)
        try:
            if method.endswith("Generate"):
                return [reply async for reply in self._channel.unary_stream(method)(request)]
            return [await self._channel.unary_unary(method)(request)]
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                raise EndedError(f"{error.code().name}: {error.details()}") from error
            raise WrongError(f"{error.code().name}: {error.details()}") from error

    async def grpc_api(self) -> None:
        x = self._rows()
        rows = [pb.Row(tensor=pb.Tensor(dtype="float32", shape=[3], content=row.tobytes())) for row in x]
        request = pb.PredictRequest(model="affine", rows=rows).SerializeToString()
        (reply,) = await self._call("/bookserve.v1.Bookserve/Predict", request)
        answer = pb.PredictReply.FromString(reply)
        y = [np.frombuffer(one.outputs[0].tensor.content, np.float32) for one in answer.answers]
        self.book.check(x, y, answer.version)

    async def grpc_v2(self) -> None:
        x = self._rows()
        request = infer_request("affine", {"x": x})
        (reply,) = await self._call("/inference.GRPCInferenceService/ModelInfer", request)
        answer = v2_pb2.ModelInferResponse.FromString(reply)
        y = np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(x.shape)
        self.book.check(x, y, int(answer.model_version))

    async def grpc_stream(self) -> None:
        length = self.draw.choice((50, 400, 3000))
        request = pb.GenerateRequest(model="writer", prompt="abc", length=length, temperature=0).SerializeToString()
        replies = await self._call("/bookserve.v1.Bookserve/Generate", request)
        written("".join(pb.GenerateReply.FromString(reply).text for reply in replies), length)


def written(text: str, length: int) -> None:
    """The text must be the one that the model writes, to its last character."""
    if text != "".join(islice(cycle(TEXT), length)):
        raise WrongError(f"a text of {len(text)} of {length} characters: …{text[-40:]}")


#: Kinds of callers, and how many of each.
KINDS = {
    "http_v1": 4,
    "http_v2_binary": 3,
    "http_api": 3,
    "grpc_api": 2,
    "grpc_v2": 3,
    "http_stream": 2,
    "grpc_stream": 2,
}
