# ruff: noqa: TID253
"""The clients of a soak: one kind for each protocol, which send requests without a pause and check every answer."""

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
from http_client import REQUESTS_PER_CONNECTION, HttpClient
from ledger import ConnectionEndedError, Ledger, WrongAnswerError

from bookserve.api import native_pb2 as pb
from bookserve.api import oip_pb2 as v2_pb2
from clients.bench.load import infer_request

#: How often a request is sent at most.
TRIES = 6
#: Seconds without an answer after which a request counts as lost.
TIMEOUT = 60
#: How the text model of ``tests/bundles.py`` continues "abc".
TEXT = "deabc"

SendRequest = Callable[[], Awaitable[None]]


class Caller:
    """One client, which sends one kind of request again and again."""

    def __init__(self, ledger: Ledger, http: int, rpc: int, seed: int) -> None:
        self.ledger = ledger
        self.client = HttpClient(http)
        self.draw = random.Random(seed)  # noqa: S311
        self._rpc = rpc
        self._channel: Any = None
        self._calls = 0

    async def run(self, kind: str) -> None:
        """Send requests of that kind until the soak is over; ``kind`` is the name of one of the methods below."""
        send: SendRequest = getattr(self, kind)
        while not self.ledger.over and await self._send_once(kind, send):
            pass
        self.client.close()
        if self._channel:
            await self._channel.close()

    async def _send_once(self, kind: str, send: SendRequest) -> bool:
        ledger = self.ledger
        for _ in range(TRIES):
            begun = time.perf_counter()
            self.client.sent = begun if kind.startswith("grpc") else float("inf")
            try:
                await asyncio.wait_for(send(), TIMEOUT)
                ledger.answered[kind] += 1
                return True
            except WrongAnswerError as error:
                ledger.wrong.append(f"{kind}: {error}")
                return True
            except TimeoutError:
                ledger.lost.append(f"{kind}: no answer in {TIMEOUT} s")
                return False
            except (OSError, EOFError, ConnectionEndedError, ValueError) as error:
                self.client.close()
                if self._channel:
                    await self._channel.close()
                self._channel = None
                if ledger.stopped <= time.perf_counter() and self.client.sent >= ledger.stopped:
                    ledger.refused[kind] += 1
                    return False
                rpc = kind.startswith("grpc")
                if not (
                    ledger.ended_by_kill(begun) if rpc else ledger.ended_by_kill(self.client.opened, self.client.port)
                ):
                    ago = time.perf_counter() - ledger.stopped
                    when = f" {ago:.2f} s after the signal, sent {ledger.stopped - self.client.sent:.4f} s before it"
                    ledger.lost.append(f"{kind}: {error!r}{when if ago > 0 else ''}")
                    return ago < 0
                ledger.resent[kind] += 1
        ledger.lost.append(f"{kind}: sent {TRIES} times without success")
        return True

    def _rows(self) -> np.ndarray:
        count = self.draw.choice((1, 1, 1, 2, 8))
        return np.array([[self.draw.randrange(1000) for _ in range(3)] for _ in range(count)], np.float32)

    async def http_v1(self) -> None:
        x = self._rows()
        body = json.dumps({"instances": x.tolist()}).encode()
        answer = await self.client.post("/v1/models/affine:predict", body)
        self.ledger.check_answer(x, json.loads(answer)["predictions"])

    async def http_v2_binary(self) -> None:
        x = self._rows()
        sized = {"name": "x", "shape": x.shape, "datatype": "FP32", "parameters": {"binary_data_size": x.nbytes}}
        head = json.dumps({"inputs": [sized], "parameters": {"binary_data_output": True}}).encode()
        length = f"inference-header-content-length: {len(head)}\r\n"
        content = await self.client.post("/v2/models/affine/infer", head + x.tobytes(), length)
        cut = int(self.client.header(b"inference-header-content-length") or 0)
        answer = json.loads(content[:cut])
        y = np.frombuffer(content[cut:], np.float32).reshape(answer["outputs"][0]["shape"])
        self.ledger.check_answer(x, y, int(answer["model_version"]))

    async def http_api(self) -> None:
        x = self._rows()
        answer = json.loads(
            await self.client.post("/api/models/affine/predict", json.dumps({"rows": x.tolist()}).encode())
        )
        self.ledger.check_answer(x, [one["y"] for one in answer["answers"]], answer["version"])

    async def http_stream(self) -> None:
        length = self.draw.choice((50, 400, 3000))
        request = {"prompt": "abc", "length": length, "temperature": 0, "stream": True}
        status = await self.client.send("/api/models/writer/generate", json.dumps(request).encode())
        content = b"".join([chunk async for chunk in self.client.body_chunks()])
        events = [json.loads(event[6:]) for event in content.split(b"\n\n") if event]
        if status != 200 or not events or events[-1] != {"done": True}:
            raise WrongAnswerError(f"a stream ended with {status} {content[-200:]!r}")
        check_text("".join(event.get("text", "") for event in events), length)

    async def _call(self, method: str, request: bytes) -> list[bytes]:
        """The replies of a streaming call, or the only reply."""
        self._calls += 1
        if self._channel is None or self._calls % REQUESTS_PER_CONNECTION == 0:
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
                raise ConnectionEndedError(f"{error.code().name}: {error.details()}") from error
            raise WrongAnswerError(f"{error.code().name}: {error.details()}") from error

    async def grpc_api(self) -> None:
        x = self._rows()
        rows = [pb.Row(tensor=pb.Tensor(dtype="float32", shape=[3], content=row.tobytes())) for row in x]
        request = pb.PredictRequest(model="affine", rows=rows).SerializeToString()
        (reply,) = await self._call("/bookserve.v1.Bookserve/Predict", request)
        answer = pb.PredictReply.FromString(reply)
        y = [np.frombuffer(one.outputs[0].tensor.content, np.float32) for one in answer.answers]
        self.ledger.check_answer(x, y, answer.version)

    async def grpc_v2(self) -> None:
        x = self._rows()
        request = infer_request("affine", {"x": x})
        (reply,) = await self._call("/inference.GRPCInferenceService/ModelInfer", request)
        answer = v2_pb2.ModelInferResponse.FromString(reply)
        y = np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(x.shape)
        self.ledger.check_answer(x, y, int(answer.model_version))

    async def grpc_stream(self) -> None:
        length = self.draw.choice((50, 400, 3000))
        request = pb.GenerateRequest(model="writer", prompt="abc", length=length, temperature=0).SerializeToString()
        replies = await self._call("/bookserve.v1.Bookserve/Generate", request)
        check_text("".join(pb.GenerateReply.FromString(reply).text for reply in replies), length)


def check_text(text: str, length: int) -> None:
    """Check that a text is the one that the model writes, to its last character."""
    if text != "".join(islice(cycle(TEXT), length)):
        raise WrongAnswerError(f"a text of {len(text)} of {length} characters: …{text[-40:]}")


#: How many clients of each kind there are.
KINDS = {
    "http_v1": 4,
    "http_v2_binary": 3,
    "http_api": 3,
    "grpc_api": 2,
    "grpc_v2": 3,
    "http_stream": 2,
    "grpc_stream": 2,
}
