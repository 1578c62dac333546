"""KServe's own client over REST, with its first and its second protocol, and over gRPC."""

from __future__ import annotations

import asyncio
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

from tests.serve.protocols.clients.calls import Calls

X = np.array([[0, 1, 2], [3, 4, 5]], np.float32)


def tensor(binary: bool) -> InferInput:
    made = InferInput("x", list(X.shape), "FP32")
    made.set_data_from_numpy(X, binary_data=binary)
    return made


async def rest(server: str) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    Calls.same(await client.is_server_live(server), True)
    Calls.same(await client.is_server_ready(server), True)
    Calls.same(await client.is_model_ready(server, "affine"), True)
    Calls.same(await client.is_model_ready(server, "none"), False)
    for binary in (False, True):
        request = InferRequest("affine", [tensor(binary)], request_id="7")
        answer = await client.infer(server, request, model_name="affine")
        Calls.same(answer.outputs[0].as_numpy().tolist(), (2 * X + 1).tolist())
        Calls.same((answer.model_name, answer.id), ("affine", "7"))
    first = InferenceRESTClient(RESTConfig(protocol="v1", retries=0))
    answer = await first.infer(server, {"instances": X.tolist()}, model_name="affine")
    Calls.same(answer, {"predictions": (2 * X + 1).tolist()})
    await client.close()
    await first.close()


async def over_grpc(target: str) -> None:
    async with InferenceGRPCClient(target, retries=0) as client:
        Calls.same(await client.is_server_live(), True)
        Calls.same(await client.is_server_ready(), True)
        Calls.same(await client.is_model_ready("affine"), True)
        Calls.same(await client.is_model_ready("none"), False)
        for binary in (False, True):
            answer = await client.infer(InferRequest("affine", [tensor(binary)], request_id="8"))
            Calls.same(answer.outputs[0].as_numpy().tolist(), (2 * X + 1).tolist())
            Calls.same(answer.id, "8")


def main(http: str, target: str) -> None:
    asyncio.run(rest(http))
    asyncio.run(over_grpc(target))
    Calls.report()


if __name__ == "__main__":
    main(*sys.argv[1:])
