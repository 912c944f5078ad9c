from __future__ import annotations

import numpy as np
import pytest

from lesionlab.imaging.registration.initialise import SearchOptions, best_of_three, searched, turns
from lesionlab.imaging.transforms import translation
from lesionlab.imaging.volume import Volume

SHAPE, SPACING = (44, 52, 34), (4.5, 4.5, 5.5)
QUICK = SearchOptions(spacing_mm=12.0, levels=4, step_deg=20.0, largest_deg=40.0, refined=4)


def errors_mm(found, true):
    points = np.array([[x, y, z, 1] for x in (-50, 0, 50) for y in (-50, 0, 50) for z in (-40, 0, 40)], float)
    return np.linalg.norm((points @ (found - true).T)[:, :3], axis=1)


def lower_half(volume: Volume) -> Volume:
    return Volume(volume.data[:, :, : volume.shape[2] // 2], volume.affine)


def left_half(volume: Volume) -> Volume:
    return Volume(volume.data[: volume.shape[0] // 2], volume.affine)


@pytest.fixture(scope="module")
def heads(make_head, upright):
    affine = upright(SPACING, SHAPE)
    return make_head(affine, SHAPE), make_head(affine, SHAPE, contrast=0.8)


@pytest.mark.parametrize("cut", [None, lower_half, left_half])
@pytest.mark.parametrize("angles", [(30, 0, 0), (0, -30, 0), (20, 20, -20)])
def test_a_turned_and_shifted_part_is_found(heads, turn, angles, cut):
    fixed, moving = heads
    true = translation(np.array([25.0, -25, 20])) @ turn("x", angles[0]) @ turn("y", angles[1]) @ turn("z", angles[2])
    moving = Volume(moving.data, true @ moving.affine)
    found = searched(fixed, cut(moving) if cut else moving, QUICK)
    assert errors_mm(np.eye(4), true).mean() > 40
    assert errors_mm(found, true).mean() < 6  # well within what the registration after it catches


def test_the_fixed_scan_may_be_the_part(heads, turn):
    fixed, moving = heads
    true = turn("x", -30, (10, 30, -20))
    found = searched(lower_half(fixed), Volume(moving.data, true @ moving.affine), QUICK)
    assert errors_mm(found, true).mean() < 6


def test_turns_cover_the_ball_and_begin_inference_mode():
    found = turns(30, 15)
    # Lattice points of step 15 within radius 30: radius 2 in units of the step holds 33 of them.
    assert len(found) == 33
    assert (found[0] == 0).all()
    assert np.linalg.norm(found, axis=1).max() == pytest.approx(30)
    assert len(turns(0, 15)) == 1


def test_of_three_starts_the_one_that_fits_is_taken(heads):
    fixed, moving = heads
    np.testing.assert_array_equal(best_of_three(fixed, moving), np.eye(4))
    far = translation(np.array([300.0, -200, 500]))
    found = best_of_three(fixed, Volume(moving.data, far @ moving.affine))
    assert errors_mm(found, far).max() < 5
