from __future__ import annotations

import numpy as np
import pytest

from lesionlab.errors import InputError
from lesionlab.imaging.intensity.bias import BiasOptions, apply_field, correct_bias, correct_study
from lesionlab.imaging.intensity.n4 import N4Options, white_matter
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


@pytest.mark.parametrize("method", ["tissue_fit", "n4"])
def test_the_same_input_gives_the_same_field(study, method):
    volumes, mask, _ = study
    quick = BiasOptions(method=method, n4=N4Options(iterations=(5, 5)))
    one, other = (correct_study(volumes, mask, quick).log_fields["T2w"].data for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_white_matter_is_the_bright_core(case):
    volume, mask, _, tissue = case
    found = white_matter(volume, mask.data > 0, N4Options())
    assert found.sum() > 0.1 * mask.data.sum()
    assert (tissue[found] == 160).mean() > 0.97


@pytest.fixture(scope="module")
def study(case):
    """Three sequences of the ball, the second with the contrast turned round; T2w has twice the field, FLAIR minus."""
    volume, mask, log_field, tissue = case
    inside = mask.data > 0
    rng = np.random.default_rng(2)
    darks = {"T1w": (100, 160, 1), "T2w": (300, 190, 2), "FLAIR": (120, 90, -1)}
    volumes, fields = {}, {}
    for name, (dark, bright, times) in darks.items():
        clean = np.where(tissue == 160, bright, dark) * np.exp(times * log_field) + rng.normal(0, 2, SHAPE)
        volumes[name], fields[name] = volume.like(np.where(inside, clean, 0).astype(np.float32)), times * log_field
    return volumes, mask, fields


def correlations(done, mask, fields):
    inside = mask.data > 0
    return [np.corrcoef(field.data[inside], fields[name][inside])[0, 1] for name, field in done.log_fields.items()]


@pytest.mark.parametrize("method", ["tissue_fit", "n4"])
def test_each_sequence_gets_its_own_field(study, method):
    volumes, mask, fields = study
    done = correct_study(volumes, mask, BiasOptions(method=method))
    assert min(correlations(done, mask, fields)) > (0.99 if method == "tissue_fit" else 0.9)
    assert done.qc["T2w_cv_after"] < 0.5 * done.qc["T2w_cv_before"]
    # 5th to 95th percentile of the true field, twice that in T2w.
    true = np.ptp(np.percentile(fields["T1w"][mask.data > 0], (5, 95)))
    assert done.qc["T1w_bias_range"] == pytest.approx(true, rel=0.15)
    assert done.qc["T2w_bias_range"] == pytest.approx(2 * true, rel=0.15)
    assert done.qc["T1w_covered"] == 1


def with_lesion(study):
    """A bright lesion of a tenth of the brain in T2w and FLAIR, dark in T1w."""
    volumes, mask, _ = study
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    lesion = (x - 0.4) ** 2 + (y - 0.1) ** 2 + z**2 < 0.15
    times = {"T1w": 0.8, "T2w": 1.6, "FLAIR": 1.9}
    changed = {name: v.like(np.where(lesion, v.data * times[name], v.data)) for name, v in volumes.items()}
    return changed, mask.like((lesion & (mask.data > 0)).astype(np.uint8))


def test_a_lesion_is_not_taken_for_field(study):
    volumes, lesion = with_lesion(study)
    _, mask, fields = study
    assert 0.05 < lesion.data.sum() / mask.data.sum() < 0.2
    assert min(correlations(correct_study(volumes, mask, BiasOptions()), mask, fields)) > 0.95


def test_lesion_voxels_take_no_part_where_that_is_asked_for(study):
    volumes, lesion = with_lesion(study)
    _, mask, _ = study
    options = BiasOptions(exclude_lesions=True)
    one = correct_study(volumes, mask, options, lesion)
    spoilt = {name: v.like(np.where(lesion.data > 0, 1e4, v.data)) for name, v in volumes.items()}
    other = correct_study(spoilt, mask, options, lesion)
    for name in volumes:
        np.testing.assert_array_equal(one.log_fields[name].data, other.log_fields[name].data)


def test_a_scan_of_half_the_head_costs_the_others_nothing(study):
    volumes, mask, fields = study
    half = volumes["FLAIR"].data.copy()
    half[:, :, SHAPE[2] // 2 :] = 0
    done = correct_study({**volumes, "FLAIR": mask.like(half)}, mask, BiasOptions())
    alone = correct_study({name: volumes[name] for name in ("T1w", "T2w")}, mask, BiasOptions())
    np.testing.assert_array_equal(done.log_fields["T1w"].data, alone.log_fields["T1w"].data)
    seen = (mask.data > 0) & (half > 0)
    assert np.corrcoef(done.log_fields["FLAIR"].data[seen], fields["FLAIR"][seen])[0, 1] > 0.95
    assert done.qc["FLAIR_covered"] == pytest.approx(0.5, abs=0.02)


def test_a_field_applies_to_another_grid(case, upright):
    volume, _, log_field, _ = case
    field = volume.like(log_field.astype(np.float32))
    same = apply_field(volume, field)
    np.testing.assert_allclose(same.data, volume.data * np.exp(-log_field), rtol=1e-5, atol=1e-4)
    # Every second voxel of the grid: their centres lie on old ones, so linear interpolation returns the field there.
    affine = volume.affine @ np.diag([2.0, 2.0, 1.0, 1.0])
    coarse = apply_field(Volume(volume.data[::2, ::2], affine), field)
    np.testing.assert_allclose(coarse.data, same.data[::2, ::2], rtol=1e-4, atol=1e-3)


def test_values_without_a_logarithm_take_no_part_and_too_many_are_an_error(case):
    volume, mask, *_ = case
    few = volume.data.copy()
    few[18, 20, 9:12] = -5
    done = correct_bias(volume.like(few), mask, BiasOptions())
    assert np.isfinite(done.volume.data).all()
    with pytest.raises(InputError, match="FLAIR is not positive"):
        correct_bias(volume.like(volume.data - 120), mask, BiasOptions(), sequence="FLAIR")
    with pytest.raises(InputError, match="T1w is not positive"):
        correct_study({"T1w": volume.like(0 * volume.data), "T2w": volume}, mask, BiasOptions())


def test_an_empty_mask_is_an_error(case):
    volume, mask, *_ = case
    with pytest.raises(InputError, match="empty"):
        correct_bias(volume, mask.like(np.zeros_like(mask.data)), BiasOptions())


def test_the_only_whole_scan_goes_to_n4(study):
    """One sequence alone hardly tells tissue from field, also where the others saw a part of the brain."""
    volumes, mask, _ = study
    whole, *others = volumes
    half = {
        name: volumes[name].like(np.where(np.arange(SHAPE[2]) < SHAPE[2] // 2, volumes[name].data, 0))
        for name in others
    }
    done = correct_study({whole: volumes[whole], **half}, mask, BiasOptions())
    alone = correct_study({whole: volumes[whole]}, mask, BiasOptions(method="n4"))
    np.testing.assert_allclose(done.log_fields[whole].data, alone.log_fields[whole].data, atol=1e-6)
