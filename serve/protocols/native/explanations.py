"""Grad-CAM and activations of a live model, for the HTTP and gRPC forms of bookserve's own API."""

from __future__ import annotations

import asyncio

from bookserve.api.requests import ExplainRequest
from bookserve.generation import explain
from bookserve.verb import Predict
from serve.engine import Engine
from serve.models.live_model import LiveModel


async def explain_picture(engine: Engine, live: LiveModel, request: ExplainRequest) -> explain.Explanation:
    """Grad-CAM; see ``bookserve.generation.explain.explain``. In a thread, since it runs the head many times."""
    verb, graphs = live.bundle.verb(Predict), live.bundle.manifest.graphs
    explain.check_explains(live.name, graphs)
    run = engine.runner(live, asyncio.get_running_loop())
    return await asyncio.to_thread(explain.explain, verb, graphs, run, request.row, request.label)


async def layer_activations(engine: Engine, live: LiveModel, request: ExplainRequest) -> list[explain.Layer]:
    """What every layer gives; see ``bookserve.generation.explain.layers``."""
    verb, graphs = live.bundle.verb(Predict), live.bundle.manifest.graphs
    explain.check_explains(live.name, graphs)
    run = engine.runner(live, asyncio.get_running_loop())
    return await asyncio.to_thread(
        explain.layer_activations, verb, run, request.row, list(graphs[explain.ACTIVATIONS].outputs)
    )
