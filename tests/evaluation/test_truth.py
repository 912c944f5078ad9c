"""Scores against the phantom's truth, summed up; the scores themselves are tested with their stage."""

from __future__ import annotations

import pandas as pd

from lesionlab.evaluation import truth

COLUMNS = ["stage", "subject", "measure", "value"]


def test_the_truth_is_summed_up_by_stage_and_measure():
    table = pd.DataFrame([("brain", "a", "dice", 0.9), ("brain", "b", "dice", 0.8)], columns=COLUMNS)
    (row,) = truth.summary(table).to_dict("records")
    assert row == {
        "stage": "brain", "measure": "dice", "mean": "0.850", "median": "0.850", "smallest": "0.800",
        "largest": "0.900", "subjects": "2",
    }  # fmt: skip
    assert truth.section(table)


def test_a_measure_of_the_cohort_is_of_all_its_subjects():
    table = pd.DataFrame([("standardize", "all", "wm_spread_ratio_T1w", 0.1)], columns=COLUMNS)
    assert truth.summary(table)["subjects"].tolist() == ["all"]


def test_without_a_truth_there_is_no_section():
    assert not truth.section(pd.DataFrame(columns=COLUMNS))
