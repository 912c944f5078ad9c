from __future__ import annotations

import numpy as np
import pytest

from lesionlab.imaging.intensity.noise import noise_deviation, signal_to_noise
from lesionlab.imaging.volume import Volume

SHAPE = (40, 44, 12)
INSIDE = np.zeros(SHAPE, dtype=bool)
INSIDE[5:35, 5:39, 2:10] = True


def scan(deviation):
    """A ramp of 100 to 139 with a bright half, noise of a known deviation, 0 outside the mask."""
    x = np.arange(SHAPE[0])[:, None, None]
    data = np.broadcast_to(100.0 + x, SHAPE) + 80 * (np.arange(SHAPE[1])[:, None] > 20)
    noisy = data + np.random.default_rng(0).normal(0, deviation, SHAPE)
    return Volume(np.where(INSIDE, noisy, 0).astype(np.float32), np.diag([1.0, 1.0, 4.0, 1.0]))


def test_noise_is_found_among_ramps_and_edges():
    assert noise_deviation(scan(5.0), INSIDE) == pytest.approx(5.0, rel=0.05)
    assert noise_deviation(scan(0.0), INSIDE) == pytest.approx(0, abs=1e-4)


def test_signal_to_noise_is_the_median_over_the_noise():
    volume = scan(5.0)
    assert signal_to_noise(volume, INSIDE) == pytest.approx(np.median(volume.data[INSIDE]) / 5.0, rel=0.05)
    assert signal_to_noise(scan(0.0), INSIDE) > 1e5
    assert signal_to_noise(volume, np.zeros(SHAPE, dtype=bool)) == 0
