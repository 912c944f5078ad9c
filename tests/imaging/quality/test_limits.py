from __future__ import annotations

import math
import pickle

import pandas as pd
import pytest
from pydantic import ValidationError

from lesionlab.imaging.quality.limits import (
    DEFAULT_LIMITS,
    FLAG_COLUMNS,
    HELD_BACK,
    MEASURE_COLUMNS,
    Limit,
    QCOptions,
    flags,
    held_back,
    judge,
    judged_measures,
)
from lesionlab.imaging.quality.measures import UNKNOWN, known


def table(values: dict[tuple[str, str], list[float]]) -> pd.DataFrame:
    """Studies a, b, c ... with the values of each measure."""
    rows = [
        (chr(97 + at), f"person {chr(97 + at)}", stage, measure, value)
        for (stage, measure), numbers in values.items()
        for at, value in enumerate(numbers)
    ]
    return pd.DataFrame(rows, columns=MEASURE_COLUMNS)


def found(values, **options) -> pd.DataFrame:
    given = QCOptions(**options)
    return flags(judged_measures(table(values), given), given)


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "value", "broken"),
    [
        (Limit(min=1), 1, False),
        (Limit(min=1), 0.99, True),
        (Limit(max=2), 2.01, True),
        (Limit(min=1, max=2), 1.5, False),
        (Limit(max=2), math.nan, True),
    ],
)
def test_a_limit_includes_its_ends_and_no_missing_value(limit, value, broken):
    assert limit.broken(value) is broken


def test_limits_that_allow_everything_or_nothing_are_refused():
    with pytest.raises(ValidationError, match="allows everything"):
        Limit()
    with pytest.raises(ValidationError, match="min 3 lies above max 2"):
        Limit(min=3, max=2)


def test_a_limit_reads_as_a_phrase():
    assert [str(Limit(min=0.8)), str(Limit(max=3)), str(Limit(min=1, max=2))] == ["at least 0.8", "at most 3", "1 to 2"]


def test_the_users_limits_lie_over_the_defaults():
    options = QCOptions(limits={"brain": {"brain_ml": None, "mirror_overlap": Limit(min=0.5)}})
    assert options.limit("brain", "brain_ml") is None
    assert options.limit("brain", "mirror_overlap") == Limit(min=0.5)
    assert options.limit("brain", "cut_top") == DEFAULT_LIMITS["brain"]["cut_top"]
    assert options.limit("brain", "unheard_of") is None


def test_the_exacter_name_decides():
    limits = {"coregister": {"*": Limit(min=-9), "*_snr": Limit(min=1), "T2w_*": Limit(min=2), "T2w_snr": Limit(min=3)}}
    options = QCOptions(limits=limits)
    assert options.limit("coregister", "T2w_snr") == Limit(min=3)
    assert options.limit("coregister", "FLAIR_snr") == Limit(min=1)
    assert options.limit("coregister", "anything") == Limit(min=-9)


def test_every_default_limit_is_of_a_known_measure():
    for stage, limits in DEFAULT_LIMITS.items():
        for pattern in limits:
            assert known(stage, pattern.replace("*", "T1w")) is not UNKNOWN, (stage, pattern)


# --- the judge --------------------------------------------------------------------------------------------------------


def test_the_judge_names_measure_value_range_reason_and_cure():
    said = judge("brain", QCOptions())({"brain_ml": 120.0, "mirror_overlap": 0.1})
    for part in (
        HELD_BACK,
        "brain_ml is 120",
        "500 to 2500",
        "volume of the brain mask",
        "Cure: ",
        "quality.limits.brain",
    ):
        assert part in said
    assert "mirror_overlap" not in said  # that limit only warns


def test_the_judge_knows_quotients():
    # 0.3 after over 0.6 before registration: 0.5 is less than the 0.8 that is allowed.
    said = judge("coregister", QCOptions())({"T2w_mi_before": 0.6, "T2w_mi_after": 0.3})
    assert "T2w_mi_gain is 0.5, allowed is at least 0.8" in said


def test_the_judge_lets_pass_what_is_in_bounds_unknown_or_only_warned_of():
    assert judge("brain", QCOptions())({"brain_ml": 1400.0}) is None
    assert judge("nowhere", QCOptions())({"brain_ml": 1.0}) is None
    warned = QCOptions(limits={"brain": {"brain_ml": Limit(min=500)}})
    assert judge("brain", warned)({"brain_ml": 1.0}) is None


def test_a_missing_value_is_held_back_and_judges_travel():
    travelled = pickle.loads(pickle.dumps(judge("brain", QCOptions())))
    assert "brain_ml is nan" in travelled({"brain_ml": math.nan})


# --- flags ------------------------------------------------------------------------------------------------------------

SAME = [0.60, 0.61, 0.59, 0.60, 0.62]


def test_only_the_bad_side_is_an_outlier():
    # Grain 0.04: 0.9 lies 7.5 grains above the median, 0.3 as far below; edge agreement is bad where it is low.
    assert found({("coregister", "T2w_edge_similarity"): [*SAME, 0.9]}).empty
    low = found({("coregister", "T2w_edge_similarity"): [*SAME, 0.3]})
    assert low[["study", "kind", "action"]].values.tolist() == [["f", "outlier", "warn"]]
    assert low["z"].iloc[0] == pytest.approx(-7.5)
    assert low["allowed"].iloc[0] == "within 3.5 robust standard deviations of 0.6"


def test_measures_that_only_describe_flag_nobody():
    assert found({("coregister", "T2w_rotation_deg"): [1, 1, 1, 1, 1, 44.0]}).empty
    assert found({("coregister", "T2w_rotation_deg"): [1, 1, 1, 1, math.nan]}).empty


def test_unknown_measures_count_on_both_sides():
    low = found({("brain", "something_new"): [5, 6, 5, 4, 5, 6, 4, -90]})
    assert low["study"].tolist() == ["h"] and low["why"].tolist() == ["something new"]


def test_a_limit_counts_in_a_cohort_of_one():
    alone = found({("coregister", "FLAIR_edge_offset_mm"): [7.0]})
    assert alone[["kind", "allowed", "action"]].values.tolist() == [["limit", "at most 3", "warn"]]
    assert list(alone) == FLAG_COLUMNS


def test_what_breaks_a_limit_and_lies_out_is_told_once():
    both = found({("coregister", "FLAIR_edge_offset_mm"): [0.5, 0.6, 0.5, 0.4, 0.5, 9.0]})
    assert both[["study", "kind"]].values.tolist() == [["f", "limit"]]


def test_a_missing_value_is_flagged():
    assert found({("brain", "mirror_overlap"): [0.95, 0.96, math.nan]})["study"].tolist() == ["c"]


def test_outliers_and_limits_may_hold_studies_back():
    values = {("coregister", "T2w_edge_similarity"): [*SAME, 0.3]}
    assert held_back(found(values)) == []
    assert held_back(found(values, outliers="quarantine")) == ["f"]
    assert held_back(found({("brain", "brain_ml"): [1400, 1300, 90]})) == ["c"]


def test_where_outliers_are_left_out_training_studies_say_what_is_usual():
    # Studies a to e train: median 3, MAD 1, so that f (10) is 7 / 1.4826 = 4.7 spreads away; among all six it is
    # (10 - 3.5) / (1.4826 * 1.5) = 2.9. Test studies decide on nobody's place among those that are learnt from.
    values = table({("brain", "bite_mm"): [1, 2, 3, 4, 5, 10]})
    options = QCOptions(outliers="quarantine", limits={"brain": {"bite_mm": None}})
    assert flags(judged_measures(values, options, list("abcde")), options)["study"].tolist() == ["f"]
    assert flags(judged_measures(values, options), options).empty
    warned = options.model_copy(update={"outliers": "warn"})
    assert flags(judged_measures(values, warned, list("abcde")), warned).empty


def test_flags_come_study_by_study_limits_first():
    values = {
        ("coregister", "T2w_edge_similarity"): [0.3, *SAME],
        ("coregister", "T2w_edge_offset_mm"): [8.0, 0.5, 0.5, 0.5, 0.5, 8.0],
    }
    assert found(values)[["study", "kind"]].values.tolist() == [["a", "limit"], ["a", "outlier"], ["f", "limit"]]


def test_no_measures_no_flags():
    assert found({}).empty
