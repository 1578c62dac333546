"""Serve the trained models, call them, and train one more beside them (``bookserve demo``, ``make demo``).

First the models that come with bookserve are served, and the address is printed. Then they are called over HTTP, gRPC
and without a server. Then one model is trained on drawn digits, exported, verified and copied into the directory
that is served, where it appears by itself. The messages of all processes are in ``demo/demo.log``.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from bookserve import bundle, images, run
from bookserve.cli.included import included_models
from bookserve.cli.stages import DemoInterrupted, Stages, open_stages, timed
from bookserve.errors import Failed, NotFound

if TYPE_CHECKING:
    from bookserve.client.client import Client

#: The model that is trained: the first of the book, and none of those in ``pretrained/``.
TASK = "mnist_dense"
REVIEWS = ("A wonderful film, one of the best I have seen in years.", "A terrible, boring film: a waste of time.")
PROMPT = "the will to "
SEED = 7
#: Seconds for the server to start, and for it to find a new model.
STARTING, FINDING = 120, 60
HTTP_PORT, GRPC_PORT = 8501, 8500


class Server(NamedTuple):
    """The running server: its addresses and its process."""

    http: str
    grpc: str
    process: subprocess.Popen[str]


@click.command()
@click.option("--keep", is_flag=True, help="Keep the server running afterwards.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Directory for models, runs and pictures.",
)
def demo(keep: bool, directory: Path) -> None:
    """Serve the trained models, call them, and train one more beside them.

    The address of the server is printed first: open it in a browser. On a terminal the server runs until Ctrl-C;
    otherwise, without --keep, it stops at the end.
    """
    on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    try:
        (directory / "pictures").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failed(f"{directory} cannot be written: {error.strerror}.", "Choose another: --directory") from error
    with open_stages(directory / "demo.log") as stages:
        try:
            server = _serve(stages, directory)
            _call(stages, server, directory)
            _train(stages, server, directory)
            if keep:
                stages.release(server.process)
                click.echo(f"\nThe server runs on: {server.http}, {server.grpc}")
                click.echo(f"Stop it with: kill {server.process.pid}")
                return
            if on_terminal:
                click.echo(f"\n{server.http} serves until you press Ctrl-C.")
                stages.sleep_until(lambda: False, float("inf"))
        except DemoInterrupted:
            if not on_terminal:
                raise KeyboardInterrupt from None
        stages.close()
    click.echo("\nThe server has stopped.")
    click.echo(_next_commands(directory))


def _serve(stages: Stages, directory: Path) -> Server:
    """Copy the models that come with bookserve and serve the copies, so that others can join them."""
    start, models = time.perf_counter(), directory / "models"
    shutil.rmtree(models, ignore_errors=True)
    shutil.copytree(included_models(), models)
    process, line = _start_server(stages, models)
    if not line:
        raise Failed("the server did not start.", f"Its messages are at the end of {directory / 'demo.log'}.")
    ready = json.loads(line)
    click.echo(f"{len(ready['models'])} trained models are served ({time.perf_counter() - start:.1f} s):\n")
    click.echo(f"  {click.style(ready['http'], bold=True)}   open it in a browser\n  {ready['grpc']}\n")
    return Server(ready["http"], ready["grpc"], process)


def _start_server(stages: Stages, models: Path) -> tuple[subprocess.Popen[str], str]:
    """Start the server at its usual ports, or at others if those are taken; returns it and the line that it prints."""
    while True:
        ports = _free(HTTP_PORT), _free(GRPC_PORT)
        arguments = ("--http-port", ports[0], "--grpc-port", ports[1], "--poll", "1", "--json")
        process = stages.start("serve", str(models), *arguments)
        line = stages.read_line(process, STARTING)
        # Without a line, another program may have taken a port first: for example a second demo.
        if line or (_free(HTTP_PORT), _free(GRPC_PORT)) == ports:
            return process, line


def _call(stages: Stages, server: Server, directory: Path) -> None:
    """Call four models over HTTP, gRPC and without a server; the answers must be the same."""
    from bookserve.client.address import connect
    from bookserve.verb import plain_answers

    models, pictures = directory / "models", directory / "pictures"
    with ExitStack() as stack:
        clients = {url: stack.enter_context(connect(url)) for url in (server.http, server.grpc, f"local:{models}")}

        def everywhere(ask: Callable[[Any], Any]) -> Any:
            stages.check()
            answers = [ask(client) for client in clients.values()]
            if any(answer != answers[0] for answer in answers):
                raise Failed(f"the answers differ over {', '.join(clients)}.", "Please report this as a bug.")
            return answers[0]

        def best(model: str, rows: list[Any]) -> list[str]:
            answers = everywhere(lambda client: _labels(plain_answers(client.predict(model, rows))))
            return [str(answer[0]) for answer in answers]

        digits = [images.encode_png(row) for row in bundle.open_bundle(models, "mnist_convnet").examples().rows]
        for index, digit in enumerate(digits):
            (pictures / f"digit_{index}.png").write_bytes(digit)
        with timed("predict mnist_convnet") as result:
            result(f"{len(digits)} pictures of digits: {' '.join(best('mnist_convnet', digits))}")
        with timed("predict imdb_lstm") as result:
            read = zip(REVIEWS, best("imdb_lstm", list(REVIEWS)), strict=True)
            result(", ".join(f"“{text[:16]}…” {label}" for text, label in read))
        for temperature in (0.2, 1.0):
            with timed(f"generate at {temperature}") as result:
                text = everywhere(partial(_text, temperature))
                (pictures / f"text_{temperature}.txt").write_text(PROMPT + text, "utf-8")
                result(f"{PROMPT}{' '.join(text.split())[:40]}…")
        with timed("sample mnist_vae") as result:
            grid = next(iter(clients.values())).sample("mnist_vae", grid=15).images
            (pictures / "digits_grid.png").write_bytes(images.encode_png(images.contact_sheet(grid, 15)))
            result(f"15 × 15 digits: {pictures / 'digits_grid.png'}")
    click.echo("The answers over HTTP, over gRPC and without a server are the same.\n")


def _train(stages: Stages, server: Server, directory: Path) -> None:
    """Train a model, export and verify it, and copy it into the directory that is served."""
    missing = [name for name in ("tensorflow", "keras", "tf2onnx") if importlib.util.find_spec(name) is None]
    if missing:
        click.echo("Training needs TensorFlow, which is not installed here: pip install 'bookserve[all]'")
        return
    runs, exported, models = directory / "runs", directory / "exported", directory / "models"
    with timed(f"train {TASK}") as result:
        again = ", trained before"
        if not _is_trained(runs):
            again = ""
            click.echo(f"{TASK} is being trained on drawn digits (sample data), beside the server …")
            stages.run("train", TASK, "--data", "sample", "--runs", str(runs))
        result(f"test_accuracy {run.latest_run(runs, TASK).metrics['test_accuracy']:.3f} (sample{again})")
    with timed("export") as result:
        shutil.rmtree(exported, ignore_errors=True)
        stages.run("export", TASK, "--runs", str(runs), "--models", str(exported))
        result(f"{exported / TASK / '1'}: SavedModel and ONNX")
    with timed("verify") as result:
        (checked,) = json.loads(stages.run("verify", TASK, "--models", str(exported), "--json"))
        result(f"ONNX = SavedModel = Keras, largest difference {checked['onnx_difference']:.1e}")
    with timed("push") as result:
        stages.run("push", TASK, str(models), "--models", str(exported))
        if not stages.sleep_until(lambda: _is_served(server), FINDING):
            raise Failed(f"the server has not found {TASK}.", f"Its messages are in {directory / 'demo.log'}.")
        result(f"{server.http} serves {TASK}, too")


def _next_commands(directory: Path) -> str:
    """What to type next."""
    typed = _typed_name()
    commands = (
        (f"{typed} serve", "serve the trained models again"),
        (f"{typed} predict mnist_convnet {directory}/pictures/digit_0.png", "call one, with or without a server"),
        (f"{typed} tasks", "list what can be trained"),
    )
    width = max(len(command) for command, _ in commands)
    return "Next:\n" + "\n".join(f"  {command:<{width}}   # {what}" for command, what in commands)


def _text(temperature: float, client: Client) -> str:
    return "".join(client.generate("nietzsche_lstm", PROMPT, 200, temperature, seed=SEED))


def _typed_name() -> str:
    """How to call bookserve here: by its name if that is on the path, else as this program was called."""
    program = Path(sys.argv[0])
    if shutil.which("bookserve") or not program.exists():
        return "bookserve"
    if program.name == "__main__.py":
        return "python -m bookserve"
    return str(program.relative_to(Path.cwd())) if program.is_relative_to(Path.cwd()) else str(program)


def _labels(answers: Iterable[dict[str, Any]]) -> list[list[str]]:
    """The labels of each answer, likeliest first."""
    return [[item["label"] for item in next(iter(answer.values()))] for answer in answers]


def _is_trained(runs: Path) -> bool:
    try:
        return run.latest_run(runs, TASK).has_saved_model
    except NotFound:
        return False


def _is_served(server: Server) -> bool:
    from bookserve.client.address import connect

    with connect(server.http) as client:
        return any(model["name"] == TASK for model in client.models())


def _free(port: int) -> str:
    """The port, if nothing listens there; else 0, which lets the system choose one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return "0"
    return str(port)
