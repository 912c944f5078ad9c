from __future__ import annotations

import numpy as np
import pytest

from lesionlab.imaging.quality.lattice import MARGIN_MM, lattice_around
from lesionlab.imaging.volume import Volume


def test_the_lattice_holds_the_brain_with_its_margin(brain, lattice):
    points = lattice.points()[:, lattice.brain]
    # The radii are 45, 54 and 42 mm; voxel centres lie within.
    np.testing.assert_allclose(points.max(axis=1), [45, 54, 42], atol=3.1)
    low, high = lattice.points()[:, 0, 0, 0], lattice.points()[:, -1, -1, -1]
    assert (points.min(axis=1) - low >= MARGIN_MM - 3.1).all() and (high - points.max(axis=1) >= MARGIN_MM - 3.1).all()
    ball = 4 / 3 * np.pi * 45 * 54 * 42
    assert np.count_nonzero(lattice.brain) * lattice.step**3 == pytest.approx(ball, rel=0.03)


def test_it_does_not_depend_on_the_scans_orientation(brain):
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = brain.shape[0] - 1
    turned = Volume(np.ascontiguousarray(brain.data[::-1]), brain.affine @ flip)
    np.testing.assert_array_equal(lattice_around(turned).brain, lattice_around(brain).brain)


def test_depth_is_positive_inside_and_zero_at_the_surface(lattice):
    depth, points = lattice.depth(), lattice.points()
    middle = np.linalg.norm(points, axis=0).argmin()
    # The nearest surface from the middle lies at the shortest radius, 42 mm.
    assert depth.ravel()[middle] == pytest.approx(42, abs=3)
    assert (depth[lattice.brain] > 0).all() and (depth[~lattice.brain] < 0).all()


def test_shares_lie_between_0_and_1(brain, lattice):
    share = lattice.share(brain)
    assert share.min() >= 0 and share.max() <= 1
    np.testing.assert_array_equal(share > 0.5, lattice.brain)


def test_an_empty_mask_is_refused(brain):
    with pytest.raises(ValueError, match="empty"):
        lattice_around(brain.like(np.zeros_like(brain.data)))
