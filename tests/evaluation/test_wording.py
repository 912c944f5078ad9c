"""Sentences that claim no more than the figures do."""

from __future__ import annotations

import pandas as pd
import pytest

from lesionlab.evaluation import wording
from lesionlab.metrics.statistics import DIFFERENCE_COLUMNS


def difference(change, low, high, p_value, n=12, name="tumor", protocol="real+25%", subjects=18):
    line = {"method": "U-Net", "cohort": "phantom", "protocol": protocol, "synthesizer": "cgsamr", "sequence": "all"}
    line |= {"class": name, "metric": "dice", "training_subjects": subjects, "reference": "U-Net, real, none"}
    return line | {"difference": change, "ci_low": low, "ci_high": high, "p_raw": p_value, "p_value": p_value, "n": n}


def differences(*rows):
    return pd.DataFrame(list(rows), columns=DIFFERENCE_COLUMNS)


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (difference(0.05, 0.01, 0.09, 0.01), "clear gain"),
        (difference(-0.05, -0.09, -0.01, 0.01), "clear loss"),
        (difference(0.05, 0.01, 0.09, 0.20), "no clear difference"),  # the test does not agree with the interval
        (difference(0.05, -0.01, 0.09, 0.01), "no clear difference"),  # the interval holds zero
        (difference(0.05, float("nan"), float("nan"), float("nan"), n=1), "no clear difference"),
    ],
)
def test_only_what_stands_out_is_called_clear(row, verdict):
    assert wording.comparisons(differences(row))[0]["so"] == verdict


def test_comparisons_are_told_class_by_class():
    rows = [difference(0.1, 0, 1, 1, name=c, protocol=p) for p in ("real+25%", "real+50%") for c in ("tumor", "edema")]
    told = [(one["class"], one["protocol"]) for one in wording.comparisons(differences(*rows))]
    assert told == [("tumor", "real+25%"), ("tumor", "real+50%"), ("edema", "real+25%"), ("edema", "real+50%")]


def test_the_headline_claims_no_more_than_the_figures():
    unclear = wording.headline(differences(difference(0.05, -0.1, 0.2, 0.5)))
    assert unclear.startswith("No clear effect: with 12 test patients")
    mixed = wording.headline(
        differences(
            difference(0.05, 0.01, 0.09, 0.01), difference(-0.04, -0.08, -0.01, 0.02, name="edema"),
            difference(0.01, -0.1, 0.1, 0.9, name="cavity"),
        )
    )  # fmt: skip
    assert "helped tumor in real+25% (+0.050)" in mixed
    assert "harmed edema in real+25% (−0.040)" in mixed
    assert "the other 1 of 3 comparisons show no clear effect" in mixed
    assert "not compared" in wording.headline(None)


def test_the_headline_names_the_size_of_the_training_set_where_there_are_several():
    told = wording.headline(
        differences(difference(0.05, 0.01, 0.09, 0.01, subjects=4), difference(0.01, -0.1, 0.1, 0.9, subjects=18))
    )
    assert "helped tumor in real+25% with 4 training subjects (+0.050)" in told


def test_the_headline_is_about_synthetic_slices_alone():
    clear = {protocol: difference(0.05, 0.01, 0.09, 0.01, protocol=protocol) for protocol in ("real+25%", "flips")}
    told = wording.headline(differences(*clear.values()), {"real+25%"})
    assert "tumor in real+25%" in told and "flips" not in told
    # Arms there were, but none that could tell.
    assert wording.headline(differences(clear["flips"]), {"real+25%"}) == (
        "No arm differs from the baseline by synthetic slices alone: what they add was not measured."
    )
    assert "not compared" in wording.headline(differences(), {"real+25%"})


def test_the_headline_counts_where_there_are_many():
    gains = [difference(0.05, 0.01, 0.09, 0.01, name=f"c{number}") for number in range(6)]
    loss = difference(-0.05, -0.09, -0.01, 0.01, protocol="real+50%")
    told = wording.headline(differences(*gains, loss, difference(0.01, -0.1, 0.1, 0.9)))
    assert "real+25% helped in 6 of 7 comparisons and harmed in 0; real+50% helped in 0 of 1 comparisons" in told


def test_where_no_difference_could_stand_out_the_headline_says_that():
    # Six patients: 2/64, twice for two protocols in a class, is 0.0625; one protocol alone could reach 0.03125.
    two = differences(*(difference(0.3, 0.2, 0.4, 0.0625, 6, protocol=p) for p in ("real+25%", "real+50%")))
    assert wording.attainable_p(two).tolist() == [0.0625, 0.0625]
    assert wording.headline(two).startswith("Too few patients to tell: with 6 test patients")
    # The correction counts both protocols, though the headline is about one of them.
    assert wording.headline(two, {"real+25%"}).startswith("Too few patients to tell: with 6 test patients")
    # Each size of the training set is corrected by itself, as its p is.
    sizes = differences(*(difference(0.3, 0.2, 0.4, 0.03125, 6, subjects=size) for size in (4, 8)))
    assert wording.attainable_p(sizes).tolist() == [0.03125, 0.03125]
    one = differences(difference(0.0, -0.2, 0.4, 0.5, 6))
    assert wording.headline(one).startswith("No clear effect: with 6 test patients")


def test_few_patients_one_seed_and_a_phantom_are_limits():
    # Four patients: of 2^4 sign patterns two are the most extreme, 2 / 16 = 0.125.
    assert wording.smallest_p(4) == 0.125
    told = wording.limits(differences(difference(0, 0, 0, 1, n=4)), ["7"], "phantom")
    assert len(told) == 3
    assert "0.125" in told[0]
    assert "One seed (7)" in told[1]
    few = wording.limits(differences(difference(0, 0, 0, 1, n=40)), ["7", "8", "7"], "patients")
    assert len(few) == 1 and few[0].startswith("2 seeds: intervals draw trainings anew")
    assert wording.limits(differences(difference(0, 0, 0, 1, n=40)), list("01234"), "patients") == []


def test_differences_without_a_column_are_refused():
    with pytest.raises(ValueError, match="p_value"):
        wording.comparisons(differences(difference(0, 0, 0, 1)).drop(columns="p_value"))
