"""Sampling: the same seed gives the same text and the same points, whoever asks."""

from __future__ import annotations

import numpy as np
import pytest

from bookserve.errors import InvalidInput
from bookserve.generation.latent import latent_points
from bookserve.generation.sampling import draw_index, keep_likeliest, noise_weights


def test_drawing_follows_the_reweighted_distribution() -> None:
    probabilities = np.array([0.5, 0.3, 0.2], np.float32)
    for temperature in (0.5, 1.0, 2.0):
        rng = np.random.default_rng(7)
        drawn = np.bincount([draw_index(probabilities, temperature, rng) for _ in range(20_000)], minlength=3) / 20_000
        expected = probabilities ** (1 / temperature) / (probabilities ** (1 / temperature)).sum()
        assert np.abs(drawn - expected).max() < 0.02


def test_temperature_zero_is_argmax_and_draws_nothing() -> None:
    rng = np.random.default_rng(1)
    state = rng.bit_generator.state
    assert draw_index(np.array([0.2, 0.5, 0.3]), 0, rng) == 1
    assert rng.bit_generator.state == state


def test_impossible_characters_are_not_drawn() -> None:
    rng = np.random.default_rng(1)
    assert {draw_index(np.array([0.0, 1.0, 0.0], np.float32), 1.0, rng) for _ in range(1000)} == {1}


def test_what_is_kept_of_a_distribution() -> None:
    probabilities = np.array([0.1, 0.4, 0.2, 0.2, 0.1], np.float32)
    kept = {
        (None, 1.0): [0, 1, 2, 3, 4],
        (1, 1.0): [1],
        (2, 1.0): [1, 2],  # of equals the first
        (99, 1.0): [0, 1, 2, 3, 4],
        (None, 1e-9): [1],
        (None, 0.4): [1],
        (None, 0.5): [1, 2],
        (None, 0.9): [0, 1, 2, 3],
        (3, 0.5): [1, 2],
        (1, 0.9): [1],
    }
    for (top_k, top_p), expected in kept.items():
        left = keep_likeliest(probabilities, top_k, top_p)
        assert np.flatnonzero(left).tolist() == expected, (top_k, top_p)
        assert left[expected].tolist() == probabilities[expected].tolist()


def test_noise_is_weighed_alike_in_any_number() -> None:
    """What one draw uses and what sixteen of many texts use must be the same to the last bit."""
    noise = np.random.default_rng(3).standard_exponential((7, 16, 57))
    noise[0, 0, 0] = 0  # stays finite
    temperatures = np.array([0, 0.1, 0.5, 1, 1.2, 5, 10])
    together = noise_weights(noise.copy(), temperatures[:, None, None])
    for row, temperature in enumerate(temperatures):
        for step in range(16):
            assert np.array_equal(noise_weights(noise[row, step].copy(), float(temperature)), together[row, step])
    assert np.isfinite(together).all()


def test_latent_points() -> None:
    assert latent_points(2, n=3, seed=1).shape == (3, 2)
    assert np.array_equal(latent_points(2, n=3, seed=1), latent_points(2, n=3, seed=1))
    assert latent_points(5).shape == (16, 5)
    grid = latent_points(2, grid=15)
    assert grid.shape == (225, 2)
    assert grid[0] == pytest.approx([-1.6449, -1.6449], abs=1e-4)  # normal quantile of 0.05
    assert grid[1, 0] > grid[0, 0]
    assert grid[1, 1] == grid[0, 1]  # row by row


@pytest.mark.parametrize(
    "asked", [{"n": 2, "grid": 3}, {"latent": [[1.0]]}, {"latent": []}, {"latent": [[float("inf"), 0.0]]}]
)
def test_points_that_do_not_fit_are_refused(asked: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        latent_points(2, **asked)  # type: ignore[arg-type]


def test_a_grid_needs_a_plane() -> None:
    with pytest.raises(InvalidInput, match="2 dimensions"):
        latent_points(3, grid=4)
