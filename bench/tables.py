"""Compare ``bookserve predict TABLE -o out.parquet``, without a server and over gRPC, with bare ONNX Runtime.

    python -m bench.tables [ROWS]
    python -m bench.tables pictures [COUNT]

Writes a CSV table of random rows for ``pretrained/boston_housing`` (13 columns, 1,000,000 rows by default). Predicts it
three times, each in a process of its own: by a loop that reads it with pyarrow in batches, runs the model in ONNX
Runtime and writes Parquet; by ``bookserve predict`` without a server; and through a server on this machine. The answers
must be equal. Prints seconds, rows a second and the most memory of each process. ``pictures`` predicts a directory of
PNG files (10,000 digits of 28 × 28 pixels) beside a loop that only decodes them with Pillow.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

MODELS = Path(__file__).parents[1] / "pretrained"
BARE = """
import json, sys
import numpy as np, onnxruntime, pyarrow as pa, pyarrow.csv, pyarrow.parquet
csv, model, output = sys.argv[1:]
step = json.load(open(model + "/bundle.json"))["verb"]["inputs"]["features"][1]
mean, deviation = np.array(step["mean"]), np.array(step["deviation"])
session = onnxruntime.InferenceSession(model + "/model.onnx", providers=["CPUExecutionProvider"])
schema = pa.schema([("price", pa.float32())])
with pyarrow.parquet.ParquetWriter(output, schema, compression="zstd") as writer:
    for batch in pyarrow.csv.open_csv(csv):
        rows = np.stack([column.to_numpy() for column in batch.columns], axis=-1)
        (found,) = session.run(None, {"features": ((rows - mean) / deviation).astype(np.float32)})
        writer.write_table(pa.table([found[:, 0]], schema))
"""
PILLOW = """
import sys, pathlib, PIL.Image
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    with PIL.Image.open(path) as picture:
        picture.convert("L").tobytes()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("what", nargs="?", default="1000000", help="number of rows, or: pictures")
    parser.add_argument("count", nargs="?", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.what == "pictures":
            _pictures(Path(folder), given.count)
        else:
            _tables(Path(folder), int(given.what))


def _tables(folder: Path, rows: int) -> None:
    import pyarrow.parquet

    table = folder / "rows.csv"
    _write_table(table, rows)
    model = str(MODELS / "boston_housing" / "1")
    results = {"bare ONNX Runtime": _measure(_python("-c", BARE, str(table), model, str(folder / "bare.parquet")))}
    predict = ("-m", "bookserve", "predict", "boston_housing", str(table), "-o")
    command = _python(*predict, str(folder / "local.parquet"), "--url", f"local:{MODELS}")
    results["bookserve predict, no server"] = _measure(command)
    with _server() as address:
        results["bookserve predict, gRPC"] = _measure(_python(*predict, str(folder / "grpc.parquet"), "--url", address))
    expected = pyarrow.parquet.read_table(folder / "bare.parquet")["price"].to_numpy()
    for name in ("local", "grpc"):
        found = pyarrow.parquet.read_table(folder / f"{name}.parquet")["price"].to_numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    _print(results, rows, "rows")


def _pictures(folder: Path, count: int) -> None:
    from bookserve.images import encode_png

    with np.load(MODELS / "mnist_convnet" / "1" / "examples.npz") as examples:
        digits = examples["rows"]
    pictures = folder / "pictures"
    pictures.mkdir()
    for number in range(count):
        (pictures / f"{number:05}.png").write_bytes(encode_png(digits[number % len(digits)]))
    results = {"bare Pillow, decoding only": _measure(_python("-c", PILLOW, str(pictures)))}
    command = ("-m", "bookserve", "predict", "mnist_convnet", str(pictures), "-o", str(folder / "out.csv"))
    results["bookserve predict, no server"] = _measure(_python(*command, "--url", f"local:{MODELS}"))
    _print(results, count, "pictures")


def _write_table(path: Path, rows: int) -> None:
    names = ["CRIM", "ZN", "INDUS", "CHAS", "NOX", "RM", "AGE", "DIS", "RAD", "TAX", "PTRATIO", "B", "LSTAT"]
    random = np.random.default_rng(0)
    with path.open("w") as stream:
        stream.write(",".join(names) + "\n")
        for start in range(0, rows, 10_000):
            block = random.uniform(0, 100, (min(10_000, rows - start), len(names)))
            np.savetxt(stream, block, "%.4f", ",")


def _python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def _measure(command: list[str]) -> tuple[float, float, float]:
    """Seconds of a command, seconds of CPU that it used, and the MB of memory it had at most."""
    import psutil

    start = time.perf_counter()
    most, used = 0, 0.0
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                most = max(most, watched.memory_info().rss)
                used = sum(watched.cpu_times()[:2])
            except psutil.Error:
                break
            time.sleep(0.02)
        elapsed = time.perf_counter() - start
        errors = process.stderr.read() if process.stderr else ""
    if process.returncode:
        raise RuntimeError(f"{command[:6]} failed:\n{errors}")
    return elapsed, used, most / 1e6


@contextmanager
def _server() -> Iterator[str]:
    command = _python("-m", "bookserve", "serve", str(MODELS), "--json", "--http-port", "0", "--grpc-port", "0")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            yield json.loads(line)["grpc"]
        finally:
            process.terminate()


def _print(results: dict[str, tuple[float, float, float]], count: int, what: str) -> None:
    first = next(iter(results.values()))[0]
    print(f"| {count:,} {what} | seconds | CPU seconds | {what} a second | of the first | most memory |")  # noqa: T201
    print("|---|---|---|---|---|---|")  # noqa: T201
    for name, (seconds, used, memory) in results.items():
        cells = f"{seconds:.2f} | {used:.2f} | {count / seconds:,.0f} | {first / seconds:.2f} | {memory:,.0f} MB"
        print(f"| {name} | {cells} |")  # noqa: T201


if __name__ == "__main__":
    main()
