"""The command ``bookserve serve``."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import click

from bookserve import bundle, variant
from bookserve.errors import NotFound
from bookserve.terminal import json_option

port = click.IntRange(0, 65_535)


@click.command()
@click.argument("models", type=click.Path(path_type=Path), default=Path("models"), metavar="[MODELS_DIR]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--http-port", type=port, default=8501, show_default=True, help="Port of REST; 0 picks a free one.")
@click.option("--grpc-port", type=port, default=8500, show_default=True, help="Port of gRPC; 0 picks a free one.")
@click.option("--variant", type=click.Choice(list(variant.NAMES)), help="Serve this form of the models that have it.")
@json_option
def serve(models: Path, host: str, http_port: int, grpc_port: int, variant: str | None, as_json: bool) -> None:
    """Serve a directory of models over HTTP and gRPC until stopped.

    SIGTERM or Ctrl-C lets accepted requests finish; a second one ends at once.
    """
    if not models.is_dir():
        raise NotFound(f"there is no directory '{models}'.", "Write bundles with: bookserve export")
    if not bundle.names(models):
        raise NotFound(f"there are no models in '{models}'.", "Write bundles there with: bookserve export")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    from serve import server

    def ready(told: server.Ready) -> None:
        for error in told.errors:
            logging.warning("not served: %s", error)
        names = [model.name for model in told.models]
        without = [model.name for model in told.models if variant and variant not in model.bundle.manifest.variants]
        if without:
            logging.warning("served in float32, since exported without %s: %s", variant, ", ".join(without))
        if as_json:
            click.echo(json.dumps({"http": told.http, "grpc": told.grpc, "models": names}))
        else:
            click.echo(f"{told.http}\n{told.grpc}\nmodels: {', '.join(names)}")
        logging.info("serving %d models of %s", len(names), models)

    server.run(models, host, http_port, grpc_port, ready, variant or "")
