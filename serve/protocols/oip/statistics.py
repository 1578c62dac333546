"""Model statistics in the form of Triton's statistics extension.

``inference_count`` counts rows, ``execution_count`` runs. ``compute_input`` and ``compute_output`` are 0: this server
does not measure them separately. With several worker processes, each reports its own counts.
"""

from __future__ import annotations

from typing import Any

from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.observability.statistics import Duration


def statistics_response(engine: Engine, models: list[LiveModel]) -> dict[str, Any]:
    """The statistics of these live models."""
    return {"model_stats": [_version_statistics(engine, live) for live in models]}


def _version_statistics(engine: Engine, live: LiveModel) -> dict[str, Any]:
    counts = engine.counted(live)
    runs = Duration()
    for duration in counts.runs.values():
        runs = runs.plus(duration)
    return {
        "name": live.name,
        "version": str(live.version),
        "last_inference": int(counts.last * 1000),
        "inference_count": sum(rows * duration.count for rows, duration in counts.runs.items()),
        "execution_count": runs.count,
        "inference_stats": {
            "success": _duration(counts.success),
            "fail": _duration(counts.fail),
            "queue": _duration(counts.queue),
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
            for rows, duration in counts.runs.items()
        ],
    }


def _duration(duration: Duration | None = None) -> dict[str, int]:
    return {"count": duration.count, "ns": duration.ns} if duration else {"count": 0, "ns": 0}
