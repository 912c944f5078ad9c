from __future__ import annotations

import pandas as pd
import pytest

from lesionlab.reporting.differences import DIFFERENCE_COLUMNS, differences


def scores(rows):
    table = pd.DataFrame(rows, columns=["method", "protocol", "class", "subject", "value"])
    return table.assign(metric="dice", cohort="c", sequence="all", seed=0)


def summary(p_value):
    rows = [("U-Net", protocol, "tumor", "dice", p) for protocol, p in (("real", None), ("real+25%", p_value))]
    return pd.DataFrame(rows, columns=["method", "protocol", "class", "metric", "p_value"])


def test_patients_are_paired_by_name():
    rows = [("U-Net", "real", "tumor", s, v) for s, v in (("a", 0.2), ("b", 0.6))]
    rows += [("U-Net", "real+25%", "tumor", s, v) for s, v in (("b", 0.7), ("a", 0.5), ("only here", 0.9))]
    found = differences(scores(rows), summary(0.25))
    assert tuple(found.columns) == DIFFERENCE_COLUMNS
    # a: +0.3, b: +0.1; the third patient has no partner.
    assert found["difference"].tolist() == [pytest.approx(0.2)]
    assert found["n"].tolist() == [2]
    assert found["p_value"].tolist() == [0.25]
    # Resampling two differences gives means between the smaller and the larger.
    assert (found["ci_low"].item(), found["ci_high"].item()) == (pytest.approx(0.1), pytest.approx(0.3))


def test_seeds_of_a_patient_are_averaged_first():
    rows = [("U-Net", "real", "tumor", "a", 0.5), ("U-Net", "real+25%", "tumor", "a", 0.6)]
    rows += [("U-Net", "real+25%", "tumor", "a", 0.8)]
    found = differences(scores(rows), summary(None))
    assert found["difference"].item() == pytest.approx(0.2)
    assert found["n"].item() == 1


def test_without_a_baseline_there_is_no_difference():
    found = differences(scores([("U-Net", "real+25%", "tumor", "a", 0.6)]), summary(0.5))
    assert found.empty
    assert tuple(found.columns) == DIFFERENCE_COLUMNS
