"""When two volumes share a grid."""

from __future__ import annotations

import numpy as np

from lesionlab.imaging.volume import Volume, same_grid


def volume(spacing: float, first: float = 0.0, side: int = 240) -> Volume:
    affine = np.diag([spacing, 1.0, 1.0, 1.0])
    affine[0, 3] = first
    return Volume(np.zeros((side, 2, 2), np.uint8), affine)


def test_a_rounded_header_is_the_same_grid():
    # 239 voxels on, 0.0002 mm make 0.05 mm.
    assert same_grid(volume(0.82), volume(0.8202)) and same_grid(volume(0.82), volume(0.82, first=0.09))


def test_another_voxel_size_is_another_grid():
    # 0.009 mm a voxel are 2.2 mm at the far edge.
    assert not same_grid(volume(0.82), volume(0.829))
    assert not same_grid(volume(0.82), volume(0.82, first=0.11))


def test_another_shape_is_another_grid():
    assert not same_grid(volume(1.0), volume(1.0, side=239))
