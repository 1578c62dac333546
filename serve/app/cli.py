"""Define the command ``bookserve serve``.

Every option can also be set by an environment variable (``--http-port`` is ``BOOKSERVE_HTTP_PORT``) or in a TOML file
(``http-port = 8501``). The command line overrides the environment, which overrides the file.
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
from bookserve.cli.included import given_or_included
from bookserve.cli.terminal import device_option, json_option
from bookserve.errors import InvalidInput, NotFound

port = click.IntRange(0, 65_535)
file = click.Path(path_type=Path, dir_okay=False)
seconds = click.FloatRange(0, 86_400)
wait = click.FloatRange(0.1, 86_400)
size = click.IntRange(1, 2**31 - 1)


def _configure(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Use the values of the file as defaults."""
    if path:
        from serve.app import settings

        known = [parameter.name for parameter in ctx.command.params if parameter.name and parameter.name != "config"]
        ctx.default_map = settings.read_settings_file(path, known)


class _ServeCommand(click.Command):
    """Also takes the flags of ``tensorflow_model_server``; see ``serve/app/model_server_flags.py``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click."""
        from serve.app.model_server_flags import read_flags

        switches = {
            name
            for option in self.params
            if isinstance(option, click.Option) and option.is_flag
            for name in option.opts
        }
        args, ctx.meta[_IGNORED] = read_flags(args, switches)
        return super().parse_args(ctx, args)


#: Key of the flags without effect in click's context.
_IGNORED = "serve.app.cli.ignored"


@click.command(cls=_ServeCommand, context_settings={"auto_envvar_prefix": "BOOKSERVE"})
@click.argument(
    "models",
    type=click.Path(path_type=Path),
    default=Path("models"),
    metavar="[MODELS_DIR]",
    envvar="BOOKSERVE_MODELS",
)
@click.option(
    "--config",
    type=file,
    is_eager=True,
    expose_value=False,
    callback=_configure,
    help="TOML file with values of these options.",
)
# Addresses and processes
@click.option("--host", default="127.0.0.1", show_default=True, help="IP address or host name to listen on.")
@click.option(
    "--http-port",
    "--rest-api-port",
    type=port,
    default=8501,
    show_default=True,
    help="Port for HTTP (REST); 0 picks a free one.",
)
@click.option(
    "--grpc-port", "--port", type=port, default=8500, show_default=True, help="Port for gRPC; 0 picks a free one."
)
@click.option("--http-socket", default="", metavar="PATH", help="Also listen for HTTP on this Unix socket.")
@click.option(
    "--grpc-socket",
    "--grpc-socket-path",
    default="",
    metavar="PATH",
    help="Also listen for gRPC on this Unix socket.",
)
@click.option(
    "--grpc-server",
    type=click.Choice(["builtin", "grpcio"]),
    default="builtin",
    show_default=True,
    help="gRPC implementation: bookserve's own, which is faster, or the package grpcio.",
)
@click.option(
    "--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Number of worker processes."
)
@click.option(
    "--worker-ports",
    type=port,
    default=0,
    metavar="PORT",
    help="Worker i also listens for HTTP on PORT + i, from 0 on, so that a proxy can choose the worker.",
)
@click.option("--worker-grpc-ports", type=port, default=0, metavar="PORT", help="The same for gRPC.")
# Models
@click.option(
    "--model-config-file", type=file, help="TensorFlow Serving's models.config file, used instead of MODELS_DIR."
)
@click.option(
    "--model-base-path", type=click.Path(path_type=Path), help="Directory of the versions of one model, used instead."
)
@click.option("--model-name", default="default", show_default=True, help="Name of the model of --model-base-path.")
@click.option(
    "--allow-version-labels-for-unavailable-models",
    is_flag=True,
    help="A new version label may name a version that is not loaded yet.",
)
@click.option(
    "--version-policy",
    default="latest",
    show_default=True,
    help="Versions to serve: latest[:N], on-demand, all, or 1,4,….",
)
@click.option(
    "--poll",
    "--file-system-poll-wait-seconds",
    "--model-config-file-poll-wait-seconds",
    type=seconds,
    help="Seconds between two searches for new versions; 0: never.  [default: 0; with --model-base-path 1]",
)
@click.option("--lazy", is_flag=True, help="Load a model at its first request.")
@click.option(
    "--max-loaded",
    type=click.IntRange(0),
    default=0,
    help="Maximum number of models in memory with --lazy; 0: no limit.",
)
@click.option(
    "--canary-share",
    type=click.FloatRange(0, 1),
    default=0,
    help="Share of requests that go to the version labelled 'canary'.",
)
@click.option(
    "--variant", type=click.Choice(list(variant.VARIANTS)), help="Variant to run, for the models that have it."
)
# Devices
@device_option("auto", "auto runs each batch where it is faster.")
@click.option(
    "--model-device",
    multiple=True,
    metavar="MODEL=DEVICE",
    help="Another device for one model; repeatable. In a TOML file: a table [model-device].",
)
@click.option(
    "--gpu-memory",
    type=click.IntRange(0),
    default=0,
    metavar="MIB",
    help="Maximum GPU memory that one graph takes; 0: no limit.",
)
@click.option(
    "--gpu-replicas",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Maximum number of GPUs that share the large batches of one graph while it is hot.",
)
@click.option(
    "--cuda-graphs",
    is_flag=True,
    help="Run some batch sizes as CUDA graphs, where that measures faster when a model is loaded.",
)
@click.option("--tf32", is_flag=True, help="Let the GPU compute in TF32: faster, and precise to three digits only.")
@click.option(
    "--measure/--no-measure",
    default=True,
    help="With --device auto, time each graph on both devices when it is loaded.  [default: measure]",
)
@click.option(
    "--cache-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory in which these times are kept.  [default: bookserve in the user's cache directory]",
)
# Batching
@click.option("--batching-parameters-file", type=file, help="TensorFlow Serving's file of batching parameters.")
@click.option(
    "--max-batch",
    type=click.IntRange(1),
    help="Maximum rows of one batch.  [default: 256; requests are joined up to 32]",
)
@click.option(
    "--max-delay", type=seconds, help="Seconds that a request waits for others to share its batch.  [default: 0]"
)
@click.option("--max-queue", type=click.IntRange(1), help="Maximum rows in the queue of one graph.  [default: 16384]")
@click.option("--request-timeout", type=seconds, default=0, help="Maximum seconds for one request; 0: no limit.")
@click.option("--rest-api-timeout-in-ms", type=click.IntRange(0, 86_400_000), help="The same in milliseconds.")
# Access
@click.option(
    "--api-key-file", type=file, help="File of API keys, one per line; then all requests but /healthz need a key."
)
@click.option("--tls-certificate", type=file, help="Server certificate chain (PEM).")
@click.option("--tls-key", type=file, help="Private key of that certificate (PEM).")
@click.option(
    "--tls-client-ca", type=file, help="CA certificates (PEM); clients must then show a certificate signed by one."
)
@click.option(
    "--cors", multiple=True, metavar="ORIGIN", help="Origin whose web pages may call the server; '*': all. Repeatable."
)
@click.option("--rest-api-enable-cors-support", is_flag=True, help="The same as --cors '*'.")
@click.option(
    "--trusted-proxies",
    default="",
    metavar="NETWORKS",
    help="Addresses or networks, with commas, of proxies that are believed who their clients are.",
)
@click.option(
    "--proxy-protocol",
    is_flag=True,
    help="HTTP connections of trusted proxies begin with a header of the PROXY protocol, version 2.",
)
@click.option("--model-control", is_flag=True, help="Allow clients to load and unload models.")
@click.option(
    "--enable-signature-method-name-check",
    is_flag=True,
    help="TensorFlow Serving: classify and regress need signatures with that method name.",
)
# Limits
@click.option("--max-body", type=size, default=64, show_default=True, metavar="MIB", help="Maximum size of a request.")
@click.option(
    "--max-inflated",
    type=size,
    default=64,
    show_default=True,
    metavar="MIB",
    help="Maximum size of a request after decompression.",
)
@click.option(
    "--max-answer",
    type=size,
    default=1024,
    show_default=True,
    metavar="MIB",
    help="Maximum size of the tensors in an answer.",
)
@click.option(
    "--max-head", type=size, default=64, show_default=True, metavar="KIB", help="Maximum size of the request headers."
)
@click.option("--max-depth", type=size, default=64, show_default=True, help="Maximum nesting depth of a JSON body.")
@click.option(
    "--max-elements", type=size, default=2**26, show_default=True, help="Maximum number of elements of a tensor."
)
@click.option(
    "--max-streams",
    type=size,
    default=1024,
    show_default=True,
    help="Maximum number of open calls on one gRPC connection.",
)
@click.option(
    "--max-connections",
    type=click.IntRange(0),
    default=0,
    help="Maximum number of open gRPC connections; 0: no limit. The builtin server only.",
)
@click.option(
    "--max-connection-age",
    type=seconds,
    default=0,
    help="Seconds after which a gRPC connection is asked to end, for rolling balancers; 0: never.",
)
@click.option(
    "--read-timeout",
    type=wait,
    default=60,
    show_default=True,
    help="Maximum seconds for a request to arrive completely, and for a gRPC client to read on.",
)
# Monitoring
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Format of log lines."
)
@click.option("--access-log", is_flag=True, help="Log each request.")
@click.option("--monitoring-config-file", type=file, help="TensorFlow Serving's file with the path of the metrics.")
@click.option(
    "--metrics-models",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    help="Maximum number of models with their own values in /metrics; the others share one.",
)
@click.option("--otel", default="", metavar="URL", help="Send traces to this OpenTelemetry collector (OTLP over HTTP).")
@json_option
def serve(as_json: bool, **given: Any) -> None:
    """Serve a directory of models over HTTP and gRPC until stopped.

    Without MODELS_DIR it is the directory 'models', or the trained models that come with bookserve if there is none.
    After SIGTERM or Ctrl-C the server finishes the requests it has accepted; after a second signal it stops at once.
    Options can also be set in the environment (BOOKSERVE_HTTP_PORT) or in a TOML file (http-port = 8501).
    """
    from serve.app import server
    from serve.observability import logs

    if not (given["model_config_file"] or given["model_base_path"]):
        given["models"] = given_or_included(given["models"])
    settings = _settings(given)
    if settings.source == settings.models and not settings.models.is_dir():
        raise NotFound(f"there is no directory '{settings.models}'.", "Write bundles with: bookserve export")
    logs.configure_logging(settings.log_format, settings.access_log)
    if ignored := click.get_current_context().meta[_IGNORED]:
        logging.info("no effect here: %s", ", ".join(ignored))

    def ready(started: server.Ready) -> None:
        for error in started.errors:
            logging.warning("not served: %s", error)
        if as_json:
            click.echo(json.dumps({"http": started.http, "grpc": started.grpc, "models": started.models}))
        else:
            click.echo(f"{started.http}\n{started.grpc}\nmodels: {', '.join(started.models)}")
        logging.info("serving %d models of %s", len(started.models), settings.source)

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
        from serve.protocols.tfserving.files import batching_parameters

        batching = batching_parameters.read_batching_parameters(path)
    names = {"max_batch": "max_rows", "max_delay": "max_delay", "max_queue": "max_waiting"}
    changed = {field: value for name, field in names.items() if (value := given.pop(name)) is not None}
    batching = msgspec.structs.replace(batching, **changed)
    if batching.sizes and batching.sizes[-1] != batching.run_limit:
        raise InvalidInput("--max-batch must equal the largest of the allowed batch sizes.", "Leave --max-batch out.")
    certificate, key, clients = (given.pop(f"tls_{part}") for part in ("certificate", "key", "client_ca"))
    tls = None
    if certificate or key or clients:
        if not (certificate and key):
            raise InvalidInput("TLS needs both --tls-certificate and --tls-key.")
        tls = Tls(certificate, key, clients)
        tls.check()
    if timeout := given.pop("rest_api_timeout_in_ms"):
        given["request_timeout"] = given["request_timeout"] or timeout / 1000
    if given["poll"] is None:
        given["poll"] = 1 if given["model_base_path"] else 0
    given["device"], given["devices"] = _devices(given)
    access = _access_policy(given)
    if given["workers"] > 1 and (access.http_socket or access.grpc_socket):
        raise InvalidInput("several worker processes cannot share a Unix socket.", "Use --workers 1, or ports only.")
    _check_ports(given, access.proxies.networks, tls)
    policy, variant = VersionPolicy.parse(given.pop("version_policy")), given.pop("variant") or ""
    labels = given.pop("allow_version_labels_for_unavailable_models")
    return Settings(
        **given,
        policy=policy,
        variant=variant,
        unavailable_labels=labels,
        batching=batching,
        tls=tls,
        access=access,
    )


def _devices(given: dict[str, Any]) -> tuple[Any, dict[str, str]]:
    """The device of all models, and the names of other devices by model."""
    from bookserve.environment import cache_directory
    from bookserve.runtime.devices import DeviceConfig, parse_device

    devices = {}
    for text in given.pop("model_device"):
        model, equals, device = str(text).partition("=")
        if not (model and equals):
            raise InvalidInput(f"'{text}' is not MODEL=DEVICE.", "Write --model-device imdb_lstm=cpu")
        devices[model] = parse_device(device)
    config = DeviceConfig(
        name=parse_device(given["device"]),
        gpu_memory=given.pop("gpu_memory") * 2**20,
        tf32=given.pop("tf32"),
        measure=given.pop("measure"),
        cuda_graphs=given.pop("cuda_graphs"),
        replicas=given.pop("gpu_replicas"),
        cache=given.pop("cache_dir") or cache_directory(),
    )
    return config, devices


def _check_ports(given: dict[str, Any], proxies: tuple[object, ...], tls: object) -> None:
    for name in ("worker_ports", "worker_grpc_ports"):
        if given[name] + given["workers"] - 1 > 65_535:
            option = f"--{name.replace('_', '-')}"
            raise InvalidInput(
                f"{option} {given[name]} has no {given['workers']} ports up to 65535.", f"Choose a lower {option}."
            )
    if given["proxy_protocol"] and not proxies:
        raise InvalidInput(
            "--proxy-protocol needs the addresses of the proxies.", "Name them: --trusted-proxies 10.0.0.0/8"
        )
    if given["proxy_protocol"] and tls:
        raise InvalidInput(
            "--proxy-protocol is for connections without TLS.", "Let the proxy end TLS, or leave --proxy-protocol out."
        )


def _access_policy(given: dict[str, Any]) -> Any:
    from serve.security.access_policy import AccessPolicy
    from serve.security.limits import MIB, Limits
    from serve.security.trusted_proxies import TrustedProxies

    limits = Limits(
        body=given.pop("max_body") * MIB,
        inflated=given.pop("max_inflated") * MIB,
        answer=given.pop("max_answer") * MIB,
        head=given.pop("max_head") * 1024,
        depth=given.pop("max_depth"),
        elements=given.pop("max_elements"),
        streams=given.pop("max_streams"),
        seconds=given.pop("read_timeout"),
        connections=given.pop("max_connections"),
        connection_age=given.pop("max_connection_age"),
    )
    origins = tuple(given.pop("cors")) + (("*",) if given.pop("rest_api_enable_cors_support") else ())
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"https?://[^/?#\s]+", origin):
            raise InvalidInput(f"'{origin}' is not an origin.", "Write --cors https://example.org, without a path.")
    return AccessPolicy(
        limits,
        origins,
        given.pop("model_control"),
        given.pop("http_socket"),
        given.pop("grpc_socket"),
        _metrics_path(given.pop("monitoring_config_file")),
        given.pop("enable_signature_method_name_check"),
        TrustedProxies.parse(given.pop("trusted_proxies")),
    )


def _metrics_path(path: Path | None) -> str:
    from serve.protocols.tfserving.files.monitoring_config import read_metrics_path
    from serve.security.access_policy import AccessPolicy

    default = AccessPolicy().metrics_path
    return read_metrics_path(path, default) if path else default
