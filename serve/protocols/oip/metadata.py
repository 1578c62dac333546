"""Server and model metadata of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bookserve
from bookserve.formats.triton import model_config, platform
from bookserve.graph import TensorSpec
from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.protocols.oip.tensors import DATATYPES
from serve.security.access_policy import AccessPolicy


def server_metadata(policy: AccessPolicy) -> dict[str, Any]:
    """Name and version of this server, and the protocol extensions that it supports."""
    extensions = ["binary_tensor_data", "classification", "generate", "model_configuration", "parameters", "statistics"]
    if policy.control:
        extensions.append("model_repository")
    return {"name": "bookserve", "version": bookserve.__version__, "extensions": extensions}


def model_metadata(engine: Engine, live: LiveModel) -> dict[str, Any]:
    """The available versions of a model, and the inputs and outputs of its default graph."""
    _, graph = live.bundle.graph()
    states = engine.status(live.name)
    return {
        "name": live.name,
        "versions": [str(version) for version in sorted(s.version for s in states if s.state == "AVAILABLE")],
        "platform": platform(graph),
        "inputs": _tensors(graph.inputs),
        "outputs": _tensors(graph.outputs),
    }


def model_configuration(live: LiveModel) -> dict[str, Any]:
    """Triton's configuration of a model's default graph, as JSON."""
    return model_config(live.bundle, live.row_limit or live.batching.run_limit)


def _tensors(specs: Mapping[str, TensorSpec]) -> list[dict[str, Any]]:
    return [{"name": name, "datatype": DATATYPES[spec.dtype], "shape": spec.sizes()} for name, spec in specs.items()]
