"""Compute points of a latent space: random, given, on a grid, encoded from pictures, and on walks between points.

The points depend only on the request. So the same seed gives the same pictures on every wire, and a part of many
pictures can be requested separately.

Sources: section 8.4.4 of the book (grid, concept vectors); Brock et al. 2018, arXiv 1809.11096 (truncation); White
2016, arXiv 1609.04468 (spherical interpolation).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from bookserve.api.requests import MAX_PICTURES, MAX_WALK_STEPS, SampleRequest
from bookserve.errors import InvalidInput
from bookserve.graph import Arrays, Graph
from bookserve.steps import Rows, apply_steps
from bookserve.verb import Sample

#: Random points are drawn in blocks of this size, each with its own generator, so that any part of millions is fast.
BLOCK = 4096
#: Default number of random points, and of random points to walk between.
DEFAULT_POINTS, DEFAULT_WALK_POINTS = 16, 5

#: Default strengths: how far along a concept vector points are moved; 1 is the whole vector.
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)


def latent_points(
    dimensions: int,
    *,
    n: int | None = None,
    latent: Sequence[Sequence[float]] | np.ndarray | None = None,
    grid: int | None = None,
    seed: int | None = None,
    truncation: float | None = None,
    walk: int | None = None,
    interpolate: str = "linear",
    start: int = 0,
    count: int | None = None,
) -> np.ndarray:
    """Points float32 [points, dimensions].

    They are ``n`` points from the normal distribution (truncated at ± ``truncation``), the given ``latent`` points, or
    the book's ``grid`` × ``grid`` over the normal quantiles 0.05 to 0.95 (row by row, as in figure 8.14). With ``walk``
    there are that many steps from each point to the next, on a straight line or on a sphere (``slerp``). Of all these,
    ``count`` points from ``start`` on are returned.

    Raises:
        InvalidInput: more than one of n, latent and grid is given, points have another dimension, the grid needs two
            dimensions, or other fields do not fit.
    """
    total = count_points(n=n, latent=latent, grid=grid, walk=walk)
    if truncation is not None and (latent is not None or grid is not None):
        raise InvalidInput("truncation needs random points.", "Leave latent and grid out.")
    if not 0 <= start < total:
        raise InvalidInput(f"start is {start}; there are {total} points.", "The first one is 0.")
    end = total if count is None else min(total, start + count)
    if latent is not None:
        points = np.asarray(_checked(latent, dimensions), np.float32)
    elif grid is not None:
        points = _grid(dimensions, grid)
    elif walk is None:
        return _drawn(dimensions, start, end, seed, truncation)
    else:
        points = _drawn(dimensions, 0, DEFAULT_WALK_POINTS if n is None else n, seed, truncation)
    return (points if walk is None else _way(points, walk, interpolate))[start:end]


def count_points(
    *,
    n: int | None = None,
    latent: Sequence[Sequence[float]] | np.ndarray | None = None,
    grid: int | None = None,
    walk: int | None = None,
) -> int:
    """The number of points that ``latent_points`` gives without ``start`` and ``count``.

    Raises:
        InvalidInput: more than one of n, latent and grid is given; or a walk has a grid or fewer than two points.
    """
    if (n is not None) + (latent is not None) + (grid is not None) > 1:
        raise InvalidInput("only one of n, latent and grid can be given.")
    if walk is None:
        return (
            len(latent) if latent is not None else grid**2 if grid is not None else DEFAULT_POINTS if n is None else n
        )
    stations = len(latent) if latent is not None else DEFAULT_WALK_POINTS if n is None else n
    if grid is not None or stations < 2:
        raise InvalidInput("a walk needs at least two points.", "Give n, latent points or images.")
    return (stations - 1) * walk + 1


def requested_points(request: SampleRequest, dimensions: int, encoded: np.ndarray | None = None) -> np.ndarray:
    """The points of a request, float32 [points, dimensions]; ``encoded`` are those of its ``images``.

    Raises:
        InvalidInput: fields exclude each other, or there are too many pictures.
    """
    if request.images is not None and request.latent is not None:
        raise InvalidInput("only one of latent and images can be given.")
    latent = request.latent if encoded is None else encoded
    total = count_points(n=request.n, latent=latent, grid=request.grid, walk=request.walk)
    if min(total - request.start, request.count or total) > MAX_PICTURES:
        raise InvalidInput(
            f"{total:,} pictures are too many; one answer has at most {MAX_PICTURES}.",
            "Request parts with start, count and a seed.",
        )
    if request.walk is not None and total > MAX_WALK_STEPS:
        raise InvalidInput(f"the walk has {total:,} steps; at most {MAX_WALK_STEPS:,} are possible.")
    return latent_points(
        dimensions,
        n=request.n,
        latent=latent,
        grid=request.grid,
        seed=request.seed,
        truncation=request.truncation,
        walk=request.walk,
        interpolate=request.interpolate,
        start=request.start,
        count=request.count,
    )


def encoder_feeds(verb: Sample, graph: Graph, rows: Rows) -> Arrays:
    """Inputs of the encoder ``graph`` for pictures."""
    return dict.fromkeys(graph.inputs, np.asarray(apply_steps(verb.before, rows)))


def encoder_graph(verb: Sample, name: str) -> str:
    """The name of the graph that encodes pictures.

    Raises:
        InvalidInput: the model ``name`` has no encoder.
    """
    if verb.encode is None:
        raise InvalidInput(f"model '{name}' cannot encode pictures.", "An autoencoder can: mnist_vae.")
    return verb.encode


def encoded_points(graph: Graph, outputs: Arrays) -> np.ndarray:
    """The first of the encoder's outputs, which holds the points: float32 [pictures, dimensions]."""
    return outputs[next(iter(graph.outputs))]


def concept_vector(points_with: np.ndarray, points_without: np.ndarray) -> np.ndarray:
    """The vector [dimensions] from the mean of points without a feature to the mean of points with it."""
    vector: np.ndarray = points_with.mean(axis=0) - points_without.mean(axis=0)
    return vector


def move_points(points: np.ndarray, vector: np.ndarray, strengths: Sequence[float] = STRENGTHS) -> np.ndarray:
    """Move each point by each of ``strengths`` times ``vector``: float32 [points × strengths, dimensions]."""
    ways = np.asarray(strengths, np.float32)[:, None] * vector
    found: np.ndarray = (points[:, None] + ways).reshape(-1, vector.size).astype(np.float32)
    return found


def _checked(latent: Sequence[Sequence[float]] | np.ndarray, dimensions: int) -> Sequence[Sequence[float]] | np.ndarray:
    if not len(latent) or any(len(point) != dimensions or not np.isfinite(point).all() for point in latent):
        raise InvalidInput(f"each latent point must be {dimensions} finite numbers, like {[0.0] * dimensions}.")
    return latent


def _grid(dimensions: int, grid: int) -> np.ndarray:
    if dimensions != 2:
        raise InvalidInput(f"a grid needs a latent space of 2 dimensions; this one has {dimensions}.", "Use n.")
    from statistics import NormalDist

    quantiles = [NormalDist().inv_cdf(p) for p in np.linspace(0.05, 0.95, grid)]
    return np.array([[x, y] for y in quantiles for x in quantiles], np.float32)


def _drawn(dimensions: int, start: int, end: int, seed: int | None, truncation: float | None) -> np.ndarray:
    parts = []
    for block in range(start // BLOCK, (end - 1) // BLOCK + 1):
        rng = np.random.default_rng([seed, block] if block and seed is not None else seed)
        last = min(BLOCK, end - block * BLOCK)
        if truncation is None:
            points = rng.standard_normal((last, dimensions), np.float32)
        else:  # by quantiles, so that each coordinate uses one random number
            from statistics import NormalDist

            normal = NormalDist()
            low = normal.cdf(-truncation)
            quantiles = low + rng.random((last, dimensions)) * (1 - 2 * low)
            points = np.vectorize(normal.inv_cdf, otypes=[np.float32])(np.clip(quantiles, 1e-12, 1 - 1e-12))
        parts.append(points[max(0, start - block * BLOCK) :])
    return np.concatenate(parts)


def _way(stations: np.ndarray, steps: int, interpolate: str) -> np.ndarray:
    parts = [_between(a, b, np.arange(steps) / steps, interpolate) for a, b in pairwise(stations.astype(np.float64))]
    return np.concatenate([*parts, stations[-1:]]).astype(np.float32)


def _between(a: np.ndarray, b: np.ndarray, shares: np.ndarray, interpolate: str) -> np.ndarray:
    """Points from ``a`` (share 0) towards ``b`` (share 1); on a sphere their lengths stay between those of both."""
    t = shares[:, None]
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    if interpolate == "slerp" and min(lengths) > 0:
        angle = np.arccos(np.clip(np.dot(a, b) / (lengths[0] * lengths[1]), -1, 1))
        if 1e-6 < angle < np.pi - 1e-6:
            a, b, t = a / np.sin(angle), b / np.sin(angle), np.sin(np.hstack([1 - t, t]) * angle)
            return np.asarray(t @ np.stack([a, b]))
    return np.asarray((1 - t) * a + t * b)
