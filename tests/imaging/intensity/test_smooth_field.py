from __future__ import annotations

import numpy as np
import pytest

from lesionlab.imaging.intensity.smooth_field import SmoothField

SHAPE, SPACING = (40, 44, 20), (4.0, 4.0, 8.0)
MASK = np.ones(SHAPE, dtype=bool)
VOXELS = np.argwhere(MASK)
MM = VOXELS * np.array(SPACING)
EVEN = np.ones(len(VOXELS))


def fitted(target, wavelength_mm, weight=EVEN):
    smooth = SmoothField(MASK, SPACING, wavelength_mm)
    return smooth.on_grid(smooth.fit(smooth.design(VOXELS), target, weight)).ravel()


def test_the_price_is_the_mean_squared_second_derivative():
    # x y / 1000 has one mixed derivative, 1/1000, which counts twice; z^2 / 1000 has d2/dz2 = 2/1000.
    smooth = SmoothField(MASK, SPACING, 100.0)
    factor = (100 / (2 * np.pi)) ** 4
    design = smooth.design(VOXELS)
    for field, price in ((MM[:, 0] * MM[:, 1] / 1000, 2e-6), (MM[:, 2] ** 2 / 1000, 4e-6), (MM @ [1, 2, 3], 0)):
        c = np.linalg.lstsq(design, field, rcond=None)[0]
        np.testing.assert_allclose(design @ c, field, atol=1e-6 * np.ptp(field))  # cubic splines hold parabolas
        assert c @ smooth.bending @ c / factor == pytest.approx(price, rel=1e-4, abs=1e-10)


def test_ramps_cost_nothing_and_go_on_where_nothing_is_seen():
    ramp = MM @ [0.001, -0.002, 0.003]
    seen = (VOXELS[:, 0] < 12).astype(float)
    np.testing.assert_allclose(fitted(ramp, 100.0, seen), ramp, atol=1e-3)


def test_waves_are_kept_by_their_length():
    # In a long bar the price leaves 1 / (1 + (wavelength / length)^4) of a wave, away from the bar's free ends, and the
    # splines, half a wavelength apart, hold no shorter wave.
    bar, length = np.ones((500, 2, 2), dtype=bool), 200.0
    voxels = np.argwhere(bar)
    wave = np.sin(2 * np.pi * voxels[:, 0] * 4.0 / length)
    middle = np.abs(voxels[:, 0] - 250) < 100

    def left(wavelength_mm):
        smooth = SmoothField(bar, (4.0, 4.0, 4.0), wavelength_mm)
        found = smooth.on_grid(smooth.fit(smooth.design(voxels), wave, np.ones(len(voxels)))).ravel()
        return float(found[middle] @ wave[middle] / (wave[middle] @ wave[middle]))

    assert left(length / 4) == pytest.approx(256 / 257, abs=0.01)
    assert left(length / 2) == pytest.approx(16 / 17, abs=0.04)
    assert left(length) < 0.5
    assert left(2 * length) < 0.06


def test_beyond_the_mask_the_field_stays_as_it_is_on_the_face():
    inner = np.zeros(SHAPE, dtype=bool)
    inner[10:30, 10:30, 5:15] = True
    smooth = SmoothField(inner, SPACING, 100.0)
    voxels = np.argwhere(inner)
    field = smooth.on_grid(smooth.fit(smooth.design(voxels), voxels[:, 0] / 10.0, np.ones(len(voxels))))
    np.testing.assert_allclose(field[:10], np.broadcast_to(field[10], (10, *SHAPE[1:])))
    assert field.dtype == np.float32 and field[0, 0, 0] == pytest.approx(1.0, abs=0.01)


def test_one_plane_is_enough():
    flat = np.zeros(SHAPE, dtype=bool)
    flat[:, :, 3] = True
    voxels = np.argwhere(flat)
    smooth = SmoothField(flat, SPACING, 100.0)
    field = smooth.on_grid(smooth.fit(smooth.design(voxels), voxels[:, 1] / 44.0, np.ones(len(voxels))))
    assert np.isfinite(field).all()
    np.testing.assert_allclose(field[5, :, 3], np.arange(44) / 44.0, atol=0.01)
