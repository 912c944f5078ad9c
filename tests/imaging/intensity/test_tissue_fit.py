from __future__ import annotations

import numpy as np
import pytest

from lesionlab.imaging.intensity.tissue_fit import TissueFitOptions, _Mixture, fit_tissues
from lesionlab.imaging.volume import Volume

SHAPE = (40, 40, 24)
SIGNALS = {"FLAIR": (20, 120, 95), "T2w": (400, 200, 130), "T1w": (60, 180, 270)}  # fluid, grey, white


@pytest.fixture(scope="module")
def head():
    """Three tissues in waves under fields of their own, 5 mm voxels; the shares of grey and fluid mix."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    inside = x**2 + y**2 + z**2 < 0.9
    white = 1 / (1 + np.exp(-12 * (np.sin(9 * x) + np.sin(8 * y) + np.sin(6 * z))))
    fluid = (1 - white) * (np.sin(13 * x) * np.sin(11 * y) > 0.4) * 0.8
    shares = np.stack([fluid, 1 - white - fluid, white])
    fields = {"FLAIR": 0.2 * x * y, "T2w": -0.2 * z, "T1w": 0.15 * (x + y**2)}
    rng = np.random.default_rng(0)
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    volumes = {
        name: Volume(
            (np.tensordot(signal, shares, 1) * np.exp(fields[name]) + rng.normal(0, 3, SHAPE)).astype(np.float32),
            affine,
        )
        for name, signal in SIGNALS.items()
    }
    return volumes, inside, fields, white


def test_mixed_voxels_and_tissues_are_told_from_fields(head):
    volumes, inside, fields, white = head
    fit = fit_tissues(volumes, inside, TissueFitOptions())
    assert list(fit.log_fields) == list(volumes)
    for name, field in fit.log_fields.items():
        error = (field - fields[name])[inside]
        assert error.std() < 0.1 * fields[name][inside].std()
    assert fit.uniform.any() and not (fit.uniform & ~inside).any()
    assert white[fit.uniform].std() < 0.1 * white[inside].std()  # one tissue


def test_the_order_of_sequences_changes_nothing_but_rounding(head):
    volumes, inside, *_ = head
    one = fit_tissues(volumes, inside, TissueFitOptions(rounds=3))
    other = fit_tissues(dict(reversed(volumes.items())), inside, TissueFitOptions(rounds=3))
    assert np.abs(one.log_fields["T2w"] - other.log_fields["T2w"]).max() < 0.02


def test_few_voxels_are_enough_for_a_finite_field(head):
    volumes, inside, *_ = head
    few = np.zeros_like(inside)
    few[20, 20, 10:13] = True
    fit = fit_tissues(volumes, few, TissueFitOptions(rounds=2))
    assert all(np.isfinite(field).all() for field in fit.log_fields.values())


def test_a_mixture_by_hand():
    # Two voxels of weight 1 and 3 at 0 and 4: mean 3, variance (9 + 3) / 4 = 3, and the least variance, 0.03 squared.
    mixture = _Mixture.of(np.array([[0.0], [4.0]]), np.array([[1.0], [3.0]]))
    assert mixture.means[0, 0] == pytest.approx(3)
    assert mixture.covariances[0, 0, 0] == pytest.approx(3 + 0.0009)
    shares, distance = mixture.shares_and_distances(np.array([[3.0], [6.0]]))
    np.testing.assert_allclose(shares, 1)
    np.testing.assert_allclose(distance[:, 0], [0, 9 / 3.0009], atol=1e-12)


def test_what_other_sequences_let_expect_is_taken_off():
    # Correlation 0.8 between two sequences of deviation 1: given 2 in the second, 1.6 is expected of the first, with
    # variance 1 - 0.64.
    mixture = _Mixture(np.zeros((1, 2)), np.array([[[1.0, 0.8], [0.8, 1.0]]]), np.ones(1))
    beyond, precision = mixture.expected(np.array([[1.9, 2.0]]), np.ones((1, 1)), 0)
    assert beyond[0] == pytest.approx(0.3)
    assert precision[0] == pytest.approx(1 / 0.36)
