"""Run the demo: train, export, verify, serve and call four models (``bookserve demo``, ``make demo``).

The models are trained on embedded sample data and served on free local ports. Each stage runs the command of that name
in its own process. The output of the commands is in ``demo/demo.log``.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from bookserve import bundle, images, run
from bookserve.cli.programs import python_command
from bookserve.cli.terminal import print_table
from bookserve.errors import Failed, NotFound

TASKS = ("mnist_convnet", "imdb_lstm", "nietzsche_lstm", "mnist_vae")
PROMPT = "the name of a class is "
SEED = "7"


@click.command()
@click.option("--keep", is_flag=True, help="Keep the server running afterwards.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Directory for runs, models and pictures; finished runs in it are used again.",
)
def demo(keep: bool, directory: Path) -> None:
    """Train, export, serve and call four models on sample data.

    It takes a few minutes the first time, and less when the trained runs are there already.
    """
    directory.mkdir(parents=True, exist_ok=True)
    stages = Stages(directory)
    _train(stages)
    _export(stages)
    with _server(stages, keep) as address:
        _call(stages, address)
    print_table(("stage", "result", "seconds"), stages.rows, title="\nbookserve demo, on sample data")
    click.echo(f"\npictures: {directory}/pictures   runs: {directory}/runs   models: {directory}/models")
    if keep:
        click.echo(f"\nthe server is running: {address['http']} (open it in a browser), {address['grpc']}")
        click.echo(f"stop it with: kill {address['pid']}")


class Stages:
    """The finished stages, and the log file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.rows: list[tuple[str, str, float]] = []
        self._log = directory / "demo.log"
        self._log.write_text("")

    def add(self, stage: str, result: str, seconds: float) -> None:
        """Record one finished stage and print it."""
        self.rows.append((stage, result, round(seconds, 1)))
        click.echo(f"{stage:<26} {result}  ({seconds:.1f} s)")

    def bookserve(self, *arguments: str) -> str:
        """Run one command and return its standard output.

        Raises:
            Failed: it exited with another code than 0.
        """
        command = python_command("bookserve", *arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"$ bookserve {shlex.join(arguments)}\n{done.stdout}{done.stderr}\n")
        if done.returncode == 130:
            raise KeyboardInterrupt
        if done.returncode:
            said = done.stderr.strip() or "no message"
            raise Failed(f"'bookserve {arguments[0]}' failed: {said}", f"The whole output is in {self._log}.")
        return done.stdout


def _train(stages: Stages) -> None:
    runs = stages.directory / "runs"
    missing = [task for task in TASKS if not _trained(runs, task)]
    if missing:
        click.echo(f"training {', '.join(missing)} on sample data (one or two minutes) …")
        stages.bookserve("train", *missing, "--data", "sample", "--runs", str(runs))
    for task in TASKS:
        found = run.latest_run(runs, task)
        metrics, name = found.metrics, found.recipe.origin.metric
        again = "" if task in missing else ", trained before"
        stages.add(f"train {task}", f"{name} {metrics[name]:.3f} (sample{again})", metrics["seconds"] * (not again))


def _trained(runs: Path, task: str) -> bool:
    try:
        run.latest_run(runs, task)
    except NotFound:
        return False
    return True


def _export(stages: Stages) -> None:
    runs, models = str(stages.directory / "runs"), stages.directory / "models"
    shutil.rmtree(models, ignore_errors=True)
    start = time.perf_counter()
    stages.bookserve("export", *TASKS, "--runs", runs, "--models", str(models))
    graphs = sum(len(bundle.open_bundle(models, task).manifest.graphs) for task in TASKS)
    stages.add("export", f"{len(TASKS)} bundles, {graphs} ONNX graphs", time.perf_counter() - start)
    start = time.perf_counter()
    checked = json.loads(stages.bookserve("verify", "--all", "--models", str(models), "--json"))
    worst = max(check["onnx_difference"] for check in checked)
    stages.add("verify", f"ONNX = SavedModel = Keras, largest difference {worst:.1e}", time.perf_counter() - start)


@contextmanager
def _server(stages: Stages, keep: bool) -> Iterator[dict[str, Any]]:
    """Start the server, yield its addresses, and stop it (unless ``keep`` is set and nothing failed)."""
    models = str(stages.directory / "models")
    command = python_command("bookserve", "serve", models, "--http-port", "0", "--grpc-port", "0", "--json")
    start = time.perf_counter()
    with (stages.directory / "server.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise Failed("the server did not start.", f"See {stages.directory / 'server.log'}.")
        memory = _resident_megabytes(process.pid)
        stages.add("serve", f"{len(TASKS)} models ready{memory}", time.perf_counter() - start)
        yield {**json.loads(line), "pid": process.pid}
        if not keep:
            start = time.perf_counter()
            process.send_signal(signal.SIGTERM)
            code = process.wait(timeout=60)
            if code:
                raise Failed(f"the server stopped with exit code {code}.", f"See {stages.directory / 'server.log'}.")
            stages.add("stop", "server stopped cleanly", time.perf_counter() - start)
    except BaseException:
        process.kill()
        raise


def _call(stages: Stages, address: dict[str, Any]) -> None:
    """Predict, generate and sample, and check that HTTP, gRPC and local calls give the same answers."""
    models, shown = stages.directory / "models", stages.directory / "pictures"
    shown.mkdir(exist_ok=True)
    digits = bundle.open_bundle(models, "mnist_convnet").examples().rows
    files = []
    for index, digit in enumerate(digits):
        path = shown / f"digit_{index}.png"
        path.write_bytes(images.encode_png(digit))
        files.append(str(path))
    urls = address["http"], address["grpc"], f"local:{models}"

    def call_everywhere(*arguments: str) -> str:
        """The answer over HTTP; the answers over gRPC and without a server must be the same."""
        answers = [stages.bookserve(*arguments, "--url", url) for url in urls]
        if len(set(answers)) > 1:
            raise Failed(f"'bookserve {arguments[0]}' gives different answers over {', '.join(urls)}.", "See demo.log.")
        return answers[0]

    start = time.perf_counter()
    answers = json.loads(call_everywhere("predict", "mnist_convnet", *files, "--json"))
    read = " ".join(next(iter(answer.values()))[0]["label"] for answer in answers)
    stages.add("predict mnist_convnet", f"{len(files)} pictures in one batch: {read}", time.perf_counter() - start)

    start = time.perf_counter()
    rows = bundle.open_bundle(models, "imdb_lstm").examples().rows[:2]
    answers = json.loads(call_everywhere("predict", "imdb_lstm", *map(str, rows), "--json"))
    read = ", ".join(
        f"“{str(row)[:24]}…” {next(iter(answer.values()))[0]['label']}"
        for row, answer in zip(rows, answers, strict=True)
    )
    stages.add("predict imdb_lstm", read, time.perf_counter() - start)

    for temperature in ("0.2", "1.0"):
        start = time.perf_counter()
        arguments = ("generate", "nietzsche_lstm", "--prompt", PROMPT, "--seed", SEED, "--temperature", temperature)
        text = call_everywhere(*arguments)
        (shown / f"text_{temperature}.txt").write_text(PROMPT + text, "utf-8")
        stages.add(f"generate at {temperature}", f"…{' '.join(text.split())[:60]}…", time.perf_counter() - start)

    start = time.perf_counter()
    grid = shown / "digits_grid.png"
    stages.bookserve("sample", "mnist_vae", "--grid", "15", "-o", str(grid), "--url", address["http"])
    stages.add("sample mnist_vae", f"15 × 15 digits: {grid}", time.perf_counter() - start)


def _resident_megabytes(pid: int) -> str:
    """The resident memory of a process in words; '' where the system does not report it."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return ""
    return f", {pages * os.sysconf('SC_PAGE_SIZE') // 2**20} MB resident"
