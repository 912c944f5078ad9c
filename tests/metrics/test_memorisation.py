"""Copies are found, in the scope they belong to; distances agree with plain loops."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lesionlab.metrics.memorisation import Pictures, compare_nearest, membership_inference, nearest


def pictures(draw, n, subjects, channels=2, size=6):
    labels = np.zeros((n, size, size), np.uint8)
    labels[:, 1:-1, 1:-1] = draw.integers(1, 4, (n, size - 2, size - 2))
    images = np.where(labels[:, None] > 0, draw.uniform(-1, 1, (n, channels, size, size)), -1).astype(np.float32)
    named = [str(s) for s in draw.choice(subjects, n)]
    table = pd.DataFrame({"subject": named, "study": named, "plane": draw.integers(0, 3, n)})
    return Pictures(images, labels, table)


def by_loops(queries, training, region, scope):
    """Nearest distance of each query in a scope, pair by pair."""
    found = []
    for q in range(len(queries.images)):
        best = np.nan
        for t in range(len(training.images)):
            own, other = queries.table.iloc[q], training.table.iloc[t]
            person = own["subject"] == other["subject"]
            target = person and own["study"] == other["study"] and own["plane"] == other["plane"]
            if {"target": target, "same_subject": person and not target, "other_subjects": not person}[scope]:
                region_of = np.ones_like(queries.labels[q], bool)
                if region == "lesion":
                    region_of = (queries.labels[q] >= 2) | (training.labels[t] >= 2)
                if region_of.any():
                    gap = queries.images[q].astype(float) - training.images[t]
                    best = np.fmin(best, (gap[:, region_of] ** 2).mean())
        found.append(best)
    return found


@pytest.mark.parametrize("region", ["image", "lesion"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), chunk=st.integers(1, 9))
def test_nearest_slices_are_those_of_plain_loops(region, seed, chunk):
    draw = np.random.default_rng(seed)
    queries, training = pictures(draw, 5, ["a", "b"]), pictures(draw, 7, ["a", "b", "c"])
    found = nearest(queries, training, region, chunk)
    for scope in ("target", "same_subject", "other_subjects"):
        np.testing.assert_allclose(found[f"{scope}_distance"], by_loops(queries, training, region, scope), rtol=1e-5)
        assert (found[f"{scope}_place"] >= 0).tolist() == found[f"{scope}_distance"].notna().tolist()


def test_a_copy_is_found_whose_slice_it_is():
    draw = np.random.default_rng(0)
    training = pictures(draw, 9, ["a", "b", "c"])
    training.table["plane"] = range(9)  # every slice is a plane of its own
    other = next(i for i in range(9) if training.table["subject"][i] != training.table["subject"][0])
    # The second query has the brain of slice 0 and the picture of another subject's slice.
    copies = Pictures(
        training.images[[0, other]], training.labels[[0, other]], training.table.iloc[[0, 0]].reset_index(drop=True)
    )
    found = nearest(copies, training)
    assert (found["target_distance"][0], found["target_place"][0]) == (0, 0)
    assert found["other_subjects_distance"][0] > 0
    assert (found["other_subjects_distance"][1], found["other_subjects_place"][1]) == (0, other)


def test_a_copied_lesion_in_another_brain_is_near_in_the_lesion_alone():
    draw = np.random.default_rng(1)
    training = pictures(draw, 4, ["a"])
    query = pictures(draw, 1, ["b"])
    labels, images = query.labels.copy(), query.images.copy()
    lesion = training.labels[2] >= 2
    labels[0] = np.where(lesion, training.labels[2], 1)
    images[0][:, lesion] = training.images[2][:, lesion]
    copied = Pictures(images, labels, query.table)
    assert nearest(copied, training, "lesion")["other_subjects_distance"][0] == 0
    assert nearest(copied, training, "image")["other_subjects_distance"][0] > 0


def test_slices_without_any_lesion_have_no_lesion_distance():
    draw = np.random.default_rng(2)
    healthy = pictures(draw, 3, ["a", "b"])
    healthy.labels[healthy.labels > 1] = 1
    found = nearest(healthy, healthy, "lesion")
    assert found[[name for name in found if name.endswith("distance")]].isna().all(axis=None)
    assert (found[[name for name in found if name.endswith("place")]] == -1).all(axis=None)


def test_comparison_with_real_neighbours_by_hand():
    synthetic = pd.DataFrame({
        "target_distance": [0.1, 0.1, 0.1, 9.0], "same_subject_distance": [np.nan] * 4,
        "other_subjects_distance": [1.0, 2.0, 3.0, 4.0],
    })  # fmt: skip
    reference = pd.DataFrame({"target_distance": [0.0] * 5, "other_subjects_distance": [2.0, 4.0, 6.0, 8.0, 10.0]})
    table = compare_nearest(synthetic, reference, percentile=25).set_index("scope")
    assert table["limit"].tolist() == [4.0] * 3  # the 25th percentile of 2, 4, .. 10
    assert table["share_below"]["other_subjects"] == 3 / 4
    assert table["share_below"]["target"] == 3 / 4
    assert table["ratio"]["other_subjects"] == pytest.approx(2.5 / 6)
    assert table["n"].tolist() == [4, 0, 4] and np.isnan(table["ratio"]["same_subject"])
    with pytest.raises(ValueError, match="another subject"):
        compare_nearest(synthetic, reference.assign(other_subjects_distance=np.nan))


def test_slices_that_are_drawn_as_real_ones_are_not_suspicious():
    draw = np.random.default_rng(3)
    training = pictures(draw, 60, [f"t{i}" for i in range(20)])
    fresh = pictures(draw, 60, [f"s{i}" for i in range(20)])
    table = compare_nearest(nearest(fresh, training), nearest(training, training), percentile=10)
    row = table.set_index("scope").loc["other_subjects"]
    assert row["ratio"] == pytest.approx(1, abs=0.1)
    assert row["share_below"] < 0.3


def test_membership_auc_by_hand():
    # Pairs (training, held out): 3 > 1, 3 > 2, 2 > 1, 2 = 2 counts half: 3.5 of 4.
    found = membership_inference(np.array([3.0, 2.0]), np.array(["a", "b"]), np.array([1.0, 2.0]), np.array(["c", "d"]))
    assert found.auc == 3.5 / 4
    assert found.ci_low <= found.auc <= found.ci_high


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_membership_auc_agrees_with_scipy(seed):
    draw = np.random.default_rng(seed)
    one, other = draw.integers(0, 9, 15).astype(float), draw.integers(0, 9, 11).astype(float)
    found = membership_inference(one, draw.integers(0, 5, 15), other, draw.integers(5, 9, 11), resamples=50)
    assert found.auc == pytest.approx(stats.mannwhitneyu(one, other).statistic / (15 * 11))


def test_the_membership_interval_resamples_people():
    # Each person's slices score alike: ten slices of one person tell as much as one.
    scores, people = np.array([1.0, 3.0, 5.0]), np.array(["a", "b", "c"])
    others, outsiders = np.array([0.0, 2.0, 4.0]), np.array(["d", "e", "f"])
    once = membership_inference(scores, people, others, outsiders, seed=4)
    often = membership_inference(
        np.repeat(scores, 10), np.repeat(people, 10), np.repeat(others, 10), np.repeat(outsiders, 10), seed=4
    )
    assert often == pytest.approx(once)
    assert once.ci_high - once.ci_low > 0.3
    alone = membership_inference(scores, np.array(["a"] * 3), others, outsiders)
    assert np.isnan(alone.ci_low)


def test_membership_needs_both_groups():
    with pytest.raises(ValueError, match="held-out"):
        membership_inference(np.ones(2), np.ones(2), np.ones(0), np.ones(0))
    with pytest.raises(ValueError, match="one length"):
        membership_inference(np.ones(2), np.ones(3), np.ones(2), np.ones(2))
