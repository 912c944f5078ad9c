"""Resampling through a chain of transforms: one interpolation, and the right place."""

from __future__ import annotations

import numpy as np
import pytest

from lesionlab.imaging.ants_bridge import load_ants, to_ants
from lesionlab.imaging.resample import Displacement, resample, resample_like, resample_through
from lesionlab.imaging.transforms import itk_transform_bytes
from lesionlab.imaging.volume import Volume

SHAPE = (24, 26, 22)


def waves(points: np.ndarray) -> np.ndarray:
    """An image given at points ``(..., 3)`` mm, with waves of 9 mm: 4.5 samples at 2 mm, so that blur tells."""
    k = 2 * np.pi / 9
    return np.sin(k * points[..., 0]) + np.sin(k * points[..., 1] + 1) + np.sin(k * points[..., 2] + 2)


def points_of(affine: np.ndarray, shape=SHAPE) -> np.ndarray:
    return np.moveaxis(np.indices(shape, dtype=float), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


@pytest.fixture
def chain(turn, upright):
    return turn("z", 11, (0.7, -0.4, 0.3)), turn("x", -8, (0.2, 0.9, -0.6))


@pytest.fixture
def affine(upright):
    return upright((2.0, 2.0, 2.0), SHAPE)


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_one_interpolation_keeps_what_two_lose(chain, affine, interpolation):
    raw = Volume(waves(points_of(affine)).astype(np.float32), affine)
    once = resample_through(raw, SHAPE, affine, chain, interpolation=interpolation)
    between = resample(raw, SHAPE, affine, matrix=chain[1], interpolation=interpolation)
    twice = resample(between, SHAPE, affine, matrix=chain[0], interpolation=interpolation)
    # The truth is computed, not sampled: the first link acts on the new grid's points first.
    truth = waves(moved(chain[1], moved(chain[0], points_of(affine))))
    core = (slice(6, -6),) * 3
    errors = [np.abs(each.data - truth)[core].mean() for each in (once, twice)]
    assert errors[1] > 1.3 * errors[0]
    assert twice.data[core].std() < once.data[core].std()


def test_a_chain_of_matrices_is_their_product(chain, affine):
    raw = Volume(waves(points_of(affine)).astype(np.float32), affine)
    once = resample_through(raw, SHAPE, affine, chain, interpolation="cubic")
    product = resample(raw, SHAPE, affine, matrix=chain[1] @ chain[0], interpolation="cubic")
    np.testing.assert_allclose(once.data, product.data, atol=1e-5)


def test_a_displacement_field_acts_where_it_stands_in_the_chain(chain, affine, upright):
    # A ramp, on which linear interpolation is exact, and a field that grows linearly: d = (0.1 x, -0.05 z, 1).
    raw = Volume((points_of(affine) @ [1.0, 2.0, 3.0]).astype(np.float32), affine)
    coarse = upright((6.0, 6.0, 6.0), (14, 14, 14))
    x, _, z = np.moveaxis(points_of(coarse, (14, 14, 14)), -1, 0)
    field = Displacement(np.stack([0.1 * x, -0.05 * z, np.ones_like(x)], axis=-1).astype(np.float32), coarse)
    found = resample_through(raw, SHAPE, affine, (chain[0], field, chain[1]), antialias=False)
    p = moved(chain[0], points_of(affine))
    p = p + np.stack([0.1 * p[..., 0], -0.05 * p[..., 2], np.ones(SHAPE)], axis=-1)
    core = (slice(6, -6),) * 3
    np.testing.assert_allclose(found.data[core], (moved(chain[1], p) @ [1.0, 2.0, 3.0])[core], atol=1e-3)


def test_beyond_the_field_of_view_a_displacement_fills(affine):
    raw = Volume(np.ones(SHAPE, np.float32), affine)
    vectors = np.zeros((2, 2, 2, 3), np.float32)
    vectors[..., 0] = 10.0  # mm to the right: the last 5 columns of 2 mm see nothing
    found = resample_through(raw, SHAPE, affine, (Displacement(vectors, affine),), fill=-7)
    assert (found.data[-5:] == -7).all() and (found.data[:-5] == 1).all()


def test_a_displacement_moves_labels_without_mixing_them(affine):
    labels = np.zeros(SHAPE, np.uint8)
    labels[8:12], labels[12:16] = 2, 4
    vectors = np.zeros((2, 2, 2, 3), np.float32)
    vectors[..., 0] = 2.0
    found = resample_through(
        Volume(labels, affine), SHAPE, affine, (Displacement(vectors, affine),), interpolation="labels"
    )
    np.testing.assert_array_equal(found.data[:-1], labels[1:])


def test_labels_agree_with_ants_generic_label(make_head, upright, turn, tmp_path):
    shape = (40, 44, 30)
    head = make_head(upright((3.0, 3.0, 4.0), shape), shape)
    labels = head.like(np.digitize(head.data, [60, 250, 330]).astype(np.uint8))
    matrix = turn("y", 9, (2.3, -1.2, 3.1))
    target = Volume(np.zeros((50, 50, 40), np.float32), upright((2.4, 2.6, 3.1), (50, 50, 40)))
    file = tmp_path / "a.mat"
    file.write_bytes(itk_transform_bytes(matrix))
    theirs = (
        load_ants().apply_transforms(to_ants(target), to_ants(labels), [str(file)], interpolator="genericLabel").numpy()
    )
    ours = resample_like(labels, target, matrix=matrix, interpolation="labels").data
    nearest = resample_like(labels, target, matrix=matrix, interpolation="nearest").data
    core = (slice(5, -5),) * 3
    disagree = (ours != theirs)[core].mean()
    # ANTs interpolates each label's indicator linearly too; ties and rounding are all that may differ.
    assert disagree < 0.002
    assert (nearest != theirs)[core].mean() > 5 * disagree
