"""NVIDIA's Triton client over HTTP and gRPC, synchronous and asynchronous; and the calls of perf_analyzer."""

from __future__ import annotations

import asyncio
import queue
import sys
from importlib import import_module
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException

from tests.serve.protocols.clients.calls import Calls

X = np.array([[0, 1, 2], [3, 4, 5]], np.float32)


def tensor(module: Any, array: np.ndarray, name: str = "x", kind: str = "FP32", **how: Any) -> Any:
    made = module.InferInput(name, list(array.shape), kind)
    made.set_data_from_numpy(array, **how)
    return made


def field(message: Any, *names: str) -> Any:
    for name in names:
        message = message[name] if isinstance(message, dict) else getattr(message, name)
    return message


def refused(call: Any) -> str:
    try:
        call()
    except InferenceServerException as error:
        return str(error.status()).removeprefix("StatusCode.")
    return "OK"


def infer(module: Any, client: Any, wire: str) -> None:
    outputs = [module.InferRequestedOutput("y")]
    forms = [{}] if wire == "grpc" else [{"binary_data": True}, {"binary_data": False}]
    for form in forms:
        answer = client.infer("affine", [tensor(module, X, **form)], outputs=outputs, request_id="7")
        Calls.same(answer.as_numpy("y").tolist(), (2 * X + 1).tolist())
        Calls.same(field(answer.get_response(), "id"), "7")
    for packed in ("gzip", "deflate"):
        how = {"request_compression_algorithm": packed, "response_compression_algorithm": packed}
        answer = client.infer(
            "affine", [tensor(module, X)], **(how if wire == "http" else {"compression_algorithm": packed})
        )
        Calls.same(answer.as_numpy("y").tolist(), (2 * X + 1).tolist())
    a, b = np.ones((2, 4), np.float32), np.array([2**53 + 1, -7])
    answer = client.infer("pair", [tensor(module, a, "a"), tensor(module, b, "b", "INT64")], priority=1, timeout=10**7)
    Calls.same(answer.as_numpy("next").tolist(), [2**53 + 2, -6])
    Calls.same(answer.as_numpy("sum").tolist(), [4, 4])
    image = tensor(module, np.ones((1, 4, 4, 1), np.float32), "image")
    for version in ("1", "2", ""):
        Calls.same(client.infer("digits", [image], model_version=version).as_numpy("probabilities").shape, (1, 2))
    top = [module.InferRequestedOutput("probabilities", class_count=1)]
    Calls.same(client.infer("digits", [image], outputs=top).as_numpy("probabilities").shape, (1, 1))
    wrong = "400" if wire == "http" else "INVALID_ARGUMENT"
    Calls.same(refused(lambda: client.infer("affine", [tensor(module, X[:, :2])])), wrong)
    Calls.same(refused(lambda: client.infer("affine", [tensor(module, X, "z")])), wrong)
    Calls.same(refused(lambda: client.infer("none", [tensor(module, X)])), "404" if wire == "http" else "NOT_FOUND")


def asynchronous_infer(module: Any, client: Any, wire: str) -> None:
    if wire == "http":
        waiting = [client.async_infer("affine", [tensor(module, X + number)]) for number in range(8)]
        answers = [one.get_result() for one in waiting]
    else:
        arrived: queue.Queue[Any] = queue.Queue()
        for number in range(8):
            client.async_infer(
                "affine",
                [tensor(module, X + number)],
                callback=lambda result, error: arrived.put(error or result),
                request_id=str(number),
            )
        found = [arrived.get(timeout=60) for _ in range(8)]
        answers = sorted(found, key=lambda answer: int(field(answer.get_response(), "id")))
    for number, answer in enumerate(answers):
        Calls.same(answer.as_numpy("y").tolist(), (2 * (X + number) + 1).tolist())


def stream(module: Any, client: Any) -> None:
    arrived: queue.Queue[Any] = queue.Queue()
    client.start_stream(callback=lambda result, error: arrived.put((result, error)))
    for number, model in enumerate(["affine", "none", "affine"]):
        client.async_stream_infer(model, [tensor(module, X)], request_id=str(number), enable_empty_final_response=True)
    found = [arrived.get(timeout=60) for _ in range(3)]
    client.stop_stream()
    Calls.same([error is not None for _, error in found], [False, True, False])
    Calls.same(field(found[0][0].get_response(), "parameters")["triton_final_response"].bool_param, True)


def management(client: Any, wire: str) -> None:
    Calls.same((client.is_server_live(), client.is_server_ready(), client.is_model_ready("affine")), (True,) * 3)
    Calls.same(client.is_model_ready("none"), False)
    Calls.same(field(client.get_server_metadata(), "name"), "bookserve")
    Calls.same(field(client.get_model_metadata("affine", "1"), "name"), "affine")
    index = client.get_model_repository_index()
    names = {field(item, "name") for item in (index if isinstance(index, list) else index.models)}
    Calls.same({"affine", "digits", "half", "pair", "plane", "reviews", "writer"} <= names, True)
    client.unload_model("plane")
    Calls.same(client.is_model_ready("plane"), False)
    client.load_model("plane")
    Calls.same(client.is_model_ready("plane"), True)
    # perf_analyzer: what the model is like, and its counts before and after a measurement
    config = client.get_model_config("affine")
    Calls.same(field(config if wire == "http" else config.config, "max_batch_size") > 0, True)
    counts = field(client.get_inference_statistics("affine"), "model_stats")
    Calls.same(int(field(counts[0], "inference_stats", "success", "count")) > 0, True)
    Calls.same(len(field(client.get_inference_statistics(), "model_stats")) > 5, True)
    # extensions that are off
    client.unregister_system_shared_memory()
    client.unregister_cuda_shared_memory()
    Calls.same(refused(lambda: client.register_system_shared_memory("r", "/k", 8)) in ("400", "INVALID_ARGUMENT"), True)
    Calls.same("trace_level" in str(client.get_trace_settings()), True)
    Calls.same("log_info" in str(client.get_log_settings()), True)
    Calls.same(refused(lambda: client.update_log_settings({"log_verbose_level": 1})) in ("503", "UNAVAILABLE"), True)


async def aio(wire: str, target: str) -> None:
    module = import_module(f"tritonclient.{wire}.aio")
    async with module.InferenceServerClient(target) as client:
        answers = await asyncio.gather(*(client.infer("affine", [tensor(module, X + n)]) for n in range(8)))
        for number, answer in enumerate(answers):
            Calls.same(answer.as_numpy("y").tolist(), (2 * (X + number) + 1).tolist())
        Calls.same(await client.is_model_ready("none"), False)
        if wire == "grpc":

            async def requests() -> Any:
                for number in range(3):
                    yield {"model_name": "affine", "inputs": [tensor(module, X)], "request_id": str(number)}

            ids = [field(result.get_response(), "id") async for result, _ in client.stream_infer(requests())]
            Calls.same(ids, ["0", "1", "2"])


def main(http: str, grpc: str) -> None:
    for wire, target in (("http", http.removeprefix("http://")), ("grpc", grpc)):
        module: Any = import_module(f"tritonclient.{wire}")
        client = module.InferenceServerClient(target)
        infer(module, client, wire)
        asynchronous_infer(module, client, wire)
        management(client, wire)
        if wire == "grpc":
            stream(module, client)
        client.close()
        asyncio.run(aio(wire, target))
    Calls.report()


if __name__ == "__main__":
    main(*sys.argv[1:])
