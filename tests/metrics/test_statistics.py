"""Statistics against hand calculation and scipy."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lesionlab.metrics.statistics import TABLE_COLUMNS, bootstrap_ci, holm, paired_p_value, summarise

values = st.lists(st.floats(-10, 10).map(lambda x: round(x, 3)), min_size=2, max_size=8)


def test_bootstrap_of_equal_values_is_that_value():
    assert bootstrap_ci(np.full(5, 0.7), seed=0) == pytest.approx((0.7, 0.7))
    assert all(np.isnan(bootstrap_ci(np.array([0.7]), seed=0)))


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


def test_p_value_of_three_subjects_by_hand():
    # Differences 1, 2, 3: of 8 sign patterns only +++ and --- reach |6|: 2/8. Differences 1, 2, -3 sum to 0: all do.
    assert paired_p_value(np.array([1.0, 2, 3]), np.zeros(3)) == 2 / 8
    assert paired_p_value(np.array([1.0, 2, -3]), np.zeros(3)) == 1.0
    # Differences 1, 2, -1 sum to 2; the patterns' sums are +-(4, 2, 2, 0): 6 of 8 reach 2.
    assert paired_p_value(np.array([1.0, 2, -1]), np.zeros(3)) == 6 / 8


@given(values)
def test_exact_p_value_agrees_with_scipy(differences):
    ours = paired_p_value(np.array(differences), np.zeros(len(differences)))
    theirs = stats.permutation_test(
        (np.array(differences), np.zeros(len(differences))),
        lambda a, b: abs(np.mean(a - b)),
        permutation_type="samples",
        alternative="greater",
        n_resamples=np.inf,
    )
    assert ours == pytest.approx(theirs.pvalue)


def test_sampled_p_value_is_near_the_exact_one():
    rng = np.random.default_rng(0)
    difference = rng.normal(0.4, 1, 16)
    signs = 1 - 2 * ((np.arange(2**16)[:, None] >> np.arange(16)) & 1)
    exact = np.mean(np.abs(signs @ difference) >= abs(difference.sum()) - 1e-9)
    assert paired_p_value(difference, np.zeros(16), seed=3) == pytest.approx(exact, abs=0.01)


def test_p_value_without_pairs():
    assert np.isnan(paired_p_value(np.array([1.0]), np.array([2.0])))
    assert paired_p_value(np.ones(5), np.ones(5)) == 1.0
    with pytest.raises(ValueError, match="one length"):
        paired_p_value(np.ones(3), np.ones(2))


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


def scores(protocol, by_subject, name="tumor", method="CG-SAMR", seed=0, metric="dice"):
    return pd.DataFrame(
        {
            "method": method,
            "cohort": "phantom",
            "protocol": protocol,
            "sequence": "all",
            "class": name,
            "metric": metric,
            "subject": list(by_subject),
            "value": list(by_subject.values()),
            "seed": seed,
        }
    )


REAL = {"a": 0.1, "b": 0.2, "c": 0.6}
MORE = {"a": 0.2, "b": 0.4, "c": 0.9}


def test_summary_columns_and_values():
    table = summarise(scores("real", REAL), seed=5)
    assert list(table.columns) == TABLE_COLUMNS
    row = table.iloc[0]
    assert row["mean"] == pytest.approx(0.3)
    assert row["std"] == pytest.approx(np.sqrt((0.04 + 0.01 + 0.09) / 2))
    assert row["median"] == 0.2
    assert (row["ci_low"], row["ci_high"]) == bootstrap_ci(np.array([0.1, 0.2, 0.6]), 5)
    assert row["n"] == 3
    assert row["seed"] == 0
    assert np.isnan(row["p_value"])
    assert np.isnan(row["published"])


def test_p_values_pair_subjects_and_are_corrected_over_the_family():
    table = summarise(
        pd.concat(
            [
                scores("real", REAL),
                # Another order of subjects, and one more who has no partner.
                scores("real+25%", {"c": 0.9, "z": 0.0, "b": 0.4, "a": 0.2}),
                scores("real+50%", REAL),
                scores("real", REAL, "edema"),
                scores("real+25%", REAL, "edema"),
                scores("real", REAL, metric="hd95"),
                scores("real+25%", MORE, metric="hd95"),
            ]
        ),
        reference={"protocol": "real"},
    )
    p = table.set_index(["metric", "class", "protocol"])["p_value"]
    # Differences 0.1, 0.2, 0.3: p = 2/8; no difference: p = 1. Holm over the two: 0.5 and 1.
    assert p["dice", "tumor", "real+25%"] == pytest.approx(0.5)
    assert p["dice", "tumor", "real+50%"] == 1.0
    # Another class or metric is another family.
    assert p["dice", "edema", "real+25%"] == 1.0
    assert p["hd95", "tumor", "real+25%"] == pytest.approx(0.25)
    assert p[:, :, "real"].isna().all()


def test_the_reference_may_belong_to_one_other_method():
    table = summarise(
        pd.concat([scores("real", REAL, method="U-Net"), scores("real+25%", MORE, method="CG-SAMR")]),
        reference={"protocol": "real"},
    )
    assert table["p_value"].tolist()[1] == pytest.approx(0.25)
    # With a reference of its own, a method is compared with that one.
    own = pd.concat([scores("real", REAL, method=m) for m in ("A", "B")] + [scores("real+25%", MORE, method="B")])
    assert summarise(own, reference={"protocol": "real"})["p_value"].tolist()[2] == pytest.approx(0.25)


def test_methods_against_a_named_method():
    table = summarise(
        pd.concat([scores("synthesis", MORE), scores("synthesis", REAL, method="mean image")]),
        reference={"method": "mean image"},
    )
    assert table["p_value"].tolist()[0] == pytest.approx(0.25)


def test_what_stands_beside_the_reference_is_not_tested_against_it():
    floors = [scores("floor", REAL, method=name) for name in ("atlas", "mean image")]
    table = summarise(
        pd.concat([scores("paired", MORE, method="cgsamr"), *floors]),
        reference={"method": "atlas", "protocol": "floor"},
    ).set_index("method")["p_value"]
    # One comparison, so Holm changes nothing: 2/8.
    assert table["cgsamr"] == pytest.approx(0.25) and np.isnan(table["atlas"]) and np.isnan(table["mean image"])


def test_seeds_of_a_subject_are_averaged():
    table = summarise(pd.concat([scores("real", REAL, seed=1), scores("real", MORE, seed=0)]))
    assert len(table) == 1
    assert table["n"][0] == 3
    assert table["seed"][0] == "0,1"
    assert table["median"][0] == pytest.approx(0.3)


def test_published_figures_stand_beside_ours():
    published = pd.DataFrame({"protocol": ["real"], "class": ["tumor"], "metric": ["dice"], "published": [0.793]})
    table = summarise(pd.concat([scores("real", REAL), scores("real", REAL, "edema")]), published=published)
    assert table.set_index("class")["published"]["tumor"] == 0.793
    assert np.isnan(table.set_index("class")["published"]["edema"])


def test_a_single_subject_has_no_spread():
    row = summarise(scores("real", {"a": 0.4})).iloc[0]
    assert row["mean"] == 0.4
    assert row[["std", "ci_low", "ci_high"]].isna().all()


def test_silent_nan_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        summarise(scores("real", {"a": np.nan, "b": 1.0}))
    with pytest.raises(ValueError, match="lack the columns"):
        summarise(scores("real", REAL).drop(columns="seed"))
    with pytest.raises(ValueError, match="no scores"):
        summarise(scores("real", {}))
