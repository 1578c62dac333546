"""Computes Grad-CAM and layer activations of a live model, for both the HTTP and the gRPC form of the API."""

from __future__ import annotations

import asyncio

from bookserve.api.requests import ExplainRequest
from bookserve.generation import explain
from bookserve.verb import Predict
from serve.engine import Engine
from serve.models.live_model import LiveModel


async def explain_picture(engine: Engine, live: LiveModel, request: ExplainRequest) -> explain.Explanation:
    """Grad-CAM; see ``bookserve.generation.explain.explain``. It runs in a thread: it needs many runs of a graph."""
    verb, graphs = live.bundle.verb(Predict), live.bundle.manifest.graphs
    explain.check_explains(live.name, graphs)
    run = engine.runner(live, asyncio.get_running_loop())
    return await asyncio.to_thread(explain.explain, verb, graphs, run, request.row, request.label)


async def layer_activations(engine: Engine, live: LiveModel, request: ExplainRequest) -> list[explain.Layer]:
    """The output of every layer; see ``bookserve.generation.explain.layers``."""
    verb, graphs = live.bundle.verb(Predict), live.bundle.manifest.graphs
    explain.check_explains(live.name, graphs)
    run = engine.runner(live, asyncio.get_running_loop())
    return await asyncio.to_thread(
        explain.layer_activations, verb, run, request.row, list(graphs[explain.ACTIVATIONS].outputs)
    )
