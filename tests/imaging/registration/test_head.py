from __future__ import annotations

import numpy as np
import pytest

from lesionlab.imaging.registration.head import center, center_of_mass, flattened, head_mask, inner, isotropic, no_finer
from lesionlab.imaging.volume import Volume


def ramp(affine, shape):
    points = np.moveaxis(np.indices(shape, dtype=float), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    return Volume((points @ [1.0, 2.0, 3.0]).astype(np.float32), affine)


def test_cubic_voxels_lie_where_the_scan_lies(upright):
    scan = ramp(upright((1.0, 1.5, 5.0), (40, 30, 9)), (40, 30, 9))
    coarse = isotropic(scan, 4.0)
    assert coarse.spacing == pytest.approx((4, 4, 4))
    np.testing.assert_allclose(center(coarse), center(scan), atol=1e-9)
    inner = (slice(2, -2), slice(2, -2), slice(2, -2))
    # Smoothing leaves a ramp as it is.
    np.testing.assert_allclose(coarse.data[inner], ramp(coarse.affine, coarse.shape).data[inner], atol=0.05)


def test_only_axes_that_are_finer_are_thinned_out(upright):
    scan = ramp(upright((0.5, 2.0, 3.0), (40, 12, 8)), (40, 12, 8))
    thin = no_finer(scan, 1.5)
    assert thin.spacing == pytest.approx((1.5, 2, 3)) and thin.shape == (13, 12, 8)
    np.testing.assert_allclose(center(thin), center(scan), atol=1e-9)
    np.testing.assert_allclose(thin.data[1:-1], ramp(thin.affine, thin.shape).data[1:-1], atol=0.05)
    assert no_finer(scan, 0.0) is scan


def test_flattening_takes_a_shading_out(make_head, upright):
    shape = (44, 50, 32)
    head = make_head(upright((4, 4, 5), shape), shape)
    x = np.linspace(-0.4, 0.4, shape[0], dtype=np.float32)[:, None, None]
    shaded = head.like(head.data * np.exp(x))
    inside = head_mask(head).data > 0
    plain, flat = flattened(head, 6.0).data[inside], flattened(shaded, 6.0).data[inside]
    before = np.abs(shaded.data - head.data)[inside].mean() / head.data[inside].mean()
    assert np.abs(flat - plain).mean() / plain.mean() < 0.3 * before


def test_centre_of_mass():
    data = np.zeros((5, 5, 5), np.float32)
    data[1, 2, 3], data[3, 2, 3] = 1, 3  # (1 * 1 + 3 * 3) / 4 = 2.5
    np.testing.assert_allclose(center_of_mass(Volume(data, np.diag([2.0, 1, 1, 1]))), [5, 2, 3])


def test_the_inside_begins_at_a_depth_in_mm_and_not_at_the_border_of_the_scan():
    head = np.zeros((20, 12, 6), np.uint8)
    head[4:] = 1  # a surface at the low end of x; everywhere else the scan ends within the head
    deep = inner(Volume(head, np.diag([2.0, 1, 3, 1])), 5.0).data
    # The centre of column 4 lies 2 mm from the next one outside, that of column 6 lies 6 mm from it.
    assert (deep[6:] == 1).all() and (deep[:6] == 0).all()


@pytest.mark.parametrize("planes", [3, 4, 9])
def test_a_scan_of_few_planes_has_a_head(make_head, upright, planes):
    shape = (44, 50, planes)
    found = head_mask(make_head(upright((4, 4, 5), shape), shape)).data
    # Closing a gap must not take the field of view's end for air: every plane shows the head.
    assert found.any(axis=(0, 1)).all()
