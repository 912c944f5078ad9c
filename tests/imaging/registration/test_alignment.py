from __future__ import annotations

import numpy as np
import pytest

from lesionlab.imaging.registration.alignment import CheckOptions, Prepared, failure, measure
from lesionlab.imaging.registration.head import flattened, head_mask
from lesionlab.imaging.transforms import translation

SHAPE, SPACING = (50, 60, 30), (4.0, 4.0, 6.0)


def prepared(volume):
    head = head_mask(volume)
    return Prepared.of(flattened(volume, 6.0, head), head)


@pytest.fixture(scope="module")
def moved(turn):
    return turn("z", 6, (4, -3, 2))


@pytest.fixture(scope="module")
def pair(make_head, upright, moved):
    affine = upright(SPACING, SHAPE)
    return prepared(make_head(affine, SHAPE)), prepared(make_head(affine, SHAPE, moved, contrast=-0.7))


def test_the_true_pose_passes(pair, moved):
    measures = measure(*pair, moved)
    assert failure(measures, CheckOptions()) is None
    assert measures["peak_offset_mm"] < 0.5
    assert measures["edge_agreement"] > 0.7
    assert measures["mi_after"] > measures["mi_before"]
    assert measures["overlap"] > 0.9


@pytest.mark.parametrize("shift", [(4, 0, 0), (0, -5, 0), (0, 0, 6)])
def test_a_shifted_pose_is_found_out_and_measured(pair, moved, shift):
    measures = measure(*pair, moved @ translation(np.array(shift, float)))
    assert measures["peak_offset_mm"] > 2.5
    given, allowed = failure(measures, CheckOptions())
    assert "mm from the pose found" in given and "peak_offset_mm" in allowed


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_a_turned_pose_is_found_out(pair, moved, turn, axis):
    assert failure(measure(*pair, moved @ turn(axis, 8)), CheckOptions()) is not None


def test_another_head_is_found_out_by_its_edges(patient):
    # Front and back swapped: much the same outline, and nothing inside it where it was.
    fixed, moving, true = patient.scans["T1w"], patient.scans["T2w"], patient.transforms["T2w"]
    swapped = moving.like(moving.data[:, ::-1])
    agreement = [measure(prepared(fixed), prepared(each), true)["edge_agreement"] for each in (moving, swapped)]
    assert agreement[0] > 0.65 and agreement[1] < 0.5
    edges_alone = CheckOptions(peak_offset_mm=None)
    assert failure({"peak_offset_mm": 9.0, "edge_agreement": agreement[0]}, edges_alone) is None
    assert "edges" in failure({"peak_offset_mm": 0.0, "edge_agreement": agreement[1]}, edges_alone)[0]


def test_each_limit_can_be_lifted():
    bad = {"peak_offset_mm": 9.0, "edge_agreement": 0.1}
    assert failure(bad, CheckOptions(peak_offset_mm=None, edge_agreement=None)) is None
    assert failure(bad, CheckOptions()) is not None
    assert failure({"peak_offset_mm": float("nan"), "edge_agreement": 1.0}, CheckOptions()) is not None
