"""Small volumes that every test of the imaging room may use."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lesionlab.imaging.anatomy.warped_study import Member
from lesionlab.imaging.ants_bridge import ensure_reproducible
from lesionlab.imaging.phantom import PhantomOptions, PhantomSubject, make_subject
from lesionlab.imaging.volume import Volume

ensure_reproducible()


def rotation(axis: str, degrees: float, shift: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """A rigid ``(4, 4)`` matrix: turn about one world axis, then shift."""
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    angle, matrix = np.radians(degrees), np.eye(4)
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[i, j], matrix[j, i] = -np.sin(angle), np.sin(angle)
    matrix[:3, 3] = shift
    return matrix


def head_at(points: np.ndarray, contrast: float = 1.0) -> np.ndarray:
    """A head-like object given at world points ``(..., 3)`` mm: brain, skull, scalp, blobs that break all symmetry."""
    radius = np.sqrt((points[..., 0] / 70) ** 2 + (points[..., 1] / 85) ** 2 + (points[..., 2] / 65) ** 2)
    brain = 1 / (1 + np.exp((radius - 0.8) * 60))
    scalp = np.exp(-(((radius - 1.0) / 0.05) ** 2))
    image = 300 * brain + 350 * scalp
    for k, centre in enumerate(
        [(25, 30, 10), (-20, 10, -15), (10, -40, 20), (-30, -25, 5), (0, 45, -20), (30, -10, -25)]
    ):
        distance = ((points - np.array(centre)) ** 2).sum(axis=-1)
        image = image + contrast * (-1) ** k * (90 + 20 * k) * np.exp(-distance / (2 * (9 + k) ** 2)) * brain
    return image


def head(
    affine: np.ndarray, shape: tuple[int, int, int], moved: np.ndarray | None = None, contrast: float = 1.0
) -> Volume:
    """The object on a grid; ``moved`` maps the object's world to the scan's (a point p lies at ``moved @ p``)."""
    points = np.moveaxis(np.indices(shape, dtype=np.float64), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    back = np.linalg.inv(np.eye(4) if moved is None else moved)
    data = head_at(points @ back[:3, :3].T + back[:3, 3], contrast)
    noise = np.random.default_rng(5).normal(0, 2, shape)
    return Volume(np.abs(data + noise).astype(np.float32), affine)


def grid_affine(spacing: tuple[float, float, float], shape: tuple[int, int, int]) -> np.ndarray:
    """An upright affine with the origin in the grid's middle."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * spacing
    return affine


@pytest.fixture(scope="session")
def make_head():
    """The function that makes a head on a grid."""
    return head


@pytest.fixture(scope="session")
def turn():
    """The function that makes a rigid matrix."""
    return rotation


@pytest.fixture(scope="session")
def upright():
    """The function that makes a centred affine."""
    return grid_affine


@pytest.fixture(scope="session")
def patient() -> PhantomSubject:
    """A coarse phantom subject with two sequences."""
    options = PhantomOptions(work_mm=3.0, in_plane_mm=3.0, slice_mm=6.0, sequences=("T1w", "T2w"), several_share=0.0)
    return make_subject(1, options, seed=3)


def stripped(volume: Volume) -> Volume:
    """The brain of the made-up head: bright enough and inside the skull."""
    points = np.moveaxis(np.indices(volume.shape, dtype=float), 0, -1) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    inside = ((points / (60, 72, 56)) ** 2).sum(axis=-1) < 1
    return volume.like(np.where(inside, volume.data / 500, 0).astype(np.float32))


@pytest.fixture(scope="session")
def heads() -> list[Member]:
    """Three heads in scanners that lie at different places, two sequences each."""
    result = []
    for k, (angle, shift) in enumerate([(0, (0, 0, 0)), (4, (300, 20, -50)), (-4, (-80, 0, 10))]):
        place = np.eye(4)
        place[:3, 3] = shift
        shape, spacing = (44, 52, 26), (4.5, 4.5, 7.0)
        scans = {}
        for name, contrast in (("T1w", 1.0), ("FLAIR", -0.6)):
            moved = rotation("z", angle)
            here = stripped(head(grid_affine(spacing, shape), shape, moved, contrast * (1 + 0.05 * k)))
            scans[name] = Volume(here.data, place @ here.affine)
        result.append(Member(scans))
    return result


@pytest.fixture
def blob() -> Volume:
    """12 x 14 x 10 voxels of smooth noise above 0."""
    data = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(12, 14, 10)), 1.5)
    return Volume((data - data.min() + 0.1).astype(np.float32), grid_affine((2.0, 2.0, 4.0), (12, 14, 10)))
