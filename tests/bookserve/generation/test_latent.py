"""Points of latent spaces: the same by the same seed, in parts or at once; ways that keep their ends and lengths."""

from __future__ import annotations

import numpy as np
import pytest

from bookserve.errors import InvalidInput
from bookserve.generation.latent import BLOCK, concept_vector, count_points, latent_points, move_points


@pytest.mark.parametrize("truncation", [None, 0.7])
def test_parts_of_many_points_are_those_of_the_whole(truncation: float | None) -> None:
    whole = latent_points(3, n=2 * BLOCK + 10, seed=5, truncation=truncation)
    assert whole.shape == (2 * BLOCK + 10, 3)
    assert whole.dtype == np.float32
    for start, count in ((0, 7), (BLOCK - 3, 6), (BLOCK, 1), (2 * BLOCK - 1, 50)):
        part = latent_points(3, n=2 * BLOCK + 10, seed=5, truncation=truncation, start=start, count=count)
        assert np.array_equal(part, whole[start : start + count])
    assert not np.array_equal(whole[:10], whole[BLOCK : BLOCK + 10])
    assert not np.array_equal(whole[:10], latent_points(3, n=10, seed=6, truncation=truncation))


def test_truncated_points_are_normal_within_bounds() -> None:
    points = latent_points(2, n=4000, seed=0, truncation=0.5)
    assert np.abs(points).max() <= 0.5
    assert abs(points.mean()) < 0.02
    assert 0.27 < points.std() < 0.29  # a normal distribution cut off there has 0.2802
    assert latent_points(2, n=4000, seed=0, truncation=9.0).std() > 0.98


def test_a_walk_goes_from_point_to_point() -> None:
    ends = [[0.0, 0.0], [1.0, 2.0], [3.0, 0.0]]
    way = latent_points(2, latent=ends, walk=4)
    assert way.shape == (9, 2)
    assert way[[0, 4, 8]].tolist() == ends
    np.testing.assert_allclose(np.diff(way[:5], axis=0), [[0.25, 0.5]] * 4)
    assert latent_points(2, latent=ends, walk=4, start=3, count=2).tolist() == way[3:5].tolist()
    assert latent_points(8, walk=3, seed=1).shape == (4 * 3 + 1, 8)


def test_a_walk_on_the_sphere_keeps_the_length() -> None:
    a, b = [3.0, 0.0, 0.0], [0.0, 3.0, 0.0]
    way = latent_points(3, latent=[a, b], walk=6, interpolate="slerp")
    np.testing.assert_allclose(np.linalg.norm(way, axis=1), 3, rtol=1e-6)
    np.testing.assert_allclose(way[3], [3 / 2**0.5, 3 / 2**0.5, 0], rtol=1e-6)
    straight = latent_points(3, latent=[a, b], walk=6)
    assert np.linalg.norm(straight[3]) < 2.2
    # Where there is no one shortest way on the sphere, the straight line is taken.
    assert np.isfinite(latent_points(2, latent=[[1, 0], [-1, 0]], walk=3, interpolate="slerp")).all()
    assert np.isfinite(latent_points(2, latent=[[0, 0], [1, 0]], walk=3, interpolate="slerp")).all()


def test_concepts_move_points() -> None:
    vector = concept_vector(np.array([[2.0, 1.0], [4.0, 1.0]]), np.array([[1.0, 1.0]]))
    assert vector.tolist() == [2.0, 0.0]
    assert move_points(np.array([[0, 5]], np.float32), vector, (0, 0.5, -1)).tolist() == [[0, 5], [1, 5], [-2, 5]]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"n": 3, "grid": 2}, "only one"),
        ({"grid": 3, "walk": 2}, "at least two points"),
        ({"n": 1, "walk": 2}, "at least two points"),
        ({"grid": 2, "truncation": 1.0}, "random points"),
        ({"n": 5, "start": 5}, "start is 5; there are 5"),
        ({"latent": [[1.0]]}, "2 finite numbers"),
    ],
)
def test_what_does_not_go_together_is_told(asked: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        latent_points(2, **asked)  # type: ignore[arg-type]


def test_the_number_is_known_beforehand() -> None:
    for asked in ({}, {"n": 7}, {"grid": 3}, {"latent": [[0, 1]] * 4}, {"n": 3, "walk": 5}, {"walk": 2}):
        assert count_points(**asked) == len(latent_points(2, seed=0, **asked))  # type: ignore[arg-type]
