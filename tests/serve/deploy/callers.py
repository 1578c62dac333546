"""Clients of a fleet that run on the proxy's machine; what they met is printed as JSON.

``python -m tests.serve.deploy.callers grpc HOST:PORT CALLS`` asks ``affine`` over one gRPC connection, several calls at
a time. ``zipf HOST:PORT REQUESTS MODELS SEED`` asks models ``m0000`` … over HTTP, chosen by Zipf's law. ``stream URL``
reads a text from ``writer``; it prints a line after the first piece, and one when the stream has ended.
"""

from __future__ import annotations

import http.client
import json
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate

import grpc
import numpy as np

from bookserve import connect
from bookserve.api import oip_pb2
from bookserve.errors import BookserveError

THREADS = 6
#: Exponent of Zipf's law: the model of rank r gets a share of r ** -EXPONENT.
EXPONENT = 1.1
#: Characters of the text.
LENGTH = 100_000


def call_grpc(target: str, calls: str) -> dict[str, object]:
    tensor = oip_pb2.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 3])
    row = np.array([[1, 2, 3]], np.float32).tobytes()
    message = oip_pb2.ModelInferRequest(model_name="affine", inputs=[tensor], raw_input_contents=[row])
    channel = grpc.insecure_channel(target, [("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)])
    infer = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        oip_pb2.ModelInferRequest.SerializeToString,
        oip_pb2.ModelInferResponse.FromString,
    )

    def ask(_: int) -> bool:
        (content,) = infer(message, timeout=60).raw_output_contents
        return np.frombuffer(content, np.float32).tolist() == [3.0, 5.0, 7.0]

    with ThreadPoolExecutor(THREADS) as pool:
        return {"right": sum(pool.map(ask, range(int(calls))))}


def ask_by_zipf(target: str, requests: str, models: str, seed: str) -> dict[str, object]:
    weights = list(accumulate((rank + 1) ** -EXPONENT for rank in range(int(models))))
    # Which models are popular has nothing to do with their names.
    names = random.Random(0).sample([f"m{number:04}" for number in range(int(models))], int(models))
    asked = random.Random(seed).choices(names, cum_weights=weights, k=int(requests))
    body, answer = json.dumps({"instances": [[1, 2, 3]]}), {"predictions": [[3.0, 5.0, 7.0]]}

    def ask(part: list[str]) -> int:
        connection, right = http.client.HTTPConnection(target, timeout=60), 0
        for name in part:
            connection.request("POST", f"/v1/models/{name}:predict", body)
            right += json.loads(connection.getresponse().read()) == answer
        return right

    with ThreadPoolExecutor(THREADS) as pool:
        return {"right": sum(pool.map(ask, [asked[place::THREADS] for place in range(THREADS)]))}


def read_stream(url: str) -> dict[str, object]:
    text, error = "", ""
    with connect(url, retries=0) as client:
        try:
            for piece in client.generate("writer", "abc", length=LENGTH, temperature=0):
                if not text:
                    sys.stdout.write("begun\n")
                    sys.stdout.flush()
                    sys.stdin.readline()
                text += piece
        except BookserveError as raised:
            error = f"{type(raised).__name__}: {raised}"
    return {"characters": len(text), "error": error}


if __name__ == "__main__":
    kind, *arguments = sys.argv[1:]
    sys.stdout.write(
        json.dumps({"grpc": call_grpc, "zipf": ask_by_zipf, "stream": read_stream}[kind](*arguments)) + "\n"
    )
