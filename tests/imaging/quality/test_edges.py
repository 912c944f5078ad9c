from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from lesionlab.imaging.quality.edges import agreement, directions, edge_offset, octants
from lesionlab.imaging.volume import Volume


def moved(scan: Volume, lattice, matrix: np.ndarray) -> np.ndarray:
    return directions(lattice.sampled(Volume(scan.data, matrix @ scan.affine), fill=100.0), lattice)


@pytest.fixture(scope="module")
def fixed(image, lattice):
    return directions(image, lattice)


def test_an_image_agrees_with_itself_and_with_its_negative(image, fixed, lattice):
    own = agreement(fixed, fixed, lattice.brain, lattice.step)
    # The correlation of a field with itself is 1; an edge has no sign.
    assert own.score == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(own.shift_mm, 0, atol=0.05)
    negative = agreement(fixed, directions(500 - 2 * image, lattice), lattice.brain, lattice.step)
    assert negative.here == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("shift", [(6.0, 0.0, 0.0), (0.0, -4.5, 3.0), (-3.0, 7.0, 2.0)])
def test_a_shift_is_found_in_mm(scan, fixed, lattice, shift):
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    other = moved(scan, lattice, matrix)
    found = agreement(fixed, other, lattice.brain, lattice.step)
    np.testing.assert_allclose(found.shift_mm, shift, atol=0.7)
    assert edge_offset(fixed, other, lattice.brain, lattice.step) == pytest.approx(np.linalg.norm(shift), abs=0.8)
    assert found.here < found.score


def test_a_turn_about_the_middle_is_felt_in_the_octants(scan, fixed, lattice):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", 10, degrees=True).as_matrix()
    other = moved(scan, lattice, matrix)
    # An octant's centre lies about 3/8 of the radii 45 and 54 mm off the axis: 26 mm, which 10 degrees move by 4.6 mm.
    assert edge_offset(fixed, other, lattice.brain, lattice.step) == pytest.approx(4.6, abs=1.2)
    assert np.linalg.norm(agreement(fixed, other, lattice.brain, lattice.step).shift_mm) < 1.5


def test_unrelated_images_do_not_agree(fixed, image, lattice):
    noise = ndimage.gaussian_filter(np.random.default_rng(9).standard_normal(image.shape), 2.0)
    assert agreement(fixed, directions(noise, lattice), lattice.brain, lattice.step).here < 0.1


def test_octants_cover_the_brain_once(lattice):
    parts = list(octants(lattice.brain))
    assert len(parts) == 8
    np.testing.assert_array_equal(np.sum(parts, axis=0), lattice.brain)


def test_a_brain_too_small_for_octants_has_no_offset(fixed, lattice):
    speck = np.zeros_like(lattice.brain)
    speck[30, 30, 30] = True
    assert np.isnan(edge_offset(fixed, fixed, speck, lattice.step))
