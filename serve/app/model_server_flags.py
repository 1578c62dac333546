"""Understands the command line of ``tensorflow_model_server``, so that ``bookserve serve`` takes it unchanged.

Flags may be written with underscores, and switches with a value (``--enable_batching=true``). Those that mean the same
as an option here are other names of that option (``serve/app/cli.py``). This module knows the rest: flags that only
tune TensorFlow's threads and memory are accepted and have no effect; those that would change answers are refused.

Source: TensorFlow Serving's ``model_servers/main.cc``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from bookserve.errors import InvalidInput

#: Flags without effect here, and whether they are switches, which may stand without a value.
_WITHOUT_EFFECT = {
    "enable-batching": True,
    "enable-grpc-healthcheck-service": True,
    "enable-profiler": True,
    "enable-serialization-as-tensor-content": True,
    "flush-filesystem-caches": True,
    "remove-unused-fields-from-bundle-metagraph": True,
    "skip-initialize-tpu": True,
    "xla-cpu-compilation-enabled": True,
    "xla-gpu-compilation-enabled": True,
    "grpc-channel-arguments": False,
    "grpc-max-threads": False,
    "load-retry-interval-micros": False,
    "max-num-load-retries": False,
    "num-load-threads": False,
    "num-request-iterations-for-warmup": False,
    "num-tflite-interpreters-per-pool": False,
    "num-tflite-pools": False,
    "num-unload-threads": False,
    "per-process-gpu-memory-fraction": False,
    "rest-api-num-threads": False,
    "tensorflow-inter-op-parallelism": False,
    "tensorflow-intra-op-parallelism": False,
    "tensorflow-session-config-file": False,
    "tensorflow-session-parallelism": False,
    "thread-pool-factory-config-file": False,
}
#: Flags that are refused unless they have one of these values, whether they are switches, and what to do instead.
_REFUSED: dict[str, tuple[tuple[str, ...], bool, str]] = {
    "enable-model-warmup": (("true", "1"), True, "Remove assets.extra/tf_serving_warmup_requests from the versions."),
    "enable-per-model-batching-parameters": (("false", "0"), True, "Use --batching-parameters-file for all models."),
    "mixed-precision": (("",), False, "Convert the model before."),
    "platform-config-file": (("",), False, "There is one platform, tensorflow."),
    "prefer-tflite-model": (("false", "0"), True, "TensorFlow Lite files are not served."),
    "saved-model-tags": (("serve", ""), False, "Only the part of a SavedModel that is tagged 'serve' is served."),
    "ssl-config-file": (("",), False, "Name PEM files: --tls-certificate, --tls-key, --tls-client-ca."),
    "use-alts-credentials": (("false", "0"), True, "Use TLS: --tls-certificate, --tls-key."),
}
_TRUE, _FALSE = ("true", "1"), ("false", "0")


def read_flags(arguments: Iterable[str], switches: Collection[str]) -> tuple[list[str], list[str]]:
    """The arguments as the options of ``bookserve serve``, and the names of flags that have no effect.

    ``switches`` are the options without a value, such as ``--lazy``.

    Raises:
        InvalidInput: a flag asks for what is not done here, or a switch is neither true nor false.
    """
    remaining: list[str] = []
    ignored: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        name, equals, value = argument.partition("=")
        if not name.startswith("--") or argument == "--":
            remaining += [argument, *waiting] if argument == "--" else [argument]
            if argument == "--":
                break
            continue
        flag = name[2:].replace("_", "-")
        if flag in _WITHOUT_EFFECT or flag in _REFUSED:
            is_switch = _WITHOUT_EFFECT[flag] if flag in _WITHOUT_EFFECT else _REFUSED[flag][1]
            if not equals:
                value = "true" if is_switch else waiting.pop(0) if waiting else ""
            if flag in _WITHOUT_EFFECT:
                ignored.append(f"--{flag}")
            elif value.lower() not in _REFUSED[flag][0]:
                raise InvalidInput(f"--{flag}={value} is not supported.", _REFUSED[flag][2])
        elif equals and f"--{flag}" in switches:
            if value.lower() not in (*_TRUE, *_FALSE):
                raise InvalidInput(f"--{flag}={value} is neither true nor false.", f"Write --{flag}, or leave it out.")
            remaining += [f"--{flag}"] if value.lower() in _TRUE else []
        else:
            remaining.append(f"--{flag}{equals}{value}")
    return remaining, ignored
