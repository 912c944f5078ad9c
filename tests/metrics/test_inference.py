"""Intervals, tests and effect sizes against hand calculation, enumeration and scipy."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lesionlab.metrics import inference
from lesionlab.metrics.inference import (
    bootstrap_ci,
    cohens_dz,
    holm,
    paired_differences,
    rank_biserial,
    wilcoxon_p_value,
)

changes = st.lists(st.integers(-4, 4).map(float), min_size=2, max_size=9).map(np.array)


def test_bootstrap_of_equal_values_is_that_value():
    assert bootstrap_ci(np.full(5, 0.7), seed=0) == pytest.approx((0.7, 0.7))
    assert all(np.isnan(bootstrap_ci(np.array([0.7]), seed=0)))
    assert all(np.isnan(bootstrap_ci(np.empty(0), seed=0)))


def test_bootstrap_agrees_with_normal_theory_and_scipy():
    sample = np.random.default_rng(0).normal(3, 2, 200)
    low, high = bootstrap_ci(sample, seed=1, resamples=4000)
    half = 1.96 * sample.std() / np.sqrt(200)
    assert (low, high) == pytest.approx((sample.mean() - half, sample.mean() + half), abs=0.05)
    theirs = stats.bootstrap((sample,), np.mean, method="percentile", rng=2).confidence_interval
    assert (low, high) == pytest.approx(tuple(theirs), abs=0.05)


def test_bootstrap_is_seeded():
    sample = np.arange(9.0)
    assert bootstrap_ci(sample, 1) == bootstrap_ci(sample, 1)
    assert bootstrap_ci(sample, 1, resamples=50) != bootstrap_ci(sample, 2, resamples=50)


def test_bootstrap_draws_trainings_as_well_as_subjects():
    # Subjects do not differ, the three trainings do: of 27 draws of three 1 gives -1, 3 give -2/3, .. 1 gives 1. The
    # bounds of 95 % lie at -1 and 1, each of probability 1/27 > 0.025.
    values = np.tile([-1.0, 0.0, 1.0], (5, 1))
    assert bootstrap_ci(values, seed=0) == pytest.approx((-1, 1))
    # Trainings do not differ: the interval is that of the subjects.
    sample = np.random.default_rng(0).normal(size=12)
    assert bootstrap_ci(np.tile(sample[:, None], (1, 3)), seed=2) == pytest.approx(bootstrap_ci(sample, seed=2))
    assert bootstrap_ci(sample[:, None], seed=2) == bootstrap_ci(sample, seed=2)


def test_the_bootstrap_of_subjects_and_trainings_has_the_variance_of_theory():
    # A table a_i + b_j: the resampled mean has the variance of mean(a) and of mean(b) drawn with replacement, summed.
    rng = np.random.default_rng(3)
    subjects, trainings = rng.normal(size=40), rng.normal(scale=0.3, size=8)
    low, high = bootstrap_ci(subjects[:, None] + trainings, seed=1, resamples=20000)
    spread = np.sqrt(subjects.var() / 40 + trainings.var() / 8)
    assert (high - low) / (2 * 1.96) == pytest.approx(spread, rel=0.03)


def test_differences_are_free_of_rounding_errors():
    # 0.3 - 0.1 and 0.7 - 0.5 are one difference, though not in floating point.
    found = paired_differences(np.array([0.3, 0.7]), np.array([0.1, 0.5]))
    assert found[0] == found[1] == 0.2
    with pytest.raises(ValueError, match="one shape"):
        paired_differences(np.ones(3), np.ones(2))


def test_p_value_of_three_subjects_by_hand():
    # All three gained: of 8 sign patterns +++ and --- are as extreme.
    assert wilcoxon_p_value(np.array([1.0, 2, 3])) == pytest.approx(2 / 8)
    # Ranks +1 +2 -3: positive sum 3, as far from its mean 3 as can be nearest: every pattern is at least as extreme.
    assert wilcoxon_p_value(np.array([1.0, 2, -3])) == 1.0
    # Ranks +1 -2 +3: positive sum 4; sums >= 4 have the patterns {3,1}, {3,2}, {1,2,3}, {4 = 1 + 3}: 3 of 8, doubled.
    assert wilcoxon_p_value(np.array([1.0, -2, 3])) == pytest.approx(6 / 8)


def enumerated(differences):
    """Two-sided p by all sign patterns of Pratt's ranks, in plain Python."""
    size = [abs(d) for d in differences]
    ranks = [sum(s < one for s in size) + (sum(s == one for s in size) + 1) / 2 for one in size]
    kept = [(rank, d > 0) for rank, d in zip(ranks, differences, strict=True) if d != 0]
    observed = sum(rank for rank, positive in kept if positive)
    sums = [sum(r for (r, _), s in zip(kept, signs, strict=True) if s) for signs in product((0, 1), repeat=len(kept))]
    below, above = (sum(s <= observed for s in sums), sum(s >= observed for s in sums))
    return min(1.0, 2 * min(below, above) / len(sums))


@settings(max_examples=60, deadline=None)
@given(changes)
def test_p_value_is_exact_with_ties_and_zeros(differences):
    assert wilcoxon_p_value(differences) == pytest.approx(enumerated(differences))


@settings(max_examples=40, deadline=None)
@given(changes)
def test_p_value_knows_no_side_and_no_order(differences):
    p = wilcoxon_p_value(differences)
    assert wilcoxon_p_value(-differences) == pytest.approx(p)
    assert wilcoxon_p_value(differences[::-1]) == pytest.approx(p)
    assert 2.0 ** (1 - len(differences)) - 1e-12 <= p <= 1


def test_a_subject_whom_nothing_changed_weakens_the_evidence():
    # Six of seven gained, the one that lost lost least; under Pratt's rule three zeros lift its rank from 1 to 4.
    without = wilcoxon_p_value(np.array([-1.0, 2, 3, 4, 5, 6, 7]))
    assert without == pytest.approx(4 / 128)  # sums of negative ranks <= 1: {} and {1}, doubled
    assert wilcoxon_p_value(np.array([-1.0, 2, 3, 4, 5, 6, 7, 0, 0, 0])) >= without


@settings(max_examples=15, deadline=None)
@given(changes)
def test_p_value_with_ties_and_zeros_is_scipys_enumeration(differences):
    theirs = stats.wilcoxon(differences, zero_method="pratt", method=stats.PermutationMethod()).pvalue
    assert wilcoxon_p_value(differences) == pytest.approx(theirs if differences.any() else 1.0)


@given(st.lists(st.integers(-500, 500).filter(bool), min_size=2, max_size=40, unique_by=abs))
def test_p_value_without_ties_is_scipys_exact_one(differences):
    theirs = stats.wilcoxon(np.array(differences, float), method="exact").pvalue
    assert wilcoxon_p_value(np.array(differences, float)) == pytest.approx(theirs)


def test_p_value_of_sixteen_subjects_with_ties_is_exact():
    differences = np.random.default_rng(0).integers(-3, 6, 16).astype(float)
    ranks = stats.rankdata(np.abs(differences)) * (differences != 0)
    bits = (np.arange(2**16)[:, None] >> np.arange(16)) & 1
    sums, observed = bits @ ranks, ranks[differences > 0].sum()
    exact = 2 * min(np.mean(sums <= observed), np.mean(sums >= observed))
    assert wilcoxon_p_value(differences) == pytest.approx(exact)


def test_p_value_of_very_many_subjects_goes_over_into_the_normal_limit(monkeypatch):
    differences = np.random.default_rng(0).integers(-6, 7, 201).astype(float)
    limit = wilcoxon_p_value(differences)
    monkeypatch.setattr(inference, "EXACT_UP_TO", 201)
    assert limit == pytest.approx(wilcoxon_p_value(differences), abs=0.002)
    assert 0.01 < limit < 0.99


def test_p_value_without_pairs_or_without_change():
    assert np.isnan(wilcoxon_p_value(np.array([1.0])))
    assert wilcoxon_p_value(np.zeros(5)) == 1.0


def test_rank_biserial_by_hand():
    # Ranks of 1, -2, 3: (1 - 2 + 3) / 6.
    assert rank_biserial(np.array([1.0, -2, 3])) == pytest.approx(1 / 3)
    # A zero takes rank 1 of the sum 1 + 2 + 3 and adds nothing: (2 + 3) / 6.
    assert rank_biserial(np.array([0.0, 1, 2])) == pytest.approx(5 / 6)
    assert rank_biserial(np.zeros(3)) == 0
    assert np.isnan(rank_biserial(np.empty(0)))


@given(changes)
def test_rank_biserial_is_a_correlation(differences):
    r = rank_biserial(differences)
    assert -1 <= r <= 1
    assert rank_biserial(-differences) == pytest.approx(-r)
    assert (r == 1) == bool((differences > 0).all())


def test_cohens_dz_by_hand():
    # Mean 2, standard deviation (n - 1) of 1, 2, 3 is 1.
    assert cohens_dz(np.array([1.0, 2, 3])) == pytest.approx(2)
    # It is the t statistic over the square root of n.
    sample = np.array([0.2, -0.1, 0.5, 0.4])
    assert cohens_dz(sample) == pytest.approx(stats.ttest_1samp(sample, 0).statistic / 2)
    assert np.isnan(cohens_dz(np.full(3, 0.1)))
    assert cohens_dz(np.zeros(3)) == 0
    assert np.isnan(cohens_dz(np.array([1.0])))


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.04 times 3, 2, 1 gives 0.03, 0.04, 0.04; with a fourth of 0.9 times 4, 3, 2, 1.
    assert holm(np.array([0.04, 0.01, 0.02])) == pytest.approx([0.04, 0.03, 0.04])
    assert holm(np.array([0.02, 0.9, 0.01, 0.04])) == pytest.approx([0.06, 0.9, 0.04, 0.08])
    # The corrected values never fall: 0.03 * 2 = 0.06, then 0.035 * 1 is raised to 0.06.
    assert holm(np.array([0.03, 0.035])) == pytest.approx([0.06, 0.06])
    np.testing.assert_allclose(holm(np.array([0.5, np.nan, 0.6])), [1.0, np.nan, 1.0])
    assert len(holm(np.array([]))) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holm_lies_between_raw_and_bonferroni(p):
    corrected = holm(np.array(p))
    assert (corrected >= np.array(p) - 1e-15).all()
    assert (corrected <= np.minimum(1, len(p) * np.array(p)) + 1e-15).all()
