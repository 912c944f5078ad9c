from __future__ import annotations

import numpy as np
import pytest

from lesionlab.errors import InputError
from lesionlab.imaging.resample import resample_like
from lesionlab.imaging.tissue import TISSUES, TissueOptions, mixed, mni152, segment_tissues
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


def test_the_same_input_gives_the_same_maps(subject):
    scan, mask, _ = subject
    one, other = (segment_tissues({"T1w": scan}, mask, QUICK).maps["GM"].data for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_a_mixture_is_split_by_intensity():
    # 40 voxels of pure fluid (10), 40 grey (50), 40 white (90); one more at 40, of which Atropos makes 0.6 fluid.
    image = np.concatenate([np.full(40, 10.0), np.full(40, 50.0), np.full(40, 90.0), [40.0]])
    shares = [np.zeros(121) for _ in range(3)]
    for tissue, share in enumerate(shares):
        share[40 * tissue : 40 * tissue + 40] = np.linspace(0.9, 1.0, 40)
    shares[0][-1], shares[1][-1] = 0.6, 0.4
    result = mixed(shares, [image])
    # 40 lies a quarter of the way from grey to fluid: 0.25 fluid, 0.75 grey.
    assert result[0][-1] == pytest.approx(0.25, abs=1e-3)
    assert result[1][-1] == pytest.approx(0.75, abs=1e-3)
    np.testing.assert_allclose(sum(result), sum(shares), atol=1e-6)


def test_a_study_without_anatomy_is_told(subject):
    scan, mask, _ = subject
    with pytest.raises(InputError, match="PD"):
        segment_tissues({"PD": scan}, mask, QUICK)
    with pytest.raises(InputError, match="another grid"):
        segment_tissues({"T1w": scan}, Volume(mask.data[1:], mask.affine), QUICK)
