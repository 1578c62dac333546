"""The commands that measure: ``bookserve bench MODEL`` (tensors), ``bench generate`` and ``bench sample``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bookserve.cli.terminal import json_option, models_option, print_json, print_table

_url = click.option("--url", help="Measure the server there (http:// or grpc://).  [default: start one]")
_seconds = click.option(
    "--seconds", type=click.FloatRange(0.1), default=2.0, show_default=True, help="Time for each workload."
)


def _numbers(ctx: click.Context, parameter: click.Parameter, value: str) -> list[int]:
    try:
        return [max(1, int(number)) for number in value.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"'{value}' is no list of numbers like 1,16") from error


_clients = click.option(
    "--clients",
    default="1,16",
    show_default=True,
    metavar="N,N",
    callback=_numbers,
    help="Numbers of concurrent callers.",
)


class _ModelOrVerb(click.Group):
    """``bench MODEL`` means ``bench predict MODEL``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["predict", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ModelOrVerb)
def bench() -> None:
    """Measure a served model beside the bare runtime, in turns on the same machine.

    `bookserve bench MODEL` is short for `bookserve bench predict MODEL`.
    """


@bench.command()
@click.argument("model")
@models_option
@_url
@_seconds
@_clients
@json_option
def predict(model: str, models: Path, url: str | None, seconds: float, clients: list[int], as_json: bool) -> None:
    """Tensors through the default graph, over both standard protocols."""
    from clients.bench.tensors import measure_tensors

    report = measure_tensors(model, models, url, seconds, clients)
    _print(report, "ratio: samples/s beside raw ONNX Runtime", as_json)


@bench.command()
@click.argument("model", default="nietzsche_lstm")
@models_option
@_url
@_seconds
@click.option(
    "--streams",
    default="1,8,64",
    show_default=True,
    metavar="N,N",
    callback=_numbers,
    help="Numbers of texts written at once.",
)
@click.option("--with-keras", is_flag=True, help="Measure the book's loop and Keras with state too (needs TensorFlow).")
@json_option
def generate(
    model: str,
    models: Path,
    url: str | None,
    seconds: float,
    streams: list[int],
    with_keras: bool,
    as_json: bool,
) -> None:
    """Texts over HTTP and gRPC beside steps of the bare runtime, and beside Keras."""
    from clients.bench.texts import measure_texts

    report = measure_texts(model, models, url, seconds, streams, with_keras)
    _print(report, "of raw: characters/s beside bare steps of ONNX Runtime", as_json)


@bench.command()
@click.argument("model", default="mnist_vae")
@models_option
@_url
@_seconds
@_clients
@click.option(
    "--pictures", default="1,64", show_default=True, metavar="N,N", callback=_numbers, help="Pictures of each request."
)
@json_option
def sample(
    model: str,
    models: Path,
    url: str | None,
    seconds: float,
    clients: list[int],
    pictures: list[int],
    as_json: bool,
) -> None:
    """Pictures from a latent space, over every protocol, beside decoding by the bare runtime."""
    from clients.bench.samples import measure_samples

    report = measure_samples(model, models, url, seconds, clients, pictures)
    _print(report, "ratio: pictures/s (samples/s) beside raw ONNX Runtime", as_json)


def _print(report: dict[str, Any], about: str, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    rows = report["workloads"]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    title = f"{report['model']} version {report['version']}; {about}"
    print_table(columns, [[row.get(name) for name in columns] for row in rows], title)
