"""NVIDIA's Triton client, in a process of its own: asks and prints what it understood as JSON.

Run by ``test_triton.py``: ``python -m tests.serve.protocols.oip.official_client http HOST:PORT`` or ``… grpc
HOST:PORT``.
"""

from __future__ import annotations

import json
import queue
import sys
from importlib import import_module
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException, np_to_triton_dtype


def main(wire: str, target: str) -> dict[str, Any]:
    module = import_module(f"tritonclient.{wire}")
    client = module.InferenceServerClient(target)

    def infer(model: str, inputs: dict[str, np.ndarray], outputs: Any = None, binary: bool = True, **more: Any) -> Any:
        tensors = []
        for name, array in inputs.items():
            tensor = module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            tensors.append(tensor)
            if wire == "http":
                tensor.set_data_from_numpy(array, binary_data=binary)
            else:
                tensor.set_data_from_numpy(array)
        if wire == "http" and outputs is not None:
            wanted = [module.InferRequestedOutput(name, binary_data=binary) for name in outputs]
        else:
            wanted = outputs and [module.InferRequestedOutput(name) for name in outputs]
        return client.infer(model, tensors, outputs=wanted, **more)

    def refused(*arguments: Any, **more: Any) -> list[str]:
        try:
            infer(*arguments, **more)
        except InferenceServerException as error:
            return [str(error.status()), error.message()]
        return ["OK", ""]

    def plain(message: Any) -> Any:
        if wire == "http":
            return message
        from google.protobuf.json_format import MessageToDict

        return MessageToDict(message, preserving_proto_field_name=True)

    x = np.array([[0, 1, 2], [np.nan, np.inf, -1e30]], np.float32)
    numbers = infer("affine", {"x": x}, request_id="seven")
    texts = infer("affine", {"x": x}, ["y"], binary=False)
    pair_inputs = {"a": np.ones((2, 4), np.float32), "b": np.array([2**40, -7])}
    pair = infer("pair", pair_inputs)
    one = infer("pair", pair_inputs, ["next"])
    step = infer(
        "writer",
        {"characters": np.array([[0, 1]], np.int32), "count": np.zeros((1, 1), np.float32)},
        parameters={"signature_name": "step"},
    )
    old = infer("digits", {"image": np.ones((1, 4, 4, 1), np.float32)}, model_version="1")
    compression = {"compression_algorithm" if wire == "grpc" else "request_compression_algorithm": "gzip"}
    pressed = infer("affine", {"x": x}, **compression)
    response = plain(old.get_response())
    return {
        **_extensions(wire, module, client, plain),
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": [client.is_model_ready("affine"), client.is_model_ready("digits", "1")],
        "unknown_ready": client.is_model_ready("nothing"),
        "server": plain(client.get_server_metadata()),
        "model": plain(client.get_model_metadata("pair")),
        "numbers": np.array_equal(numbers.as_numpy("y"), 2 * x + 1, equal_nan=True),
        "texts": np.array_equal(texts.as_numpy("y"), 2 * x + 1, equal_nan=True),
        "pressed": np.array_equal(pressed.as_numpy("y"), 2 * x + 1, equal_nan=True),
        "id": plain(numbers.get_response()).get("id"),
        "pair": {name: pair.as_numpy(name).tolist() for name in ("sum", "next")},
        "int64": str(pair.as_numpy("next").dtype),
        "one": [one.as_numpy("sum") is None, one.as_numpy("next").tolist()],
        "step": step.as_numpy("next_count").tolist(),
        "old": [response["model_name"], response["model_version"]],
        "refused": {
            "model": refused("nothing", {"x": x}),
            "version": refused("affine", {"x": x}, model_version="9"),
            "word": refused("affine", {"x": x}, model_version="latest"),
            "missing": refused("pair", {"a": x}),
            "extra": refused("affine", {"z": x}),
            "dtype": refused("affine", {"x": x.astype(np.float64)}),
            "shape": refused("affine", {"x": x[:, :2]}),
            "output": refused("affine", {"x": x}, ["z"]),
            "signature": refused("affine", {"x": x}, parameters={"signature_name": "nothing"}),
        },
    }


def _extensions(wire: str, module: Any, client: Any, plain: Any) -> dict[str, Any]:
    """Classes, compression, calls that do not wait, statistics, the repository."""
    dark = module.InferInput("image", [1, 4, 4, 1], "FP32")
    dark.set_data_from_numpy(np.zeros((1, 4, 4, 1), np.float32))
    wanted = [module.InferRequestedOutput("probabilities", class_count=1)]
    classes = client.infer("digits", [dark], outputs=wanted).as_numpy("probabilities")

    x = module.InferInput("x", [1, 3], "FP32")
    x.set_data_from_numpy(np.array([[0, 1, 2]], np.float32))
    if wire == "http":
        packed = {"request_compression_algorithm": "deflate", "response_compression_algorithm": "gzip"}
        later = [client.async_infer("affine", [x], request_id=str(index)) for index in range(8)]
        identities = [reply.get_result().get_response()["id"] for reply in later]
    else:
        packed = {"compression_algorithm": "deflate"}
        arrived: queue.Queue[Any] = queue.Queue()
        for index in range(8):
            client.async_infer("affine", [x], lambda result, error: arrived.put((result, error)), request_id=str(index))
        identities = sorted(arrived.get(timeout=30)[0].get_response().id for _ in range(8))
    both = client.infer("affine", [x], **packed).as_numpy("y").tolist()

    (counted,) = plain(client.get_inference_statistics("affine", "1"))["model_stats"]
    everything = plain(client.get_inference_statistics())["model_stats"]
    try:
        client.get_model_repository_index()
        index = "OK"
    except InferenceServerException as error:
        index = str(error.status())
    return {
        "classes": [item.decode().partition(":")[2] for item in classes.ravel()],
        "packed": both,
        "later": identities,
        "counted": [
            counted["name"],
            int(counted["inference_stats"]["success"]["count"]) >= 9,
            int(counted["inference_count"]) >= int(counted["execution_count"]) > 0,
        ],
        "all counted": sorted({item["name"] for item in everything}),
        "index": index,
        "config": _configuration(wire, plain(client.get_model_config("digits"))),
        "switched off": _switched_off(client, plain),
        "stream": _stream(module, client, x) if wire == "grpc" else None,
    }


def _configuration(wire: str, told: Any) -> list[Any]:
    config = told if wire == "http" else told["config"]
    return [config["name"], config["max_batch_size"], config["input"][0]["data_type"], "dynamic_batching" in config]


def _switched_off(client: Any, plain: Any) -> list[Any]:
    """Extensions that can be read, and what is refused of them."""
    codes = []
    for change in (
        lambda: client.register_system_shared_memory("r", "/k", 8),
        lambda: client.get_cuda_shared_memory_status("r"),
        lambda: client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]}),
        lambda: client.update_log_settings({"log_verbose_level": 1}),
    ):
        try:
            change()
        except InferenceServerException as error:
            codes.append(str(error.status()).removeprefix("StatusCode."))
    client.unregister_system_shared_memory()
    client.unregister_cuda_shared_memory("r")
    regions = plain(client.get_system_shared_memory_status()), plain(client.get_cuda_shared_memory_status())
    trace, log = plain(client.get_trace_settings("affine")), plain(client.get_log_settings())
    return [codes, [len(region) for region in regions], "trace_level" in str(trace), "log_info" in str(log)]


def _stream(module: Any, client: Any, x: Any) -> list[str]:
    """Answers of a stream in their order; a bad request among them does not end it."""
    arrived: queue.Queue[Any] = queue.Queue()
    client.start_stream(callback=lambda result, error: arrived.put((result, error)))
    for index, model in enumerate(["affine", "nothing", "affine"]):
        client.async_stream_infer(model, [x], request_id=str(index))
    replies = [arrived.get(timeout=30) for _ in range(3)]
    client.stop_stream()
    return [error.message()[:25] if error else result.get_response().id for result, error in replies]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])))
