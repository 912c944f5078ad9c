from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesionlab.errors import InputError
from lesionlab.imaging.intensity.intensity_map import IntensityMap
from lesionlab.imaging.intensity.landmarks import Landmarks
from lesionlab.imaging.intensity.standardize import StandardizeOptions, fit_landmarks, fit_mapping, standardize
from lesionlab.imaging.volume import Volume


def study(values):
    """A volume with the values in its brain and 77 outside, and its mask."""
    data = np.full((values.size, 1, 2), 77.0, np.float32)
    data[:, 0, 0] = values
    mask = np.zeros(data.shape, np.uint8)
    mask[:, 0, 0] = 1
    return Volume(data, np.eye(4)), Volume(mask, np.eye(4))


def uniform(top: int) -> np.ndarray:
    """0 to ``top``; the first not exactly 0, which would mean that the scan saw nothing there."""
    return np.append(1e-9, np.arange(1.0, top + 1))


UNIFORM = uniform(100)  # its percentiles are the percentages themselves


def test_landmarks_of_a_uniform_brain_by_hand():
    # Percentile p of 0..100 is p; 1 -> 0.0 and 99 -> 1.0 linearly, so p -> (p - 1) / 98.
    options = StandardizeOptions(percentiles=(1, 50, 99), scale=(0.0, 1.0))
    marks = fit_landmarks([study(UNIFORM), study(10 + 3 * UNIFORM)], options)
    np.testing.assert_allclose(marks.values, [0, 0.5, 1], atol=1e-12)
    assert marks.studies == 2
    assert Landmarks(**json.loads(json.dumps(marks.model_dump()))) == marks


def test_nyul_is_piecewise_linear_prolonged_and_clipped():
    options = StandardizeOptions(percentiles=(1, 50, 99), scale=(0.2, 0.8))
    marks = Landmarks(percentiles=(1, 50, 99), values=(0.2, 0.4, 0.8), studies=1)
    done = standardize(*study(UNIFORM), options, marks).volume.data[:, 0, 0]
    # 25.5 would be half-way from 1 to 50: 0.3. At 25: 0.2 + 24/49 * 0.2. Beyond 99 the slope is 0.4/49.
    assert done[25] == pytest.approx(0.2 + 24 / 49 * 0.2, abs=1e-6)
    assert done[50] == pytest.approx(0.4, abs=1e-6)
    assert done[100] == pytest.approx(0.8 + 0.4 / 49, abs=1e-6)
    assert done[0] == pytest.approx(0.2 - 0.2 / 49, abs=1e-6)


def test_bright_tails_are_clipped_and_counted():
    values = np.append(UNIFORM, 1e6)
    marks = Landmarks(percentiles=(1, 50, 99), values=(0.2, 0.4, 0.8), studies=1)
    done = standardize(*study(values), StandardizeOptions(percentiles=(1, 50, 99)), marks)
    assert done.volume.data.max() == 1
    assert done.qc["clipped_fraction"] == pytest.approx(1 / 102)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 1000), st.floats(-500, 500), st.integers(0, 1000))
def test_nyul_undoes_gain_and_offset(gain, offset, seed):
    values = np.random.default_rng(seed).gamma(3, 20, 400)
    options = StandardizeOptions()
    marks = fit_landmarks([study(values)], options)
    one = standardize(*study(values), options, marks).volume.data
    other = standardize(*study(gain * values + offset), options, marks).volume.data
    np.testing.assert_allclose(one, other, atol=2e-3)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["nyul", "p99_5", "none"]), st.floats(0.1, 1000), st.integers(0, 1000))
def test_what_is_standardized_stays(rule, gain, seed):
    rng = np.random.default_rng(seed)
    options = StandardizeOptions(rule=rule)
    marks = fit_landmarks([study(rng.gamma(3, 20, 400)) for _ in range(3)], options)
    volume, mask = study(gain * rng.gamma(2, 20, 2000))
    once = standardize(volume, mask, options, marks).volume
    twice = standardize(once, mask, options, marks).volume
    # A percentile between two voxels is interpolated, before the mapping and after: 1 voxel in 2000 of the range.
    np.testing.assert_allclose(twice.data, once.data, atol=2e-3)
    np.testing.assert_array_equal(twice.data[:, :, 1], once.data[:, :, 1])


def test_zscore_third_stays_where_nothing_is_clipped():
    options = StandardizeOptions(rule="zscore_third")
    volume, mask = study(np.random.default_rng(0).uniform(0, 50, 300))
    once = standardize(volume, mask, options).volume
    np.testing.assert_allclose(standardize(once, mask, options).volume.data, once.data, atol=1e-6)


@pytest.mark.parametrize("rule", ["nyul", "zscore_third", "p99_5"])
def test_lesion_voxels_move_nothing_where_they_are_excluded(rule):
    values = np.append(np.random.default_rng(0).gamma(3, 20, 400), np.full(100, 500.0))
    volume, mask = study(values)
    lesion = mask.like(np.where(volume.data == 500, mask.data, 0).astype(np.uint8))
    healthy = study(values[:400])
    options = StandardizeOptions(rule=rule, exclude_lesions=True)
    marks = fit_landmarks([(volume, mask, lesion)], options)
    assert marks == fit_landmarks([healthy], options)
    assert fit_mapping(volume, mask, options, marks, lesion) == fit_mapping(*healthy, options, marks)
    assert fit_mapping(volume, mask, options, marks) != fit_mapping(
        *healthy, options, marks
    )  # no map, nothing left out
    # A lesion that fills the brain leaves nothing to look at: then all counts.
    assert fit_mapping(volume, mask, options, marks, mask) == fit_mapping(volume, mask, options, marks)


@pytest.mark.parametrize("rule", ["nyul", "zscore_third", "p99_5", "none"])
def test_the_mapping_is_data_and_does_what_standardize_did(rule):
    volume, mask = study(np.random.default_rng(0).gamma(3, 20, 400))
    options = StandardizeOptions(rule=rule)
    done = standardize(volume, mask, options, fit_landmarks([study(UNIFORM)], options))
    kept = IntensityMap.model_validate_json(done.mapping.model_dump_json())
    np.testing.assert_array_equal(kept.apply_to(volume, mask).data, done.volume.data)


def test_landmark_distance_by_hand():
    # Uniform 0..100 comes linearly to (0, 0.5, 1) at percentiles 0, 50, 100; the standard has 0.2 in the middle:
    # sqrt((0 + 0.3^2 + 0) / 3).
    options = StandardizeOptions(percentiles=(0, 50, 100), scale=(0, 1))
    marks = Landmarks(percentiles=(0, 50, 100), values=(0, 0.2, 1), studies=1)
    done = standardize(*study(UNIFORM), options, marks)
    assert done.qc["landmark_distance"] == pytest.approx(0.3 / np.sqrt(3))
    assert "landmark_distance" not in standardize(*study(UNIFORM), StandardizeOptions(rule="p99_5")).qc


@pytest.mark.parametrize(("rule", "background"), [("nyul", 0), ("zscore_third", -1), ("p99_5", 0), ("none", 0)])
def test_background_is_exact(rule, background):
    volume, mask = study(UNIFORM)
    options = StandardizeOptions(rule=rule)
    done = standardize(volume, mask, options, fit_landmarks([(volume, mask)], options)).volume.data
    assert (done[:, :, 1] == background).all()
    assert np.isfinite(done).all()


def test_brain_and_background_never_share_a_value_under_nyul():
    values = np.append(UNIFORM, -1e6)
    options = StandardizeOptions()
    done = standardize(*study(values), options, fit_landmarks([study(UNIFORM)], options)).volume.data
    assert done[:, 0, 0].min() > 0


def test_zscore_third_has_a_third_of_deviation():
    values = np.random.default_rng(0).normal(300, 40, 5000)
    done = standardize(*study(values), StandardizeOptions(rule="zscore_third")).volume.data[:, 0, 0]
    # (v - mean) / (3 std), clipped at three deviations, which cuts 0.3 % of a normal distribution.
    assert done.mean() == pytest.approx(0, abs=0.01)
    assert done.std() == pytest.approx(1 / 3, abs=0.01)
    assert np.abs(done).max() <= 1


def test_p99_5_divides_by_that_percentile():
    done = standardize(*study(uniform(200)), StandardizeOptions(rule="p99_5")).volume.data[:, 0, 0]
    assert done[100] == pytest.approx(100 / 199, abs=1e-6)  # percentile 99.5 of 0..200 is 199
    assert done[200] == 1


def test_unusable_input_is_told():
    with pytest.raises(InputError, match="constant"):
        standardize(*study(np.full(50, 3.0)), StandardizeOptions(rule="zscore_third"))
    with pytest.raises(InputError, match="not positive"):
        standardize(*study(-1 - UNIFORM), StandardizeOptions(rule="p99_5"))
    with pytest.raises(InputError, match="landmarks"):
        standardize(*study(UNIFORM), StandardizeOptions())
    with pytest.raises(InputError, match="no study"):
        fit_landmarks([], StandardizeOptions())


def test_a_training_volume_that_is_constant_teaches_nothing_and_stops_no_other():
    good, constant = study(UNIFORM), study(np.full(50, 3.0))
    assert fit_landmarks([constant, good], StandardizeOptions()) == fit_landmarks([good], StandardizeOptions())
    with pytest.raises(InputError, match="no study"):
        fit_landmarks([constant], StandardizeOptions())
