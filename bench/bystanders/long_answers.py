# ruff: noqa: T201, TID253 - a measurement that prints
"""Measure how long other requests wait while one client gets answers of a hundred megabytes.

python bench/bystanders/long_answers.py [--megabytes 100] [--save FILE.json] [-- OPTIONS of bookserve serve]

A server of one model that answers a row with two million numbers is asked for long answers in every form, over HTTP and
gRPC. Meanwhile another client asks for ``/healthz`` without a pause. The exit code is 1 where one of its answers took
longer than ``LONGEST`` seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import Queue, get_context
from multiprocessing.synchronize import Event
from pathlib import Path

import grpc
import httpx
import numpy as np

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import machine  # noqa: E402

from bookserve.api import oip_pb2 as pb  # noqa: E402
from bookserve.graph import Graph, TensorSpec  # noqa: E402
from bookserve.steps import Numbers  # noqa: E402
from bookserve.verb import Predict  # noqa: E402
from tests import bundles  # noqa: E402
from tests.servers import Server, start  # noqa: E402

#: Seconds that ``/healthz`` may take.
LONGEST = 0.05
#: Numbers in the answer to one row.
WIDTH = 2_000_000
#: Bytes of JSON that such a number takes about; four bytes in binary form.
DIGITS = 11


def write_model(models: Path) -> None:
    """A model ``wide``: one number in, ``WIDTH`` out."""
    graph = Graph(
        inputs={"x": TensorSpec("float32", ("batch", 1))},
        outputs={"y": TensorSpec("float32", ("batch", WIDTH))},
        onnx="model.onnx",
    )
    from onnx import helper

    factors = np.random.default_rng(1).random((1, WIDTH), np.float32)
    bundles.write_bundle(
        models,
        "wide",
        Predict(inputs={"x": (Numbers("float32", (1,)),)}, outputs={"y": ()}),
        {"serving_default": (graph, [helper.make_node("Mul", ["x", "factors"], ["y"])], {"factors": factors})},
        {"serving_default": {"x": np.ones((1, 1), np.float32)}},
    )


def watch(url: str, begun: Event, ended: Event, seconds: Queue[list[float]]) -> None:
    """Ask for ``/healthz`` until ``ended``, and give how long each answer took; runs in a process of its own."""
    waits = []
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as http:
        while not ended.is_set():
            start = time.perf_counter()
            http.get("/healthz")
            waits.append(time.perf_counter() - start)
            begun.set()
            time.sleep(0.002)
    seconds.put(waits)


def measure(url: str, call: Callable[[], int]) -> tuple[int, float, list[float]]:
    """The size of an answer, the seconds that it took, and the sorted seconds of ``/healthz`` meanwhile."""
    processes = get_context("spawn")
    begun, ended, seconds = processes.Event(), processes.Event(), processes.Queue()
    bystander = processes.Process(target=watch, args=(url, begun, ended, seconds), daemon=True)
    bystander.start()
    begun.wait(60)
    start = time.perf_counter()
    size = call()
    took = time.perf_counter() - start
    ended.set()
    waits = sorted(seconds.get())
    bystander.join()
    return size, took, waits


def calls(server: Server, megabytes: int) -> dict[str, Callable[[], int]]:
    """By name, functions that get one long answer and return its size in bytes."""
    text_rows, raw_rows = (max(1, megabytes * 1_000_000 // (size * WIDTH)) for size in (DIGITS, 4))

    def post(path: str, body: object) -> Callable[[], int]:
        def call() -> int:
            size = 0
            with httpx.stream("POST", server.http + path, json=body, trust_env=False, timeout=120) as reply:
                reply.raise_for_status()
                for piece in reply.iter_raw():
                    size += len(piece)
            return size

        return call

    def infer(rows: int, **more: object) -> dict[str, object]:
        return {"inputs": [{"name": "x", "shape": [rows, 1], "datatype": "FP32", "data": [0.123] * rows}], **more}

    def call_grpc(rows: int, typed: bool) -> Callable[[], int]:
        request = pb.ModelInferRequest(model_name="wide")
        tensor = request.inputs.add(name="x", datatype="FP32", shape=[rows, 1])
        if typed:
            tensor.contents.fp32_contents.extend([0.123] * rows)
        else:
            request.raw_input_contents.append(np.full(rows, 0.123, np.float32).tobytes())
        options = [("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)]

        def call() -> int:
            with grpc.insecure_channel(server.grpc_target, options) as channel:
                infer_once = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
                return len(infer_once(request.SerializeToString(), timeout=120))

        return call

    rows = [[0.123]] * text_rows
    return {
        "/v1 JSON": post("/v1/models/wide:predict", {"instances": rows}),
        "/v2 JSON": post("/v2/models/wide/infer", infer(text_rows)),
        "/v2 binary": post("/v2/models/wide/infer", infer(raw_rows, parameters={"binary_data_output": True})),
        "/api JSON": post("/api/models/wide/predict", {"rows": rows}),
        "gRPC raw": call_grpc(raw_rows, typed=False),
        "gRPC typed": call_grpc(raw_rows, typed=True),
    }


def wait_a_second() -> int:
    """What the machine does to ``/healthz`` without any other request."""
    time.sleep(1)
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--save", type=Path)
    parser.add_argument("options", nargs="*")
    given = parser.parse_args()
    measured, longest = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder))
        with start(Path(folder), *given.options) as server:
            for name, call in {"nothing": wait_a_second, **calls(server, given.megabytes)}.items():
                size, seconds, waits = measure(server.http, call)
                row = {"answer": name, "megabytes": size / 1e6, "seconds": seconds}
                row |= {"healthz_p99_ms": waits[int(len(waits) * 0.99)] * 1e3, "healthz_worst_ms": waits[-1] * 1e3}
                measured.append(row)
                longest = max(longest, waits[-1])
                health = f"/healthz p99 {row['healthz_p99_ms']:5.1f} ms, worst {row['healthz_worst_ms']:5.1f} ms"
                print(f"{name:12} {size / 1e6:6.0f} MB in {seconds:5.2f} s; {health} of {len(waits)}", flush=True)
    if given.save:
        given.save.write_text(json.dumps({"machine": machine.describe(), "rows": measured}, indent=1) + "\n")
    sys.exit(longest > LONGEST)


if __name__ == "__main__":
    main()
