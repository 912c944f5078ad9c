"""A small brain with structure, on a grid of its own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lesionlab.imaging.quality.lattice import Lattice, lattice_around
from lesionlab.imaging.volume import Volume

SPACING = 3.0
RADII = np.array([45.0, 54.0, 42.0])  # mm


def affine(shape: tuple[int, int, int]) -> np.ndarray:
    matrix = np.diag([SPACING, SPACING, SPACING, 1.0])
    matrix[:3, 3] = -SPACING * (np.array(shape) - 1) / 2
    return matrix


@pytest.fixture(scope="session")
def brain() -> Volume:
    """An ellipsoid of 45 x 54 x 42 mm radii around the origin."""
    shape = (48, 54, 46)
    at = np.indices(shape).reshape(3, -1).T * SPACING + affine(shape)[:3, 3]
    inside = (((at / RADII) ** 2).sum(axis=1) <= 1).reshape(shape)
    return Volume(inside.astype(np.uint8), affine(shape))


@pytest.fixture(scope="session")
def lattice(brain) -> Lattice:
    return lattice_around(brain)


@pytest.fixture(scope="session")
def scan(brain) -> Volume:
    """Blobs of about 1 cm within a head, brighter in the brain."""
    noise = ndimage.gaussian_filter(np.random.default_rng(4).standard_normal(brain.shape), 2.0)
    return brain.like((100 + 200 * noise / noise.std() * 0.2 + 60 * brain.data).astype(np.float32))


@pytest.fixture(scope="session")
def image(lattice, scan) -> np.ndarray:
    return lattice.sampled(scan)
