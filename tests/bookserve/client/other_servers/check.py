"""The client against servers that are not bookserve: ``make test-servers``, or this module with names of servers.

Each server gets an environment of its own under ``.tools/servers/``; the servicer on the official stubs of TensorFlow
Serving runs in this environment, which has them. All serve the tiny bundles of ``tests/bundles.py``, and have to answer
as the same bundles do without a server.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

from bookserve.client import Client, connect
from bookserve.errors import BookserveError, NotFound
from bookserve.images import encode_png
from bookserve.verb import plain_answers
from tests import bundles
from tests.servers import free_ports

HERE = Path(__file__).parent
ENVIRONMENTS = Path(".tools/servers")
#: Seconds until a server must answer.
PATIENCE = 120
BRIGHT = np.full((4, 4), 255, np.uint8)
#: Rows of each model; more of ``affine`` than Triton takes in one request.
ROWS: dict[str, Any] = {
    "digits": [encode_png(BRIGHT), BRIGHT // 5],
    "reviews": ["a good good film", "bad"],
    "affine": np.arange(60, dtype=np.float32).reshape(20, 3),
    "pair": [{"a": [1, 2.5], "b": 3}, {"b": 2**40, "a": [0, 0]}],
}


class Kind(NamedTuple):
    """One kind of server: what its environment needs, its command, and the addresses that it has."""

    packages: tuple[str, ...]
    command: Callable[[Path, str, int, int], list[str]]
    addresses: tuple[str, ...]
    models: tuple[str, ...] = tuple(ROWS)


def _mlserver(models: Path, python: str, http: int, rpc: int) -> list[str]:
    """MLServer's settings, one folder for each model."""
    folder = Path(tempfile.mkdtemp(dir=models.parent))
    settings = {
        "http_port": http,
        "grpc_port": rpc,
        "metrics_port": rpc + 1,
        "host": "127.0.0.1",
        "parallel_workers": 0,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "mlserver_onnx.py").write_text((HERE / "mlserver_onnx.py").read_text())
    for name in ROWS:
        file = max((models / name).glob("*/model.onnx"), key=lambda file: int(file.parent.name))
        session = onnxruntime.InferenceSession(file)
        model = {
            "name": name,
            "implementation": "mlserver_onnx.Onnx",
            "parameters": {"uri": str(file), "version": file.parent.name},
            "inputs": _described(session.get_inputs()),
            "outputs": _described(session.get_outputs()),
        }
        (folder / name).mkdir()
        (folder / name / "model-settings.json").write_text(json.dumps(model))
    return [str(Path(python).with_name("mlserver")), "start", str(folder)]


def _described(tensors: list[Any]) -> list[dict[str, Any]]:
    datatypes = {"tensor(float)": "FP32", "tensor(int32)": "INT32", "tensor(int64)": "INT64"}
    return [
        {
            "name": tensor.name,
            "datatype": datatypes[tensor.type],
            "shape": [size if isinstance(size, int) else -1 for size in tensor.shape],
        }
        for tensor in tensors
    ]


KINDS = {
    "tfserving": Kind(
        (),
        lambda models, python, http, rpc: [python, str(HERE / "tfserving_stubs.py"), str(models), str(rpc)],
        ("tfserving+grpc",),
    ),
    "mlserver": Kind(("mlserver==1.7.1", "onnxruntime"), _mlserver, ("oip+http", "oip+grpc")),
    "kserve": Kind(
        ("kserve==0.21.0", "onnxruntime"),
        lambda models, python, http, rpc: [
            *(python, str(HERE / "kserve_onnx.py"), str(models)),
            *(f"--http_port={http}", f"--grpc_port={rpc}"),
        ],
        ("oip+http", "oip+grpc"),
    ),
    "triton": Kind(
        ("nvidia-pytriton==0.7.0", "onnxruntime"),
        # Triton's Python backend loads the first libpython that it finds; only that of this Python fits.
        lambda models, python, http, rpc: [
            *("env", f"LD_LIBRARY_PATH={sysconfig.get_config_var('LIBDIR')}"),
            *(python, str(HERE / "triton.py"), str(models), str(http), str(rpc)),
        ],
        ("oip+http", "oip+grpc"),
        ("digits", "reviews", "affine"),
    ),
}


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        models = Path(directory) / "models"
        models.mkdir()
        bundles.write_all(models)
        for name in names or KINDS:
            kind = KINDS[name]
            python = environment(name, kind)
            http = free_ports(2)
            rpc = http + 1
            with running(kind.command(models, python, http, rpc), Path(directory) / f"{name}.log"):
                for way in kind.addresses:
                    address = f"{way}://127.0.0.1:{http if way.endswith('http') else rpc}"
                    wait(address)
                    check(address, models, kind.models)
                    sys.stdout.write(f"{name:10} {way:15} {', '.join(kind.models)}: as without a server\n")
                    sys.stdout.flush()


def environment(name: str, kind: Kind) -> str:
    """The Python of an environment with the packages of a server; it is made at the first time."""
    if not kind.packages:
        return sys.executable
    path = ENVIRONMENTS / name
    python = path / "bin/python"
    wanted = path / f"{'+'.join(kind.packages)}.ready"
    if not wanted.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", path], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-compile", *kind.packages], check=True)
        wanted.touch()
    return str(python.absolute())


def check(address: str, models: Path, names: tuple[str, ...]) -> None:
    """The same answers as without a server, the server's own description, and its errors."""
    with connect(address, bundles=models) as client, connect(f"local:{models}") as local:
        for name in names:
            same(client, local, name)
    with connect(address) as client:
        (answer,) = plain_answers(client.predict("affine", [[1, 2, 3]]))
        assert answer == {"y": [3, 5, 7]}, answer
        try:
            client.predict("nothing", [[1]])
        except NotFound:
            pass
        else:
            raise AssertionError("a model that is not there is not an error")


def same(client: Client, local: Client, model: str) -> None:
    got, expected = (plain_answers(one.predict(model, ROWS[model])) for one in (client, local))
    assert str(got) == str(expected), f"{model}: {got} instead of {expected}"


@contextmanager
def running(command: list[str], log: Path) -> Iterator[None]:
    """The process of a server, which is ended with the block; its log is printed if the block fails."""
    with log.open("w+") as file, subprocess.Popen(command, stdout=file, stderr=file, cwd=log.parent) as process:
        try:
            yield
        except BaseException:
            file.seek(0)
            sys.stderr.write("".join(file.readlines()[-60:]))
            raise
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def wait(address: str) -> None:
    """Until the server answers for the model ``affine``."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with connect(address, timeout=5, retries=0) as client:
                client.predict("affine", [[1, 2, 3]])
            return
        except BookserveError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


if __name__ == "__main__":
    main(sys.argv[1:])
