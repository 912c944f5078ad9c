"""Confidence maps whose calibration is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from lesionlab.metrics.calibration import (
    expected_confidence,
    patient_scores,
    rank_correlation,
    reliability,
    sparsification,
)


@given(st.floats(1e-3, 2), st.sampled_from([0.03, 0.1]))
def test_expected_confidence_minimises_equation_1(error, weight):
    best = optimize.minimize_scalar(lambda c: c * error - weight * np.log(c), bounds=(1e-6, 1), method="bounded",
                                    options={"xatol": 1e-9})  # fmt: skip
    assert expected_confidence(error, weight) == pytest.approx(best.x, abs=1e-4)
    assert expected_confidence(0.0, weight) == 1


def test_rank_correlation_by_hand():
    # Doubt ranks 1, 2, 3, errors rank 1, 3, 2: 1 - 6 * (0 + 1 + 1) / (3 * 8).
    assert rank_correlation(np.array([0.9, 0.5, 0.1]), np.array([0.0, 0.3, 0.2])) == pytest.approx(0.5)
    assert rank_correlation(np.array([0.9, 0.5]), np.array([0.1, 0.4])) == pytest.approx(1)
    assert np.isnan(rank_correlation(np.full(3, 0.5), np.arange(3.0)))


def test_sparsification_by_hand():
    error, confidence = np.array([4.0, 0, 2, 2]), np.array([0.2, 0.9, 0.1, 0.5])
    found = sparsification(confidence, error, points=4)
    assert found.removed.tolist() == [0, 0.25, 0.5, 0.75]
    # The mean error is 2. Least trusted first: 2, then 4, then 2 goes; left are means 2, 2, 1, 0.
    assert found.by_confidence.tolist() == pytest.approx([1, 1, 0.5, 0])
    # Largest first: 4, 2, 2; left are means 2, 4/3, 1, 0.
    assert found.oracle.tolist() == pytest.approx([1, 2 / 3, 0.5, 0])
    # Trapezoids of the gaps 0, 1/3, 0, 0 a quarter apart.
    assert found.ause == pytest.approx(0.25 / 3)
    # Gaps 0, 1/3, 1/2, 1 for removal at random.
    assert found.ause_chance == pytest.approx(0.25 * (1 / 3 + 1 / 2 + 1 / 2))


def test_confidence_that_says_nothing_is_chance():
    found = sparsification(np.full(100, 0.7), np.random.default_rng(0).random(100))
    assert found.ause == pytest.approx(found.ause_chance)
    assert found.by_confidence == pytest.approx(np.ones(101))


@given(st.integers(0, 2**32 - 1), st.integers(2, 200))
def test_the_oracle_is_never_beaten(seed, n):
    draw = np.random.default_rng(seed)
    error = draw.random(n) + 0.01
    found = sparsification(draw.integers(1, 6, n) / 5, error)
    assert (found.by_confidence >= found.oracle - 1e-12).all()
    assert found.ause >= -1e-12
    assert sparsification(expected_confidence(error, 1e-3), error).ause == pytest.approx(0, abs=1e-12)


def test_without_error_there_is_nothing_to_remove():
    with pytest.raises(ValueError, match="error above 0"):
        sparsification(np.ones(3), np.zeros(3))


def test_patient_scores_by_sequence_and_region():
    labels = np.zeros((1, 4, 4), np.uint8)
    labels[0, 1:] = 1
    labels[0, 3] = 2
    error = np.zeros((1, 2, 4, 4))
    error[0, :, 1:] = np.arange(12).reshape(3, 4) / 20
    confidence = 1 - error / 2
    confidence[0, 1] = 0.5  # the second sequence's map says nothing
    table = patient_scores(confidence, error, labels, ["T1w", "FLAIR"], keys={"subject": "a"})
    found = table.set_index(["sequence", "class", "metric"])["value"]
    for region in ("image", "brain", "lesion"):
        assert found["T1w", region, "confidence_correlation"] == pytest.approx(1)
        assert found["T1w", region, "confidence_ause"] == pytest.approx(0, abs=1e-12)
        assert found["FLAIR", region, "confidence_ause"] > 0
    assert ("FLAIR", "image", "confidence_correlation") not in found.index
    assert set(table["subject"]) == {"a"} and np.isfinite(table["value"]).all()


def test_a_patient_without_lesion_has_no_row_for_it():
    table = patient_scores(
        np.random.default_rng(0).random((1, 1, 4, 4)), np.ones((1, 1, 4, 4)), np.ones((1, 4, 4)), ["T1w"]
    )
    assert set(table["class"]) == {"image", "brain"}
    assert set(table["metric"]) == {"confidence_ause"}  # a constant error has no ranks


def test_reliability_by_hand():
    # Two slices of two persons, one sequence; confidence 0.2 and 0.25 fall into (0.1, 0.2] and (0.2, 0.3].
    confidence = np.array([[[[0.2, 0.25]]], [[[0.25, 1.0]]]])
    error = np.array([[[[0.5, 0.3]]], [[[0.5, 0.0]]]])
    table = reliability(confidence, error, ["a", "b"], ["T1w"], 0.1)
    assert table["low"].tolist() == pytest.approx([0.1, 0.2, 0.9])
    assert table["pixels"].tolist() == [1, 2, 1]
    assert table["confidence"].tolist() == pytest.approx([0.2, 0.25, 1.0])
    assert table["error"].tolist() == pytest.approx([0.5, 0.4, 0.0])
    assert table["expected_confidence"].tolist() == pytest.approx([0.2, 0.25, 1.0])
    # Resampling two persons of error 0.3 and 0.5 gives 0.3, 0.4 or 0.5, the ends a quarter of the time each.
    assert (table["ci_low"][1], table["ci_high"][1]) == pytest.approx((0.3, 0.5))


def test_reliability_within_a_mask_and_of_one_person():
    confidence, error = np.full((2, 1, 2, 2), 0.55), np.zeros((2, 1, 2, 2))
    error[0, 0, 0, 0] = 0.4
    mask = np.zeros((2, 2, 2), bool)
    mask[0, 0] = True
    row = reliability(confidence, error, ["a", "a"], ["T1w"], 0.1, mask=mask).iloc[0]
    assert (row["pixels"], row["error"]) == (2, pytest.approx(0.2))
    assert np.isnan(row["ci_low"]) and np.isnan(row["ci_high"])


def test_reliability_follows_what_the_loss_asks_for():
    # Where every pixel's confidence is the optimum of Eq. 1 for its error, the column equals the bin's confidence.
    error = np.random.default_rng(0).uniform(0.1, 1, (20, 1, 16, 16))
    confidence = expected_confidence(error, 0.1)
    table = reliability(confidence, error, [f"s{i}" for i in range(20)], ["T1w"], 0.1)
    assert len(table) == 9
    assert (table["confidence"] - table["expected_confidence"]).abs().max() < 0.02
    assert ((table["ci_low"] < table["error"]) & (table["error"] < table["ci_high"])).all()


def test_shapes_are_checked():
    good = np.ones((2, 1, 3, 3))
    with pytest.raises(ValueError, match="sequences"):
        reliability(good, good, ["a", "b"], ["T1w", "T2w"], 0.1)
    with pytest.raises(ValueError, match="do not fit"):
        patient_scores(good, good, np.ones((2, 6, 6)), ["T1w"])
