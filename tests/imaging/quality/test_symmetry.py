from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lesionlab.imaging.quality.lattice import lattice_around
from lesionlab.imaging.quality.symmetry import image_symmetry, mask_symmetry, mid_plane, mirrored
from lesionlab.imaging.volume import Volume


def half_and_half(lattice) -> np.ndarray:
    """An image that is the same in both halves: it depends on |x|, y and z."""
    x, y, z = lattice.points()
    return (100 + np.abs(x) + 0.5 * y + 20 * np.sin(z / 9)).astype(np.float32)


def test_the_mid_plane_of_an_upright_brain(lattice):
    image = half_and_half(lattice)
    plane = mid_plane(image, lattice)
    np.testing.assert_allclose(plane[:3, :3], np.diag([-1, 1, 1]), atol=0.02)
    np.testing.assert_allclose(plane[:3, 3], 0, atol=0.5)
    assert mask_symmetry(lattice.brain, lattice, plane) > 0.98
    assert image_symmetry(image, lattice, plane) > 0.99


def test_a_turned_brain_is_mirrored_in_its_own_plane(brain, lattice):
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("z", 12, degrees=True).as_matrix()
    turn[:3, 3] = [5, 0, 0]
    upright = Volume(half_and_half(lattice), lattice.affine)
    turned = lattice_around(Volume(brain.data, turn @ brain.affine))
    plane = mid_plane(turned.sampled(Volume(upright.data, turn @ upright.affine)), turned)
    normal = turn[:3, 0]  # where R went
    np.testing.assert_allclose(plane[:3, :3], np.eye(3) - 2 * np.outer(normal, normal), atol=0.06)


def test_a_mirror_twice_is_no_mirror(lattice, image):
    plane = np.diag([-1.0, 1.0, 1.0, 1.0])
    again = mirrored(mirrored(image, lattice, plane), lattice, plane)
    np.testing.assert_allclose(again[lattice.brain], image[lattice.brain], rtol=0.05)


def test_a_missing_quarter_lowers_symmetry_as_computed_by_hand(lattice):
    plane = np.diag([-1.0, 1.0, 1.0, 1.0])
    x, y, _ = lattice.points()
    mask = lattice.brain & ~((x > 0) & (y > 0))
    # Of four quarters three are left, and two of those have a twin: Dice = 2 * 2 / (3 + 3).
    assert mask_symmetry(mask, lattice, plane) == pytest.approx(2 / 3, abs=0.03)
    assert mask_symmetry(np.zeros_like(mask), lattice, plane) == 0
