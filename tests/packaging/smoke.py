"""Uses an installed bookserve as a user does: imports, help, a server, and predictions with and without one.

Run by ``check.py`` in an empty directory, by the interpreter of an environment that has ``bookserve[serve,client]``
alone: ``python -I smoke.py MODELS``. MODELS holds the bundles of ``tests/bundles.py``.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import signal
import subprocess
import sys
import urllib.request
from importlib.metadata import version
from pathlib import Path

COMMAND = str(Path(sys.executable).with_name("bookserve"))
MODULE = [sys.executable, "-m", "bookserve"]
#: What the serving environment lacks: packages of the training and exporting one.
ABSENT = ("tensorflow", "keras", "onnx", "tf2onnx")


def output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise SystemExit(f"{what}: found {found!r}, expected {expected!r}")


def import_all() -> int:
    """Import every module of the packages that serve and call; returns their number."""
    count = 0
    for name in ("bookserve", "serve", "clients"):
        package = importlib.import_module(name)
        expect(f"where {name} lies", str(package.__file__).startswith(sys.prefix), True)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith("__main__"):
                try:
                    importlib.import_module(module.name)
                except ModuleNotFoundError as error:
                    if error.name not in ABSENT:
                        raise
                count += 1
    return count


def predictions(models: str) -> None:
    """Serve ``models`` and ask the server, by command and by protocol."""
    serve = [*MODULE, "serve", models, "--json", "--http-port", "0", "--grpc-port", "0"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            addresses = json.loads(server.stdout.readline())
            for url in (f"local:{models}", addresses["http"], addresses["grpc"]):
                answers = json.loads(output(COMMAND, "predict", "affine", "[1, 2, 3]", "--url", url, "--json"))
                expect(f"the prediction of {url}", answers, [{"y": [3, 5, 7]}])
                text = ("generate", "writer", "--prompt", "abc", "--length", "5", "--temperature", "0", "--url", url)
                expect(f"the text of {url}", output(*MODULE, *text), "deabc\n")
            request = json.dumps({"instances": [[1, 2, 3]]}).encode()
            reply = urllib.request.urlopen(f"{addresses['http']}/v1/models/affine:predict", request, timeout=30)
            expect("TensorFlow Serving's REST API", json.load(reply), {"predictions": [[3, 5, 7]]})
            for path in ("/", "/docs", "/openapi.json", "/metrics"):
                page = urllib.request.urlopen(f"{addresses['http']}{path}", timeout=30)
                expect(f"{path} is not empty", len(page.read()) > 100, True)
        finally:
            server.send_signal(signal.SIGTERM)
        expect("the exit code of the server", server.wait(60), 0)


def included() -> None:
    """The trained models of the wheel answer without a directory of models, and the demo serves them."""
    answer = json.loads(output(COMMAND, "predict", "imdb_lstm", "a wonderful film, one of the best", "--json"))
    expect("the answer of an included model", answer[0]["probability"][0]["label"], "positive")
    said = output(COMMAND, "demo")
    expect(
        "what the demo says", ["8 trained models are served" in said, "Training needs TensorFlow" in said], [True] * 2
    )
    listed = output(COMMAND, "models", "--models", "demo/models")
    expect("the models of the demo", "imagenet_classifier" in listed, True)


def main(models: str) -> None:
    expect("the current directory", list(Path.cwd().iterdir()), [])
    expect("packages that serving must not need", [name for name in ABSENT if importlib.util.find_spec(name)], [])
    count = import_all()
    for command in ([COMMAND, "--help"], [*MODULE, "--help"], [COMMAND, "serve", "--help"]):
        expect(f"the help of {command}", output(*command).startswith("Usage: "), True)
    expect("the version", output(COMMAND, "--version").split()[-1], version("bookserve"))
    predictions(models)
    included()
    sys.stdout.write(f"Python {sys.version.split()[0]}: bookserve {version('bookserve')}, {count} modules, served\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
