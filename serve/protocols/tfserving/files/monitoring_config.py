"""Reads a ``monitoring_config_file``: TensorFlow Serving's MonitoringConfig in protobuf's text format.

It says whether metrics for Prometheus are exported, and at which path.
"""

from __future__ import annotations

from pathlib import Path

from bookserve.errors import InvalidInput
from serve.protocols.tfserving.files import files_pb2 as pb
from serve.protocols.tfserving.files.text_file import read_text_file

_EXAMPLE = 'prometheus_config { enable: true, path: "/monitoring/prometheus/metrics" }'


def read_metrics_path(path: Path, default: str) -> str:
    """The path of the metrics that the file names, ``default`` if it names none; '' if it does not enable them.

    Raises:
        NotFound: no such file.
        InvalidInput: it is not a MonitoringConfig in text format, or the path does not begin with a slash.
    """
    config = pb.MonitoringConfig()
    read_text_file(path, config, "tensorflow.serving.MonitoringConfig", _EXAMPLE)
    if not config.prometheus_config.enable:
        return ""
    found = config.prometheus_config.path or default
    if not found.startswith("/") or any(character in found for character in "{}?#"):
        raise InvalidInput(f"{path} names the path '{found}' for metrics.", f"Write: {_EXAMPLE}")
    return found
