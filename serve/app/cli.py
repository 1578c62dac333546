"""The command ``bookserve serve``.

Every option can also be given as an environment variable (``--http-port`` is ``BOOKSERVE_HTTP_PORT``) or as a line of a
TOML file (``http-port = 8501``); the command line goes before the environment, and that before the file.
"""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import click
import msgspec

from bookserve.bundle import variant
from bookserve.cli.terminal import json_option
from bookserve.errors import InvalidInput, NotFound

port = click.IntRange(0, 65_535)
file = click.Path(path_type=Path, dir_okay=False)
seconds = click.FloatRange(0, 86_400)
wait = click.FloatRange(0.1, 86_400)
size = click.IntRange(1, 2**31 - 1)


def _configure(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Take the file's values as defaults."""
    if path:
        from serve.app import settings

        known = [parameter.name for parameter in ctx.command.params if parameter.name and parameter.name != "config"]
        ctx.default_map = settings.read_settings_file(path, known)


@click.command(context_settings={"auto_envvar_prefix": "BOOKSERVE"})
@click.argument(
    "models",
    type=click.Path(path_type=Path),
    default=Path("models"),
    metavar="[MODELS_DIR]",
    envvar="BOOKSERVE_MODELS",
)
@click.option(
    "--config", type=file, is_eager=True, expose_value=False, callback=_configure, help="TOML file of options."
)
# Where
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--http-port", type=port, default=8501, show_default=True, help="Port of REST; 0 picks a free one.")
@click.option("--grpc-port", type=port, default=8500, show_default=True, help="Port of gRPC; 0 picks a free one.")
@click.option("--http-socket", default="", metavar="PATH", help="Unix socket of REST, beside the port.")
@click.option("--grpc-socket", default="", metavar="PATH", help="Unix socket of gRPC, beside the port.")
@click.option(
    "--grpc-server",
    type=click.Choice(["builtin", "grpcio"]),
    default="builtin",
    show_default=True,
    help="Whose HTTP/2 speaks gRPC: the fast one in the server's own event loop, or that of grpcio.",
)
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes that share them.")
# Which models
@click.option("--model-config-file", type=file, help="TensorFlow Serving's models.config, instead of MODELS_DIR.")
@click.option("--allow-version-labels-for-unavailable-models", is_flag=True, help="New labels may wait.")
@click.option("--version-policy", default="latest", show_default=True, help="latest[:N], all, or 1,4,….")
@click.option("--poll", type=seconds, default=0, show_default=True, help="Look for new versions every so many seconds.")
@click.option("--lazy", is_flag=True, help="Load a model when it is first asked.")
@click.option(
    "--max-loaded", type=click.IntRange(0), default=0, help="Most models that --lazy keeps in memory; 0: all."
)
@click.option("--canary-share", type=click.FloatRange(0, 1), default=0, help="Share of requests for label 'canary'.")
@click.option(
    "--variant", type=click.Choice(list(variant.VARIANTS)), help="Serve this form of the models that have it."
)
# How they run
@click.option("--batching-parameters-file", type=file, help="TensorFlow Serving's batching parameters.")
@click.option("--max-batch", type=click.IntRange(1), help="Rows of one run.  [default: 256; requests join up to 32]")
@click.option("--max-delay", type=seconds, help="Seconds that a request waits for others to join it.  [default: 0]")
@click.option("--max-queue", type=click.IntRange(1), help="Rows that wait for one graph.  [default: 16384]")
@click.option("--request-timeout", type=seconds, default=0, help="Seconds a request may take; 0: as long as it takes.")
# Who may ask
@click.option("--api-key-file", type=file, help="API keys, one a line; all but /healthz then needs one.")
@click.option("--tls-certificate", type=file, help="PEM certificate chain of the server.")
@click.option("--tls-key", type=file, help="PEM key of that certificate.")
@click.option("--tls-client-ca", type=file, help="PEM certificates that clients' own must be signed by.")
@click.option("--cors", multiple=True, metavar="ORIGIN", help="Origin whose pages may read answers; '*': all.")
@click.option("--model-control", is_flag=True, help="Let clients list, load and unload models.")
# How much
@click.option("--max-body", type=size, default=64, show_default=True, metavar="MIB", help="Size of a request.")
@click.option("--max-inflated", type=size, default=64, show_default=True, metavar="MIB", help="Size after inflating.")
@click.option("--max-head", type=size, default=64, show_default=True, metavar="KIB", help="Size of its headers.")
@click.option("--max-depth", type=size, default=64, show_default=True, help="Nesting of a JSON body.")
@click.option("--max-elements", type=size, default=2**26, show_default=True, help="Elements of one tensor.")
@click.option("--max-streams", type=size, default=1024, show_default=True, help="Open calls of one gRPC connection.")
@click.option("--read-timeout", type=wait, default=60, show_default=True, help="Seconds for a request to arrive.")
# What is told
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Log lines.")
@click.option("--access-log", is_flag=True, help="Log each request.")
@click.option("--otel", default="", metavar="URL", help="Send traces to this OpenTelemetry collector (OTLP over HTTP).")
@json_option
def serve(as_json: bool, **given: Any) -> None:
    """Serve a directory of models over HTTP and gRPC until stopped.

    SIGTERM or Ctrl-C lets accepted requests finish; a second one ends at once. Options may also stand in the
    environment (BOOKSERVE_HTTP_PORT) or in a TOML file (http-port = 8501).
    """
    from serve.app import server
    from serve.observability import logs

    settings = _settings(given)
    if not settings.model_config_file and not settings.models.is_dir():
        raise NotFound(f"there is no directory '{settings.models}'.", "Write bundles with: bookserve export")
    logs.configure_logging(settings.log_format, settings.access_log)

    def ready(told: server.Ready) -> None:
        for error in told.errors:
            logging.warning("not served: %s", error)
        if as_json:
            click.echo(json.dumps({"http": told.http, "grpc": told.grpc, "models": told.models}))
        else:
            click.echo(f"{told.http}\n{told.grpc}\nmodels: {', '.join(told.models)}")
        logging.info("serving %d models of %s", len(told.models), settings.model_config_file or settings.models)

    if settings.workers > 1:
        from serve.app import workers

        workers.run(settings, ready)
    else:
        server.run(settings, ready)


def _settings(given: dict[str, Any]) -> Any:
    from serve.app.settings import Settings, Tls
    from serve.batching.batch_config import BatchConfig
    from serve.models.model_config import VersionPolicy

    batching = BatchConfig()
    if path := given.pop("batching_parameters_file"):
        from serve.app.tfserving_files import batching_parameters

        batching = batching_parameters.read_batching_parameters(path)
    names = {"max_batch": "max_rows", "max_delay": "max_delay", "max_queue": "max_waiting"}
    changed = {field: value for name, field in names.items() if (value := given.pop(name)) is not None}
    batching = msgspec.structs.replace(batching, **changed)
    if batching.sizes and batching.sizes[-1] != batching.most:
        raise InvalidInput("--max-batch must be the last of the allowed batch sizes.", "Leave it out.")
    certificate, key, clients = (given.pop(f"tls_{part}") for part in ("certificate", "key", "client_ca"))
    tls = None
    if certificate or key or clients:
        if not (certificate and key):
            raise InvalidInput("TLS needs both --tls-certificate and --tls-key.")
        tls = Tls(certificate, key, clients)
        tls.check()
    doors = _doors(given)
    if given["workers"] > 1 and (doors.http_socket or doors.grpc_socket):
        raise InvalidInput("several processes cannot share a Unix socket.", "Use --workers 1, or the ports.")
    policy, variant = VersionPolicy.parse(given.pop("version_policy")), given.pop("variant") or ""
    labels = given.pop("allow_version_labels_for_unavailable_models")
    return Settings(
        **given,
        policy=policy,
        variant=variant,
        unavailable_labels=labels,
        batching=batching,
        tls=tls,
        doors=doors,
    )


def _doors(given: dict[str, Any]) -> Any:
    from serve.security.access_policy import AccessPolicy
    from serve.security.limits import MIB, Limits

    limits = Limits(
        body=given.pop("max_body") * MIB,
        inflated=given.pop("max_inflated") * MIB,
        head=given.pop("max_head") * 1024,
        depth=given.pop("max_depth"),
        elements=given.pop("max_elements"),
        streams=given.pop("max_streams"),
        seconds=given.pop("read_timeout"),
    )
    origins = tuple(given.pop("cors"))
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"https?://[^/?#\s]+", origin):
            raise InvalidInput(f"'{origin}' is no origin.", "Write --cors https://example.org, without a path.")
    return AccessPolicy(limits, origins, given.pop("model_control"), given.pop("http_socket"), given.pop("grpc_socket"))
