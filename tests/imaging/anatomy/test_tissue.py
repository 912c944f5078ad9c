from __future__ import annotations

import numpy as np
import pytest

from lesionlab.errors import InputError
from lesionlab.imaging.anatomy.tissue import TISSUES, TissueOptions, segment_tissues
from lesionlab.imaging.mni import mni152
from lesionlab.imaging.resample import resample_like
from lesionlab.imaging.volume import Volume

QUICK = TissueOptions(warp_iterations=(), template_mm=4.0)


@pytest.fixture(scope="module")
def subject(turn):
    """MNI152 itself, turned by 5 degrees and shifted, on thick planes, with its tissue maps as truth."""
    template = mni152(4.0)
    place = turn("z", 5, (6, -4, 3)) @ template["T1w"].affine @ np.diag([1, 1, 1.5, 1])
    shape = (50, 59, 32)
    target = Volume(np.zeros(shape, np.float32), place)
    seen = {name: resample_like(volume, target) for name, volume in template.items()}
    inside = seen["T1w"].data > 0.2
    truth = np.stack([1 - seen["GM"].data - seen["WM"].data, seen["GM"].data, seen["WM"].data])
    scan = seen["T1w"].like(np.where(inside, seen["T1w"].data, 0).astype(np.float32))
    return scan, target.like(inside.astype(np.float32)), truth


def test_maps_are_shares_and_agree_with_the_truth(subject):
    scan, mask, truth = subject
    done = segment_tissues({"T1w": scan}, mask, QUICK)
    shares = np.stack([done.maps[name].data for name in TISSUES])
    inside = mask.data > 0
    assert shares.min() >= 0 and shares.max() <= 1 + 1e-6
    np.testing.assert_allclose(shares.sum(axis=0)[inside], 1, atol=1e-4)
    assert not shares[:, ~inside].any()
    found, true = shares.argmax(axis=0)[inside], truth.argmax(axis=0)[inside]
    dice = [2 * ((found == k) & (true == k)).sum() / ((found == k).sum() + (true == k).sum()) for k in range(3)]
    assert dice[1] > 0.8 and dice[2] > 0.8
    assert done.qc["template_correlation"] > 0.7
    assert done.qc["gm_ml"] == pytest.approx(shares[1].sum() * mask.voxel_ml)


def ill(scan, mask, radius, value):
    """The scan with a ball of one value in its white matter, and the ball."""
    points = np.moveaxis(np.indices(scan.shape), 0, -1) * scan.spacing
    middle = np.array([33, 30, 18]) * scan.spacing
    ball = (((points - middle) ** 2).sum(axis=-1) < radius**2) & (mask.data > 0)
    return scan.like(np.where(ball, value, scan.data).astype(np.float32)), scan.like(ball.astype(np.uint8))


@pytest.mark.parametrize(("radius", "value", "warps"), [(12, 3.0, ()), (25, 0.05, (5, 0)), (30, 0.9, ())])
def test_a_lesion_belongs_to_no_tissue_and_disturbs_none(subject, radius, value, warps):
    scan, mask, truth = subject
    spoilt, lesion = ill(scan, mask, radius, value)
    options = QUICK.model_copy(update={"lesion": "none", "warp_iterations": warps})
    done = segment_tissues({"T1w": spoilt}, mask, options, lesion)
    shares = np.stack([done.maps[name].data for name in TISSUES])
    normal = (mask.data > 0) & (lesion.data == 0)
    np.testing.assert_allclose(shares.sum(axis=0)[normal], 1, atol=1e-4)
    assert not shares[:, ~normal].any()
    assert gray_dice(shares, truth, normal) > 0.8


def gray_dice(shares, truth, where):
    found, true = shares.argmax(axis=0)[where] == 1, truth.argmax(axis=0)[where] == 1
    return 2 * (found & true).sum() / (found.sum() + true.sum())


def test_a_lesion_is_tissue_as_any_other_by_default(subject):
    scan, mask, _ = subject
    spoilt, lesion = ill(scan, mask, 12, 3.0)
    known, unknown = (segment_tissues({"T1w": spoilt}, mask, QUICK, one).maps["GM"].data for one in (lesion, None))
    np.testing.assert_array_equal(known, unknown)


def test_scans_without_t1w_have_tissues_too(subject):
    scan, mask, truth = subject
    flipped = scan.like(np.where(mask.data > 0, 1.2 - scan.data, 0).astype(np.float32))  # fluid bright, as on T2w
    done = segment_tissues({"T2w": flipped}, mask, QUICK)
    shares = np.stack([done.maps[name].data for name in TISSUES])
    np.testing.assert_allclose(shares.sum(axis=0)[mask.data > 0], 1, atol=1e-4)
    assert gray_dice(shares, truth, mask.data > 0) > 0.8


def test_it_tells_how_the_template_fits(subject):
    scan, mask, _ = subject
    done = segment_tissues({"T1w": scan}, mask, QUICK.model_copy(update={"warp_iterations": (5, 0)}))
    assert 0.9 < done.qc["template_overlap"] <= 1
    assert 0 < done.qc["jacobian_low"] < 1 < done.qc["jacobian_high"] < 3


def test_the_same_input_gives_the_same_maps(subject):
    scan, mask, _ = subject
    one, other = (segment_tissues({"T1w": scan}, mask, QUICK).maps["GM"].data for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_a_study_without_anatomy_is_told(subject):
    scan, mask, _ = subject
    with pytest.raises(InputError, match="PD"):
        segment_tissues({"PD": scan}, mask, QUICK)
    with pytest.raises(InputError, match="another grid"):
        segment_tissues({"T1w": scan}, Volume(mask.data[1:], mask.affine), QUICK)
    with pytest.raises(InputError, match="lesion mask lies on another grid"):
        segment_tissues(
            {"T1w": scan}, mask, QUICK.model_copy(update={"lesion": "none"}), Volume(mask.data[1:], mask.affine)
        )
    with pytest.raises(InputError, match="no brain outside the lesion"):
        segment_tissues({"T1w": scan}, mask, QUICK.model_copy(update={"lesion": "none"}), mask)
