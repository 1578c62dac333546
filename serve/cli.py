"""The command ``bookserve serve``."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import click

from bookserve import bundle
from bookserve.errors import InvalidInput, NotFound
from bookserve.terminal import json_option

port = click.IntRange(0, 65_535)
size = click.IntRange(1, 2**31 - 1)


@click.command()
@click.argument("models", type=click.Path(path_type=Path), default=Path("models"), metavar="[MODELS_DIR]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--http-port", type=port, default=8501, show_default=True, help="Port of REST; 0 picks a free one.")
@click.option("--grpc-port", type=port, default=8500, show_default=True, help="Port of gRPC; 0 picks a free one.")
@click.option("--http-socket", default="", metavar="PATH", help="Unix socket of REST, beside the port.")
@click.option("--grpc-socket", default="", metavar="PATH", help="Unix socket of gRPC, beside the port.")
@click.option("--cors", multiple=True, metavar="ORIGIN", help="Origin whose pages may read answers; '*': all.")
@click.option("--model-control", is_flag=True, help="Let clients list, load and unload models.")
@click.option("--max-body", type=size, default=64, show_default=True, metavar="MIB", help="Size of a request.")
@click.option("--max-inflated", type=size, default=64, show_default=True, metavar="MIB", help="Size after inflating.")
@click.option("--max-head", type=size, default=64, show_default=True, metavar="KIB", help="Size of its headers.")
@click.option("--max-depth", type=size, default=64, show_default=True, help="Nesting of a JSON body.")
@click.option("--max-elements", type=size, default=2**26, show_default=True, help="Elements of one tensor.")
@click.option("--max-streams", type=size, default=1024, show_default=True, help="Open calls of one gRPC connection.")
@click.option(
    "--read-timeout", type=click.FloatRange(0.1), default=60, show_default=True, help="Seconds for a request to arrive."
)
@json_option
def serve(
    models: Path,
    host: str,
    http_port: int,
    grpc_port: int,
    http_socket: str,
    grpc_socket: str,
    cors: tuple[str, ...],
    model_control: bool,
    max_body: int,
    max_inflated: int,
    max_head: int,
    max_depth: int,
    max_elements: int,
    max_streams: int,
    read_timeout: float,
    as_json: bool,
) -> None:
    """Serve a directory of models over HTTP and gRPC until stopped.

    SIGTERM or Ctrl-C lets accepted requests finish; a second one ends at once.
    """
    if not models.is_dir():
        raise NotFound(f"there is no directory '{models}'.", "Write bundles with: bookserve export")
    if not bundle.names(models):
        raise NotFound(f"there are no models in '{models}'.", "Write bundles there with: bookserve export")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    from serve import server
    from serve.doors import Doors
    from serve.limits import MIB, Limits

    limits = Limits(
        body=max_body * MIB,
        inflated=max_inflated * MIB,
        head=max_head * 1024,
        depth=max_depth,
        elements=max_elements,
        streams=max_streams,
        seconds=read_timeout,
    )
    doors = Doors(limits, _origins(cors), model_control, http_socket, grpc_socket)

    def ready(told: server.Ready) -> None:
        for error in told.errors:
            logging.warning("not served: %s", error)
        names = [model.name for model in told.models]
        if as_json:
            click.echo(json.dumps({"http": told.http, "grpc": told.grpc, "models": names}))
        else:
            click.echo(f"{told.http}\n{told.grpc}\nmodels: {', '.join(names)}")
        logging.info("serving %d models of %s", len(names), models)

    server.run(models, host, http_port, grpc_port, ready, doors)


def _origins(given: tuple[str, ...]) -> tuple[str, ...]:
    for origin in given:
        if origin != "*" and not re.fullmatch(r"https?://[^/?#\s]+", origin):
            raise InvalidInput(f"'{origin}' is no origin.", "Write --cors https://example.org, without a path.")
    return given
