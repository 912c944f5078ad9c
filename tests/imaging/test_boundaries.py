from __future__ import annotations

import numpy as np
import pytest

from lesionlab.imaging.boundaries import REACH, boundary_offsets, boundary_profile, tissue_classes
from lesionlab.imaging.resample import resample_like
from lesionlab.imaging.transforms import translation
from lesionlab.imaging.volume import Volume


@pytest.fixture(scope="module")
def scene(patient):
    return patient.scans, patient.truth["brain"], patient.transforms


def test_classes_follow_the_tissues(patient, scene):
    scans, brain, _ = scene
    classes = tissue_classes(scans["T1w"], brain)
    assert set(np.unique(classes)) == {-1, 0, 1, 2}
    assert ((classes >= 0) == (brain.data > 0)).all()
    # T1w shows white matter brightest: of the voxels that are mostly white matter, most are of the last class.
    white = patient.truth["WM"].data > 0.9
    assert (classes[white] == 2).mean() > 0.8


@pytest.mark.parametrize("shift", [(0, 0, 0), (2.0, -1.5, 0.0)])
def test_a_planted_shift_is_measured_in_another_sequence(scene, shift):
    scans, brain, transforms = scene
    fixed = scans["T1w"]
    classes = tissue_classes(fixed, brain)
    # A point of the image so shifted shows what lies at point + shift: edges appear at minus the shift.
    axes = fixed.affine[:3, :3] / fixed.spacing
    matrix = transforms["T2w"] @ translation(axes @ np.array(shift))
    seen = resample_like(scans["T2w"], fixed, matrix=matrix, interpolation="cubic")
    offsets = boundary_offsets(classes, seen)
    np.testing.assert_allclose(offsets[:2], -np.array(shift[:2]), atol=0.5)  # voxels of 3 mm
    assert abs(offsets[2]) < 1.5  # of 6 mm


def test_a_scan_lies_on_its_own_boundaries(scene):
    scans, brain, _ = scene
    np.testing.assert_allclose(boundary_offsets(tissue_classes(scans["T1w"], brain), scans["T1w"]), 0, atol=0.2)


def test_a_profile_by_hand(upright):
    shape = (24, 10, 10)
    classes = np.ones(shape, np.int8)
    classes[:12] = 0
    scan = np.zeros(shape, np.float32)
    scan[13:] = -5  # a step of 5 downwards one voxel behind the boundary, over 100 columns

    volume = Volume(scan, upright((2, 2, 2), shape))
    profile = boundary_profile(classes, volume, 0)
    assert profile[REACH + 1] == 500 and np.count_nonzero(profile) == 1
    assert boundary_offsets(classes, volume)[0] == pytest.approx(2.0)
    assert np.isnan(boundary_offsets(classes, volume)[1])  # no boundary along y
