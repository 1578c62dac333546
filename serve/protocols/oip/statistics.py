"""Statistics: what was counted of models, in the form of Triton's statistics extension.

``inference_count`` counts rows and ``execution_count`` runs. What this server does not measure apart, the work before
and behind a run, is 0. Of several processes, each counts its own.
"""

from __future__ import annotations

from typing import Any

from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.observability.statistics import Duration


def statistics_response(engine: Engine, lives: list[LiveModel]) -> dict[str, Any]:
    """The counts of some live models."""
    return {"model_stats": [_version_statistics(engine, live) for live in lives]}


def _version_statistics(engine: Engine, live: LiveModel) -> dict[str, Any]:
    counted = engine.counted(live)
    runs = Duration()
    for duration in counted.runs.values():
        runs = runs.plus(duration)
    return {
        "name": live.name,
        "version": str(live.version),
        "last_inference": int(counted.last * 1000),
        "inference_count": sum(rows * duration.count for rows, duration in counted.runs.items()),
        "execution_count": runs.count,
        "inference_stats": {
            "success": _duration(counted.success),
            "fail": _duration(counted.fail),
            "queue": _duration(counted.queue),
            "compute_input": _duration(),
            "compute_infer": _duration(runs),
            "compute_output": _duration(),
            "cache_hit": _duration(),
            "cache_miss": _duration(),
        },
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": _duration(),
                "compute_infer": _duration(duration),
                "compute_output": _duration(),
            }
            for rows, duration in counted.runs.items()
        ],
    }


def _duration(duration: Duration | None = None) -> dict[str, int]:
    return {"count": duration.count, "ns": duration.ns} if duration else {"count": 0, "ns": 0}
