from __future__ import annotations

import numpy as np
import pytest

from lesionlab.errors import InputError
from lesionlab.imaging.bias import BiasOptions, correct_bias, correct_study, white_matter
from lesionlab.imaging.volume import Volume

SHAPE = (36, 42, 20)


@pytest.fixture(scope="module")
def case(upright):
    """A ball of two tissues (100 and 160) under a field of exp(0.25 x + 0.15 y z), x, y, z from -1 to 1."""
    affine = upright((4.0, 4.0, 6.0), SHAPE)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    inside = x**2 + y**2 + z**2 < 0.8
    tissue = np.where(np.sin(9 * x) + np.sin(8 * y) + np.sin(5 * z) > 0, 160.0, 100.0)
    log_field = 0.25 * x + 0.15 * y * z
    noise = np.random.default_rng(1).normal(0, 2, SHAPE)
    data = np.where(inside, tissue * np.exp(log_field) + noise, 0).astype(np.float32)
    return Volume(data, affine), Volume(inside.astype(np.uint8), affine), log_field, tissue


def test_the_field_is_found_in_log_units(case):
    volume, mask, log_field, tissue = case
    done = correct_bias(volume, mask, BiasOptions())
    inside = mask.data > 0
    found = done.log_field.data[inside]
    true = log_field[inside] - log_field[inside].mean()
    assert np.corrcoef(found, true)[0, 1] > 0.95
    assert (found - true).std() < 0.4 * true.std()
    assert found.mean() == pytest.approx(0, abs=1e-5)
    # Bright tissue varies less afterwards, and volume = corrected * exp(field).
    bright = inside & (tissue == 160)
    before, after = (v.data[bright].std() / v.data[bright].mean() for v in (volume, done.volume))
    assert after < 0.5 * before
    np.testing.assert_allclose(done.volume.data * np.exp(done.log_field.data), volume.data, rtol=1e-4, atol=1e-3)


def test_switched_off_nothing_changes(case):
    volume, mask, *_ = case
    done = correct_bias(volume, mask, BiasOptions(enabled=False))
    np.testing.assert_array_equal(done.volume.data, volume.data)
    assert not done.log_field.data.any()


def test_the_same_input_gives_the_same_field(case):
    volume, mask, *_ = case
    quick = BiasOptions(iterations=(5, 5))
    one, other = (correct_bias(volume, mask, quick).log_field.data for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_white_matter_is_the_bright_core(case):
    volume, mask, _, tissue = case
    found = white_matter(volume, mask, BiasOptions()).data > 0
    assert found.sum() > 0.1 * mask.data.sum()
    assert (tissue[found] == 160).mean() > 0.97


def test_a_study_is_corrected_sequence_by_sequence(case):
    volume, mask, log_field, _ = case
    inverse = np.where(mask.data > 0, 30000 / np.maximum(volume.data, 1) * np.exp(2 * log_field), 0)
    done = correct_study({"T1w": volume, "T2w": volume.like(inverse.astype(np.float32))}, mask, BiasOptions())
    inside = mask.data > 0
    for field in done.log_fields.values():
        assert np.corrcoef(field.data[inside], log_field[inside])[0, 1] > 0.9
    assert set(done.qc) >= {"T1w_bias_range", "T2w_cv_after"}


def test_values_without_a_logarithm_take_no_part_and_too_many_are_an_error(case):
    volume, mask, *_ = case
    few = volume.data.copy()
    few[18, 20, 9:12] = -5
    done = correct_bias(volume.like(few), mask, BiasOptions())
    assert np.isfinite(done.volume.data).all()
    with pytest.raises(InputError, match="FLAIR is not positive"):
        correct_bias(volume.like(volume.data - 120), mask, BiasOptions(), sequence="FLAIR")


def test_an_empty_mask_is_an_error(case):
    volume, mask, *_ = case
    with pytest.raises(InputError, match="empty"):
        correct_bias(volume, mask.like(np.zeros_like(mask.data)), BiasOptions())
