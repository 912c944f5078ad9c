from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from lesionlab.errors import InputError
from lesionlab.imaging.anatomy.brain import BrainOptions, apply_mask, extract_brain
from lesionlab.imaging.volume import Volume

STRIPPED = BrainOptions(backend="skull_stripped")


@pytest.fixture
def ball(upright):
    """A ball of 60 mm radius (905 ml) with two holes, in a constant background of -0.4 as z-scored volumes have."""
    shape = (40, 44, 36)
    affine = upright((4.0, 4.0, 4.0), shape)
    points = np.moveaxis(np.indices(shape, dtype=float), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    inside = np.linalg.norm(points, axis=-1) < 60
    noise = np.random.default_rng(0).normal(1, 0.3, shape)
    data = np.where(inside, noise, -0.4)
    data[20, 22, 18] = data[24, 22, 18] = -0.4
    data[2, 2, 18] = 1.0  # a stray voxel outside
    return Volume(data.astype(np.float32), affine), inside


def test_skull_stripped_finds_what_is_not_background(ball):
    volume, inside = ball
    found = extract_brain({"FLAIR": volume}, STRIPPED)
    np.testing.assert_array_equal(found.mask.data > 0, inside)  # holes filled, stray voxel dropped
    assert found.qc["brain_ml"] == pytest.approx(inside.sum() * 0.064)
    assert found.qc["touches_border"] == 0


def test_a_whole_head_is_not_taken_for_stripped(ball):
    volume, _ = ball
    noise = np.random.default_rng(0).normal(size=volume.shape).astype(np.float32)
    with pytest.raises(InputError, match="T1w is not skull-stripped"):
        extract_brain({"T1w": volume.like(noise)}, STRIPPED)


def test_a_given_mask_is_taken_and_asked_for(ball, blob):
    volume, inside = ball
    options = BrainOptions(backend="given", fill_holes=False)
    found = extract_brain({"FLAIR": volume}, options, volume.like(inside.astype(np.float32)))
    np.testing.assert_array_equal(found.mask.data, inside)
    with pytest.raises(InputError, match="no brain mask was given"):
        extract_brain({"FLAIR": volume}, options)
    with pytest.raises(InputError, match="another grid"):
        extract_brain({"FLAIR": volume}, options, blob)


def test_an_implausible_volume_is_refused(ball):
    volume, inside = ball
    with pytest.raises(InputError, match="implausible.*ml"):
        extract_brain(
            {"FLAIR": volume}, BrainOptions(backend="given", plausible_ml=(1000, 2000)), volume.like(inside * 1.0)
        )


def test_unknown_sequence_and_missing_tool_are_told(ball, monkeypatch):
    volume, _ = ball
    with pytest.raises(InputError, match="T1w"):
        extract_brain({"FLAIR": volume}, BrainOptions(from_sequence="T1w"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="HD-BET is not installed.*pip install hd-bet"):
        extract_brain({"FLAIR": volume}, BrainOptions(backend="hd-bet"))


def test_outside_the_mask_is_exactly_the_background(ball):
    volume, inside = ball
    masked = apply_mask(volume, volume.like(inside.astype(np.uint8)))
    assert (masked.data[~inside] == 0).all()
    np.testing.assert_array_equal(masked.data[inside], volume.data[inside])


def test_deepbet_finds_the_phantom_brain_in_any_orientation(patient):
    scan, true = patient.scans["T1w"], patient.truth["brain"].data > 0

    def dice(mask):
        return 2 * (mask & true).sum() / (mask.sum() + true.sum())

    upright = extract_brain({"T2w": patient.scans["T1w"], "T1w": scan}, BrainOptions()).mask.data > 0
    assert dice(upright) > 0.9
    # The same scan, stored front to back, upside down and with its axes swapped: the same voxels are brain.
    turned = nib.Nifti1Image(scan.data, scan.affine).as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    mask = extract_brain({"T1w": Volume(turned.get_fdata(dtype=np.float32), turned.affine)}, BrainOptions()).mask
    back = nib.as_closest_canonical(nib.Nifti1Image(mask.data, mask.affine)).get_fdata() > 0
    here = nib.as_closest_canonical(nib.Nifti1Image(upright.astype(np.uint8), scan.affine)).get_fdata() > 0
    np.testing.assert_array_equal(back, here)


def test_an_almost_empty_scan_holds_no_brain(ball):
    volume, _ = ball
    data = np.zeros(volume.shape, np.float32)
    data[20, 20, 20] = 100
    with pytest.raises(InputError, match="brain"):
        extract_brain({"T1w": volume.like(data)}, BrainOptions())
