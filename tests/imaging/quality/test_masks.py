from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lesionlab.imaging.quality.lattice import lattice_around
from lesionlab.imaging.quality.masks import SECTORS, cut_sides, mask_shape, rim_profile
from lesionlab.imaging.volume import Volume


def ball(radius: float = 40.0, side: int = 40, step: float = 3.0) -> Volume:
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = -step * (side - 1) / 2
    at = np.indices((side,) * 3) * step + affine[0, 3]
    return Volume((np.sqrt((at**2).sum(axis=0)) <= radius).astype(np.uint8), affine)


def shape_of(mask: Volume) -> dict[str, float]:
    return mask_shape(mask, lattice_around(mask))


def test_a_ball_is_round_and_solid():
    found = shape_of(ball())
    assert found["sphericity"] == pytest.approx(1, abs=0.03)
    # Voxel centres on the surface make the hull a little smaller than the voxels.
    assert found["solidity"] == pytest.approx(1, abs=0.08)
    assert {name: found[name] for name in ("stray_share", "holes_share", "cut_top", "cut_bottom")} == {
        "stray_share": 0, "holes_share": 0, "cut_top": 0, "cut_bottom": 0,
    }  # fmt: skip


def test_a_bite_takes_solidity_away():
    mask = ball()
    bitten = mask.data.copy()
    bitten[20:, 17:23, 17:23] = 0
    before, after = shape_of(mask), shape_of(mask.like(bitten))
    assert after["solidity"] < before["solidity"] - 0.02
    # A shaft of 6 x 6 voxels of 3 mm: from its middle it is 3 voxels to the walls.
    assert before["bite_mm"] < 4 and after["bite_mm"] == pytest.approx(9, abs=1.1)


def test_a_brain_that_runs_beyond_the_sides():
    mask = ball()
    assert cut_sides(mask) == 0
    area = np.count_nonzero(mask.data, axis=(1, 2))
    affine = mask.affine.copy()
    affine[0, 3] += 3.0 * 10
    cropped = Volume(mask.data[10:], affine)
    assert cut_sides(cropped) == pytest.approx(area[10] / area.max())


def test_holes_and_strays_are_counted_in_voxels():
    mask = ball()
    data = mask.data.copy()
    data[20, 20, 18:22] = 0  # a hole of 4 voxels
    data[1, 1, 1:6] = 1  # a stray piece of 5
    count = np.count_nonzero(data)
    found = shape_of(mask.like(data))
    assert found["holes_share"] == pytest.approx(4 / count)
    assert found["stray_share"] == pytest.approx(5 / count)


@pytest.mark.parametrize("turned", [False, True])
def test_what_the_field_of_view_cuts_off(turned):
    whole = ball()
    data = whole.data[:, :, :24]  # the middle is plane 20: the largest plane is in it
    area = data.sum(axis=(0, 1))
    if turned:  # stored from the top downwards, the brain lies the same
        affine = whole.affine @ np.diag([1.0, 1.0, -1.0, 1.0])
        affine[:3, 3] = whole.affine[:3, 3] + whole.affine[:3, 2] * 23
        found = shape_of(Volume(np.ascontiguousarray(data[:, :, ::-1]), affine))
    else:
        found = shape_of(Volume(data, whole.affine))
    assert found["cut_top"] == pytest.approx(area[-1] / area.max())
    assert found["cut_bottom"] == 0


def test_the_profile_sees_where_the_scan_has_its_border():
    # Brain 100, outside 20: just inside a right mask 1, just outside 0.2.
    mask = ball()
    scan = mask.like(np.where(mask.data > 0, 100, 20).astype(np.float32))

    def profile(change=None) -> np.ndarray:
        seen = mask if change is None else mask.like(change(mask.data > 0, iterations=2).astype(np.uint8))
        lattice = lattice_around(seen)
        found = np.array(rim_profile(lattice.sampled(scan), seen, lattice))
        assert found.shape == (SECTORS, 5)
        return np.nanmedian(found, axis=0)

    np.testing.assert_allclose(profile()[[0, 3, 4]], [0.2, 1, 1], atol=0.1)
    # 6 mm too large: the outer 6 mm within the mask are dark; 6 mm too small: 6 mm outside it is still bright.
    assert profile(ndimage.binary_dilation)[2] < 0.35
    assert profile(ndimage.binary_erosion)[1] > 0.85
