"""Segmentation scores by hand and against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lesionlab.metrics.segmentation import (
    diagonal,
    dice,
    hd95,
    mask_scores,
    patient_scores,
    precision,
    sensitivity,
    specificity,
    surface,
)

SPACING = (5.0, 1.0, 2.0)
masks = hnp.arrays(bool, (3, 5, 4))


def line(text):
    return np.array([character == "x" for character in text])


@pytest.mark.parametrize(
    ("score", "expected"),
    # P = 3, T = 4, both 2: Dice 4/7, sensitivity 2/4, precision 2/3; 5 pixels free of T, 4 of them free of P.
    [(dice, 4 / 7), (sensitivity, 2 / 4), (precision, 2 / 3), (specificity, 4 / 5)],
)
def test_overlap_by_hand(score, expected):
    assert score(line(".x.xx...."), line("...xxxx..")) == pytest.approx(expected)


def test_hd95_of_two_points_is_their_distance_in_mm():
    one, other = np.zeros((2, 3, 4, 5), bool)
    one = np.zeros((3, 4, 5), bool)
    other = one.copy()
    one[0, 0, 0] = other[2, 3, 1] = True
    # 2 planes of 5 mm, 3 rows of 1 mm, 1 column of 2 mm: sqrt(100 + 9 + 4).
    assert hd95(one, other, SPACING) == pytest.approx(np.sqrt(113))


def test_hd95_leaves_out_one_outlier_of_many():
    truth = np.zeros((1, 60, 60), bool)
    truth[0, 10:40, 10:40] = True
    prediction = truth.copy()
    prediction[0, 55, 55] = True  # 1 of 117 surface pixels lies far off
    assert hd95(prediction, truth, (1, 1, 1)) == 0.0


def test_surface_has_a_face_neighbour_outside():
    mask = np.ones((3, 3, 3), bool)
    assert surface(mask).sum() == 26
    assert not surface(mask)[1, 1, 1]


def brute_force_hd95(one, other, spacing):
    """Distances of all pairs of surface voxels."""

    def points(mask):
        found = []
        for place in np.argwhere(mask):
            for axis in range(mask.ndim):
                for step in (-1, 1):
                    near = place.copy()
                    near[axis] += step
                    outside = near[axis] < 0 or near[axis] >= mask.shape[axis]
                    if outside or not mask[tuple(near)]:
                        found.append(tuple(place))
        return np.array(sorted(set(found))) * np.asarray(spacing)

    a, b = points(one), points(other)
    pairs = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    return max(np.percentile(pairs.min(1), 95), np.percentile(pairs.min(0), 95))


@settings(max_examples=60, deadline=None)
@given(masks, masks)
def test_hd95_agrees_with_brute_force(one, other):
    if one.any() and other.any():
        assert hd95(one, other, SPACING) == pytest.approx(brute_force_hd95(one, other, SPACING))


@settings(max_examples=60, deadline=None)
@given(masks, masks)
def test_scores_are_finite_bounded_and_symmetric_where_they_should_be(one, other):
    scores = mask_scores(one, other, SPACING)
    assert all(np.isfinite(list(scores.values())))
    assert all(0 <= scores[m] <= 1 for m in ("dice", "sensitivity", "specificity", "precision", "missed", "invented"))
    assert 0 <= scores["hd95"] <= diagonal(one.shape, SPACING)
    swapped = mask_scores(other, one, SPACING)
    assert scores["dice"] == swapped["dice"]
    assert scores["hd95"] == swapped["hd95"]
    assert scores["sensitivity"] == swapped["precision"]
    assert scores["missed"] == swapped["invented"]
    perfect = mask_scores(one, one, SPACING)
    assert (perfect["dice"], perfect["hd95"], perfect["missed"], perfect["invented"]) == (1, 0, 0, 0)


EMPTY, FULL = np.zeros((2, 3, 4), bool), np.ones((2, 3, 4), bool)
PENALTY = np.sqrt(10**2 + 3**2 + 8**2)  # diagonal of 2 x 5, 3 x 1, 4 x 2 mm


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        (EMPTY, EMPTY, {"dice": 1, "hd95": 0, "sensitivity": 1, "precision": 1, "missed": 0, "invented": 0}),
        (EMPTY, FULL, {"dice": 0, "hd95": PENALTY, "sensitivity": 0, "precision": 0, "missed": 1, "invented": 0}),
        (FULL, EMPTY, {"dice": 0, "hd95": PENALTY, "sensitivity": 0, "precision": 0, "missed": 0, "invented": 1}),
    ],
)
def test_penalties(prediction, truth, expected):
    scores = mask_scores(prediction, truth, SPACING)
    assert {metric: scores[metric] for metric in expected} == pytest.approx(expected)


def test_patient_scores_rows():
    truth = np.ones((2, 4, 4), np.uint8)
    truth[0, 0, :2], truth[0, 1, :2] = 2, 3
    prediction = truth.copy()
    prediction[0, 0, 1] = 3  # one edema pixel taken for tumor
    table = patient_scores(prediction, truth, SPACING, ["edema", "tumor"], keys={"subject": "a", "seed": 1})
    assert list(table.columns) == ["subject", "seed", "class", "metric", "value"]
    values = table.set_index(["class", "metric"])["value"]
    assert len(values) == 3 * 7
    assert values["edema", "dice"] == pytest.approx(2 * 1 / (1 + 2))
    assert values["tumor", "dice"] == pytest.approx(2 * 2 / (3 + 2))
    assert values["lesion", "dice"] == 1.0
    assert values["tumor", "specificity"] == pytest.approx(29 / 30)
    assert set(table["subject"]) == {"a"}


def test_a_class_called_lesion_is_scored_once():
    maps = np.full((1, 2, 2), 2, np.uint8)
    table = patient_scores(maps, maps, SPACING, ["lesion"])
    assert sorted(table["class"].unique()) == ["lesion"]
    assert len(table) == 7


def test_missing_planes_keep_their_distance():
    truth, prediction = np.ones((2, 2, 2), np.uint8), np.ones((2, 2, 2), np.uint8)
    truth[0, 0, 0] = prediction[1, 0, 0] = 2
    near = patient_scores(prediction, truth, SPACING, ["tumor"])
    far = patient_scores(prediction, truth, SPACING, ["tumor"], planes=[3, 7])
    assert near.query("metric == 'hd95'")["value"].tolist() == [5.0, 5.0]
    assert far.query("metric == 'hd95'")["value"].tolist() == [20.0, 20.0]


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="must both be"):
        patient_scores(np.zeros((1, 2, 2)), np.zeros((2, 2, 2)), SPACING, ["tumor"])


@given(st.sampled_from([dice, sensitivity, precision, specificity]))
def test_overlap_scores_are_plain_floats(score):
    assert type(score(FULL, FULL)) is float
