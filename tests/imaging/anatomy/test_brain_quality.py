from __future__ import annotations

import numpy as np
import pytest

from lesionlab.imaging.anatomy.brain_quality import mask_quality, solid
from lesionlab.imaging.volume import Volume

SHAPE, SPACING = (50, 60, 40), (4.0, 4.0, 4.0)


def ellipsoid(upright, centre=(0.0, 0.0, 0.0), turn=None):
    """Half axes 55, 75, 60 mm about a place, its head a shell of 12 mm around; the scan has 100 in it, 0 beyond."""
    affine = upright(SPACING, SHAPE)
    points = np.moveaxis(np.indices(SHAPE, dtype=float), 0, -1) @ affine[:3, :3].T + affine[:3, 3] - centre
    points = points if turn is None else points @ turn
    mask = ((points / [55, 75, 60]) ** 2).sum(axis=-1) < 1
    head = ((points / [67, 87, 72]) ** 2).sum(axis=-1) < 1
    scan = Volume(np.where(head, 100, 0).astype(np.float32), affine)
    return Volume(mask.astype(np.uint8), affine), scan


def test_a_whole_brain(upright):
    mask, scan = ellipsoid(upright)
    measures = mask_quality(mask, scan)
    assert measures["brain_ml"] == pytest.approx(4 / 3 * np.pi * 5.5 * 7.5 * 6.0, rel=0.02)
    assert measures["brain_over_head"] == pytest.approx(55 * 75 * 60 / (67 * 87 * 72), rel=0.03)
    assert measures["brain_fraction"] == pytest.approx(mask.data.mean())
    assert measures["symmetry"] > 0.97
    assert measures["cut_fraction"] == measures["touches_border"] == measures["empty_fraction"] == 0


def test_a_tilted_head_is_as_symmetric(upright, turn):
    mask, scan = ellipsoid(upright, turn=turn("z", 20.0)[:3, :3] @ turn("y", 12.0)[:3, :3])
    assert mask_quality(mask, scan)["symmetry"] > 0.95


def test_half_a_brain_shows(upright):
    mask, scan = ellipsoid(upright)
    top = slice(SHAPE[2] // 2, None)
    cut = mask_quality(Volume(mask.data[:, :, top], mask.affine), Volume(scan.data[:, :, top], scan.affine))
    assert cut["cut_fraction"] == 1  # its largest plane is the lowest
    right = mask.like(mask.data * (np.arange(SHAPE[0]) >= SHAPE[0] // 2)[:, None, None])
    right.data[:22, 30:36, 18:22] = mask.data[:22, 30:36, 18:22]  # a stump on the other side
    assert mask_quality(right, scan)["symmetry"] < 0.85
    dark = scan.like(scan.data * (np.arange(SHAPE[2]) < 20))
    # The grid is symmetric about the middle of its 40 planes: half of the brain lies in the 20 that are empty.
    assert mask_quality(mask, dark)["empty_fraction"] == pytest.approx(0.5)


def test_a_solid_mask_and_what_it_took():
    mask = np.zeros((10, 10, 10), dtype=bool)
    mask[1:8, 1:8, 1:8] = True  # 343 voxels
    mask[4, 4, 4] = False
    mask[8, 8, 8] = True  # touches the cube's corner: one piece
    mask[0, 9, 0] = True  # apart
    whole, changes = solid(mask)
    assert whole[4, 4, 4] and whole[8, 8, 8] and not whole[0, 9, 0]
    assert changes == {
        "pieces": 2,
        "removed_fraction": pytest.approx(1 / 344),
        "filled_fraction": pytest.approx(1 / 344),
    }
    assert solid(np.zeros((2, 2, 2)))[1]["pieces"] == 0
