"""Commands that measure a served model: ``bookserve bench [predict]``, ``bench generate`` and ``bench sample``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bookserve.cli.terminal import device_option, json_option, models_option, next_command, print_json, print_table

_url = click.option("--url", help="Server to measure (http:// or grpc://).  [default: start one]")
_device = device_option("cpu", "Of the server that is started, and of ONNX Runtime alone.")
_seconds = click.option(
    "--seconds", type=click.FloatRange(0.1), default=2.0, show_default=True, help="Seconds to measure each workload."
)


def _numbers(ctx: click.Context, parameter: click.Parameter, value: str) -> list[int]:
    try:
        return [max(1, int(number)) for number in value.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"'{value}' is not a list of numbers like 1,16") from error


_clients = click.option(
    "--clients",
    default="1,16",
    show_default=True,
    metavar="N,N",
    callback=_numbers,
    help="Numbers of concurrent clients to measure with.",
)


class _ModelOrVerb(click.Group):
    """``bench MODEL`` means ``bench predict MODEL``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["predict", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ModelOrVerb)
def bench() -> None:
    """Compare a served model's speed with ONNX Runtime alone.

    The server and ONNX Runtime are measured in turns on this machine. `bookserve bench MODEL` means `bookserve bench
    predict MODEL`.
    """


@bench.command(short_help="Predictions over HTTP and gRPC.")
@click.argument("model")
@models_option
@_url
@_device
@_seconds
@_clients
@json_option
def predict(
    model: str, models: Path, url: str | None, device: str, seconds: float, clients: list[int], as_json: bool
) -> None:
    """Measure predictions: tensors through the default graph.

    They are sent over TensorFlow Serving's REST API and over the Open Inference Protocol's gRPC.
    """
    from clients.bench.tensors import measure_tensors

    report = measure_tensors(model, models, url, seconds, clients, device)
    _print(report, "ratio: samples/s in relation to ONNX Runtime alone", as_json)


@bench.command(short_help="Text generation over HTTP and gRPC.")
@click.argument("model", default="nietzsche_lstm")
@models_option
@_url
@_device
@_seconds
@click.option(
    "--streams",
    default="1,8,64",
    show_default=True,
    metavar="N,N",
    callback=_numbers,
    help="Numbers of texts to generate at the same time.",
)
@click.option(
    "--with-keras",
    is_flag=True,
    help="Also measure Keras: the book's loop, and one that keeps the state (needs TensorFlow).",
)
@json_option
def generate(
    model: str,
    models: Path,
    url: str | None,
    device: str,
    seconds: float,
    streams: list[int],
    with_keras: bool,
    as_json: bool,
) -> None:
    """Measure text generation over HTTP and gRPC, compared with ONNX Runtime alone and with Keras."""
    from clients.bench.texts import measure_texts

    report = measure_texts(model, models, url, seconds, streams, with_keras, device)
    _print(report, "of raw: characters/s in relation to ONNX Runtime alone", as_json)


@bench.command(short_help="Pictures from a latent space.")
@click.argument("model", default="mnist_vae")
@models_option
@_url
@_device
@_seconds
@_clients
@click.option(
    "--pictures",
    default="1,64",
    show_default=True,
    metavar="N,N",
    callback=_numbers,
    help="Numbers of pictures per request.",
)
@json_option
def sample(
    model: str,
    models: Path,
    url: str | None,
    device: str,
    seconds: float,
    clients: list[int],
    pictures: list[int],
    as_json: bool,
) -> None:
    """Measure pictures from a latent space over every protocol, compared with decoding by ONNX Runtime alone."""
    from clients.bench.samples import measure_samples

    report = measure_samples(model, models, url, seconds, clients, pictures, device)
    _print(report, "ratio: pictures/s (samples/s) in relation to ONNX Runtime alone", as_json)


def _print(report: dict[str, Any], about: str, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    rows = report["workloads"]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    title = f"{report['model']} version {report['version']}; {about}"
    print_table(columns, [[row.get(name) for name in columns] for row in rows], title)
    next_command("bookserve bench --help   (texts, pictures, several clients, a server elsewhere)")
