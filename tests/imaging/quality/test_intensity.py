from __future__ import annotations

import numpy as np
import pytest

from lesionlab.imaging.quality.intensity import coverage, percentiles, signal_to_noise, unevenness


def test_signal_to_noise_of_known_noise(brain):
    rng = np.random.default_rng(0)
    noisy = brain.like((200 + rng.normal(0, 10, brain.shape)).astype(np.float32))
    assert signal_to_noise(noisy, brain) == pytest.approx(20, rel=0.08)
    assert signal_to_noise(brain.like(np.full(brain.shape, 200, np.float32)), brain) == np.inf


def test_centred_intensities_have_no_signal_to_noise(brain):
    centred = brain.like(np.random.default_rng(0).normal(0, 1, brain.shape).astype(np.float32))
    assert np.isnan(signal_to_noise(centred, brain))


def test_a_smooth_field_is_no_noise(brain):
    rng = np.random.default_rng(0)
    ramp = 200 + 60 * np.sin(np.indices(brain.shape)[0] / 15)
    noisy = brain.like((ramp + rng.normal(0, 10, brain.shape)).astype(np.float32))
    assert signal_to_noise(noisy, brain) == pytest.approx(np.median(ramp) / 10, rel=0.15)


def test_unevenness_is_the_spread_of_a_slow_field(lattice):
    x = lattice.points()[0]
    white = lattice.brain.astype(np.float32)
    even = np.full(lattice.brain.shape, 50, np.float32)
    assert unevenness(even, white, lattice) == pytest.approx(0, abs=1e-5)
    # A log field of 0.004 per mm: smoothing within the brain pulls in its ends and takes some of the spread.
    spread = (0.004 * x[lattice.brain]).std()
    assert 0.75 * spread < unevenness(even * np.exp(0.004 * x), white, lattice) < spread


def test_without_white_matter_there_is_nothing_to_say(lattice):
    assert np.isnan(unevenness(np.ones(lattice.brain.shape), np.zeros(lattice.brain.shape), lattice))


@pytest.mark.parametrize("fill", [0.0, -5.0])
def test_coverage_counts_the_brains_voxels_in_the_field_of_view(brain, fill):
    data = np.random.default_rng(0).uniform(1, 2, brain.shape).astype(np.float32)
    data[: brain.shape[0] // 2] = fill  # half of a brain that lies in the middle
    assert coverage(brain.like(data), brain) == pytest.approx(0.5, abs=0.001)


def test_a_dip_below_the_fill_hides_nothing(brain):
    # Cubic interpolation leaves values below the 0 outside the field of view.
    data = np.ones(brain.shape, np.float32)
    data[: brain.shape[0] // 2] = 0
    data[40, 27, 23] = -0.5
    assert coverage(brain.like(data), brain) == pytest.approx(0.5, abs=0.001)


def test_percentiles_of_the_brain_alone(brain):
    data = np.full(brain.shape, 1e6, np.float64)
    count = np.count_nonzero(brain.data)
    data[brain.data > 0] = np.linspace(0, 100, count)
    np.testing.assert_allclose(percentiles(brain.like(data), brain), [5, 15, 25, 35, 45, 55, 65, 75, 85, 95], atol=0.1)
