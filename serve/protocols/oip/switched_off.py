"""Triton's extensions that this server has switched off: shared memory, trace settings and log settings.

Their status and settings can be read, as from a Triton that runs without them. Regions cannot be registered (HTTP 400),
and what would switch traces or logs on is refused with Triton's UNAVAILABLE (HTTP 503). Clients must not make the
server open memory or write files, so no option of this server switches them on: traces go to the collector of
``--otel``.
Source: ``extension_shared_memory.md``, ``extension_trace.md`` and ``extension_logging.md`` of Triton.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bookserve.errors import InvalidInput, NotFound, NotReady

#: The settings of a Triton that traces nothing, as strings and lists of strings.
TRACE_SETTINGS: Mapping[str, Any] = {
    "trace_level": ["OFF"],
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_file": "",
    "trace_mode": "triton",
}
#: The settings of a Triton that logs to its standard error.
LOG_SETTINGS: Mapping[str, Any] = {
    "log_file": "",
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
    "log_format": "default",
}


def check_region(kind: str, region: str) -> None:
    """Refuse the status of a named region of shared memory; without a name, all of them are meant, and there is none.

    Raises:
        NotFound: a region is named.
    """
    if region:
        raise NotFound(f"Unable to find {kind} shared memory region: '{region}'")


def refuse_region(kind: str, region: str) -> None:
    """Refuse to register a region of shared memory, as a Triton without GPUs refuses one of CUDA.

    Raises:
        InvalidInput: always.
    """
    raise InvalidInput(
        f"failed to register shared memory region '{region}': {kind} shared memory is switched off on this server.",
        "Send the tensors in the request.",
    )


def trace_settings(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The trace settings; ``wanted`` are those that a request sets.

    Raises:
        InvalidInput: there is no such setting.
        NotReady: a setting would change.
    """
    return _unchanged(TRACE_SETTINGS, wanted, "tracing", "Trace with an OpenTelemetry collector: --otel URL.")


def log_settings(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The log settings; ``wanted`` are those that a request sets.

    Raises:
        InvalidInput: there is no such setting.
        NotReady: a setting would change.
    """
    return _unchanged(LOG_SETTINGS, wanted, "dynamic logging", "Use --log-format and --access-log.")


def _unchanged(settings: Mapping[str, Any], wanted: Mapping[str, Any], what: str, hint: str) -> dict[str, Any]:
    for name, value in wanted.items():
        if name not in settings:
            raise InvalidInput(f"there is no setting '{name[:64]}'.", f"Settings: {', '.join(settings)}.")
        if value != settings[name]:
            raise NotReady(f"the server does not support {what}: '{name}' cannot be set.", hint)
    return dict(settings)
