from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lesionlab.errors import InputError
from lesionlab.imaging.anatomy.brain import BrainOptions, extract_brain
from lesionlab.imaging.registration.alignment import CheckOptions, failure
from lesionlab.imaging.registration.coregistration import (
    CoregisterOptions,
    align,
    coregister,
    pick_reference,
    ready,
    register,
)
from lesionlab.imaging.registration.head import head_mask
from lesionlab.imaging.resample import resample_like
from lesionlab.imaging.volume import Volume, same_grid

SHAPE, SPACING = (50, 60, 30), (4.0, 4.0, 6.0)
# For registrations that stop early on purpose.
LENIENT = {"check": CheckOptions(peak_offset_mm=None, edge_agreement=None)}


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
    quick = CoregisterOptions(iterations=(20, 5), shrink=(4, 2), smoothing_mm=(4.0, 2.0), **LENIENT)
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


def test_the_reference_and_its_fallback():
    fallback = ("T1ce", "FLAIR")
    assert pick_reference("T1w", fallback, ["FLAIR", "T1ce", "T1w"]) == "T1w"
    assert pick_reference("T1w", fallback, ["T2w", "FLAIR", "T1ce"]) == "T1ce"
    assert pick_reference("T1w", fallback, ["T2w", "FLAIR"]) == "FLAIR"
    with pytest.raises(InputError, match="lacks the reference.*Given: T2w.*T1w or T1ce or FLAIR"):
        pick_reference("T1w", fallback, ["T2w"])


def test_a_lesion_that_names_no_sequence_follows_the_one_whose_grid_it_has(pair):
    fixed, moving = pair
    lesion = moving.like((moving.data > 300).astype(np.uint8))
    quick = CoregisterOptions(iterations=(5,), shrink=(4,), smoothing_mm=(4.0,), **LENIENT)
    done = coregister({"T1w": fixed, "FLAIR": moving}, "T1w", lesion, None, quick)
    assert same_grid(done.lesion, fixed) and done.lesion.data.any()
    with pytest.raises(InputError, match="lesion mask lies on the grid of no sequence"):
        coregister({"T1w": fixed}, "T1w", lesion, None, quick)


def far_off(patient, turn, part=lambda volume: volume):
    """T2w with a header 30 degrees about each axis and 40 mm off, or a part of it; where T1w's points lie there."""
    away = turn("x", 30, (24, -24, 21)) @ turn("y", -30) @ turn("z", 30)
    moving = patient.scans["T2w"]
    return part(Volume(moving.data, away @ moving.affine)), away @ patient.transforms["T2w"]


@pytest.mark.parametrize("half", [False, True])
def test_a_scan_far_off_is_found_by_the_search_and_refused_without_it(patient, turn, half):
    def upper(volume):
        first = volume.shape[2] // 2
        affine = volume.affine.copy()
        affine[:3, 3] = (affine @ [0, 0, first, 1])[:3]
        return Volume(volume.data[:, :, first:], affine)

    moving, true = far_off(patient, turn, upper if half else lambda volume: volume)
    fixed = patient.scans["T1w"]
    options = CoregisterOptions()
    found = align(ready(fixed, options), ready(moving, options), options)
    assert found.qc["searched"] == 1
    assert failure(found.qc, options.check) is None
    assert errors_mm(found.matrix, true).mean() < 1.5  # half a voxel of 3 mm
    if not half:
        headers_alone = CoregisterOptions(search=None)
        with pytest.raises(InputError, match=r"T2w could not be registered to T1w.*coregister\.check.*one person"):
            coregister({"T1w": fixed, "T2w": moving}, "T1w", None, None, headers_alone)


def test_a_stretched_scan_needs_an_affine_transform(patient):
    stretch = np.diag([1.06, 0.95, 1.03, 1.0])
    moving = patient.scans["T2w"]
    true = stretch @ patient.transforms["T2w"]
    moving = Volume(moving.data, stretch @ moving.affine)
    errors = {
        kind: errors_mm(register(patient.scans["T1w"], moving, CoregisterOptions(kind=kind, **LENIENT)), true).mean()
        for kind in ("rigid", "affine")
    }
    assert errors["affine"] < 1.0 < errors["rigid"]


def test_a_shifted_scalp_pulls_less_where_only_the_inside_counts(patient):
    # A chemical shift: all that lies outside the brain appears one voxel of 3 mm too far to the front.
    fixed, moving, true = patient.scans["T1w"], patient.scans["T2w"], patient.transforms["T2w"]
    brain = resample_like(patient.truth["brain"], moving, matrix=np.linalg.inv(true), interpolation="labels").data > 0
    shifted = moving.like(np.where(brain, moving.data, np.roll(moving.data, 1, axis=1)))
    errors = [
        errors_mm(register(fixed, shifted, CoregisterOptions(inner_mm=depth, **LENIENT)), true).mean()
        for depth in (0.0, 15.0)
    ]
    assert errors[1] < 0.7 * errors[0]


def test_a_lesion_on_another_grid_and_an_unknown_reference_are_refused(pair):
    fixed, moving = pair
    with pytest.raises(InputError, match="lesion mask lies on another grid"):
        coregister({"T1w": fixed, "FLAIR": moving}, "T1w", fixed, "FLAIR", CoregisterOptions())
    with pytest.raises(InputError, match="lacks a sequence"):
        coregister({"T1w": fixed}, "T2w", None, None, CoregisterOptions())


def test_levels_of_unequal_number_are_refused():
    with pytest.raises(ValueError, match="iterations has 2, shrink has 3, smoothing_mm has 3"):
        CoregisterOptions(iterations=(100, 50))


def test_a_brain_mask_follows_the_sequence_it_was_drawn_on(pair):
    fixed, moving = pair
    quick = CoregisterOptions(iterations=(5,), shrink=(4,), smoothing_mm=(4.0,), **LENIENT)
    scans = {"T1w": fixed, "FLAIR": moving}
    lesion = moving.like((moving.data > 0).astype(np.uint8))
    on_reference = fixed.like((fixed.data > 0).astype(np.uint8))
    # On the reference's grid it stays as it is, though the lesion was drawn on FLAIR.
    assert coregister(scans, "T1w", lesion, "FLAIR", quick, on_reference).brain is on_reference
    assert same_grid(coregister(scans, "T1w", None, None, quick, lesion).brain, fixed)
    nowhere = Volume(on_reference.data[1:], fixed.affine)
    with pytest.raises(InputError, match="brain mask lies on the grid of no sequence.*T1w.*FLAIR"):
        coregister(scans, "T1w", None, None, quick, nowhere)


def test_the_background_of_a_stripped_scan_stays_constant(pair, moved):
    """A spline rings around what was cut out; a brain mask that is whatever differs from the background would grow."""
    fixed, scan = pair
    alone = [
        volume.like(np.where(head_mask(volume).data > 0, volume.data, -7).astype(np.float32))
        for volume in (fixed, scan)
    ]
    done = coregister({"T1w": alone[0], "FLAIR": alone[1]}, "T1w", None, None, CoregisterOptions())
    image = done.volumes["FLAIR"].data
    outside = ~ndimage.binary_dilation(head_mask(fixed).data > 0, iterations=4)
    assert (image[outside] == -7).mean() > 0.95
    assert extract_brain(done.volumes, BrainOptions(backend="skull_stripped", plausible_ml=(0, 1e4))).mask.data.any()
