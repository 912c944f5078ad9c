from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from lesionlab.imaging.intensity.intensity_map import IntensityMap, affine_map
from lesionlab.imaging.volume import Volume


def test_pieces_and_their_prolongation_by_hand():
    # From 10 to 20 the slope is 0.02, from 20 to 30 it is 0.06.
    pieces = IntensityMap(knots=(10, 20, 30), values=(0.2, 0.4, 1.0))
    np.testing.assert_allclose(pieces.apply(np.array([0, 10, 15, 20, 25, 30, 40])), [0, 0.2, 0.3, 0.4, 0.7, 1.0, 1.6])


def test_an_affine_map_has_two_knots():
    np.testing.assert_allclose(affine_map(0.5, 3.0, None, 0.0).apply(np.array([-1.0, 3.0, 7.0])), [-2, 0, 2])


def test_limits_floor_and_background():
    clipped = IntensityMap(knots=(0, 1), values=(0, 1), limits=(0, 0.5), floor=0.1, background=-1)
    values = np.array([-2, 0.05, 0.3, 0.5, 9])
    np.testing.assert_allclose(clipped.apply(values), [0.1, 0.1, 0.3, 0.5, 0.5])
    assert clipped.clipped_fraction(values) == pytest.approx(2 / 5)  # -2 and 9; the floor is no limit
    volume = Volume(values.reshape(5, 1, 1), np.eye(4))
    mask = volume.like(np.array([0, 1, 0, 1, 0]).reshape(5, 1, 1))
    done = clipped.apply_to(volume, mask).data
    assert done.dtype == np.float32
    np.testing.assert_allclose(done.ravel(), [-1, 0.1, -1, 0.5, -1])


@pytest.mark.parametrize(("knots", "values"), [((0, 0), (0, 1)), ((0, 1), (1, 0)), ((0, 1), (0, 1, 2)), ((1,), (1,))])
def test_a_map_that_does_not_ascend_is_none(knots, values):
    with pytest.raises(ValidationError):
        IntensityMap(knots=knots, values=values)
