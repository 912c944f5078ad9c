from __future__ import annotations

import numpy as np
import pytest

from lesionlab.errors import InputError
from lesionlab.imaging.registration import CoregisterOptions, coregister, register, rotation_degrees
from lesionlab.imaging.volume import Volume, same_grid

SHAPE, SPACING = (50, 60, 30), (4.0, 4.0, 6.0)


@pytest.fixture(scope="module")
def moved(turn):
    """Where the patient went between the two scans: 6 degrees and 5.4 mm."""
    return turn("z", 6, (4, -3, 2))


@pytest.fixture(scope="module")
def pair(make_head, upright, moved):
    fixed = make_head(upright(SPACING, SHAPE), SHAPE)
    # The second scan: another contrast, another grid, two axes flipped, the head moved.
    shape = (54, 58, 32)
    affine = upright((3.8, 4.2, 5.8), shape) @ np.diag([-1, -1, 1, 1])
    affine[:2, 3] *= -1
    return fixed, make_head(affine, shape, moved, contrast=-0.7)


def errors_mm(found, true):
    points = np.array([[x, y, z, 1] for x in (-50, 0, 50) for y in (-50, 0, 50) for z in (-40, 0, 40)], float)
    return np.linalg.norm((points @ (found - true).T)[:, :3], axis=1)


def test_a_known_motion_is_found(pair, moved):
    # The point p of the first scan's head lies at moved @ p in the second: that is the matrix to find.
    found = register(*pair, CoregisterOptions())
    assert errors_mm(np.eye(4), moved).mean() > 5
    assert errors_mm(found, moved).max() < 0.5


def test_the_same_input_gives_the_same_matrix(pair):
    quick = CoregisterOptions(iterations=(20, 5), shrink=(4, 2), smoothing_mm=(4.0, 2.0))
    np.testing.assert_array_equal(register(*pair, quick), register(*pair, quick))


def test_a_header_without_scanner_coordinates_does_no_harm(pair, moved):
    fixed, moving = pair
    far = np.eye(4)
    far[:3, 3] = (300, -200, 500)
    found = register(fixed, Volume(moving.data, far @ moving.affine), CoregisterOptions())
    assert errors_mm(found, far @ moved).max() < 0.5


def test_sequences_and_lesion_arrive_together(pair, moved):
    fixed, moving = pair
    # A cube of label 4 around the world point q of the second scan; on the first it lies around inv(moved) @ q.
    center = np.array([27, 29, 16])
    lesion = np.zeros(moving.shape, np.uint8)
    lesion[center[0] - 3 : center[0] + 4, center[1] - 3 : center[1] + 4, center[2] - 2 : center[2] + 3] = 4
    done = coregister(
        {"T1w": fixed, "FLAIR": moving}, "T1w", moving.like(lesion), "FLAIR", CoregisterOptions(), moving.like(lesion)
    )
    assert all(same_grid(volume, fixed) for volume in (*done.volumes.values(), done.lesion, done.brain))
    expected = np.linalg.inv(moved) @ moving.affine @ [*center, 1]
    found = fixed.affine @ [*np.argwhere(done.lesion.data == 4).mean(axis=0), 1]
    assert (np.abs(found - expected)[:3] < np.array(SPACING) / 2).all()
    assert set(np.unique(done.lesion.data)) == {0, 4}
    assert done.lesion.data.astype(bool).sum() * fixed.voxel_ml == pytest.approx(
        lesion.astype(bool).sum() * moving.voxel_ml, rel=0.15
    )
    np.testing.assert_array_equal(done.transforms["T1w"], np.eye(4))
    assert done.qc["FLAIR_mi_after"] > done.qc["FLAIR_mi_before"]
    assert done.qc["FLAIR_rotation_deg"] == pytest.approx(6, abs=0.3)
    assert done.qc["FLAIR_translation_mm"] == pytest.approx(np.sqrt(4**2 + 3**2 + 2**2), abs=0.4)


def test_switched_off_it_passes_one_grid_through_and_refuses_two(pair):
    fixed, moving = pair
    off = CoregisterOptions(enabled=False)
    done = coregister({"T1w": fixed, "T2w": fixed}, "T1w", None, None, off)
    assert done.volumes["T2w"] is fixed and done.qc == {}
    with pytest.raises(InputError, match="FLAIR lies on another grid"):
        coregister({"T1w": fixed, "FLAIR": moving}, "T1w", None, None, off)


def test_a_lesion_on_another_grid_and_an_unknown_reference_are_refused(pair):
    fixed, moving = pair
    with pytest.raises(InputError, match="lesion mask lies on another grid"):
        coregister({"T1w": fixed, "FLAIR": moving}, "T1w", fixed, "FLAIR", CoregisterOptions())
    with pytest.raises(InputError, match="lacks a sequence"):
        coregister({"T1w": fixed}, "T2w", None, None, CoregisterOptions())


def test_rotation_angle(turn):
    assert rotation_degrees(turn("x", 12.5, (9, 9, 9))) == pytest.approx(12.5)
    assert rotation_degrees(np.eye(4)) == pytest.approx(0, abs=1e-6)


def test_levels_of_unequal_number_are_refused():
    with pytest.raises(ValueError, match="iterations has 2, shrink has 3, smoothing_mm has 3"):
        CoregisterOptions(iterations=(100, 50))


def test_a_brain_mask_follows_the_sequence_it_was_drawn_on(pair):
    fixed, moving = pair
    quick = CoregisterOptions(iterations=(5,), shrink=(4,), smoothing_mm=(4.0,))
    scans = {"T1w": fixed, "FLAIR": moving}
    lesion = moving.like((moving.data > 0).astype(np.uint8))
    on_reference = fixed.like((fixed.data > 0).astype(np.uint8))
    # On the reference's grid it stays as it is, though the lesion was drawn on FLAIR.
    assert coregister(scans, "T1w", lesion, "FLAIR", quick, on_reference).brain is on_reference
    assert same_grid(coregister(scans, "T1w", None, None, quick, lesion).brain, fixed)
    nowhere = Volume(on_reference.data[1:], fixed.affine)
    with pytest.raises(InputError, match="brain mask lies on the grid of no sequence.*T1w.*FLAIR"):
        coregister(scans, "T1w", None, None, quick, nowhere)
