"""Who has seen whom: what is refused, and that the message says where and who."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from lesionlab.errors import InputError
from lesionlab.trials.leakage import (
    CHOOSES,
    audit,
    people_of,
    require,
    require_same,
    require_within,
    splits_of,
    subjects_of,
)

SPLITS = {"a": "train", "b": "train", "c": "validation", "d": "test"}
PEOPLE = {"a_1": "a", "a_2": "a", "b_1": "b", "d_1": "d"}


def rows(**changed) -> pd.DataFrame:
    """A slice of subject a."""
    return pd.DataFrame([{"subject": "a", "source": "real", "donor": "", "record": "{}"} | changed])


def record(**roles: str) -> str:
    return json.dumps({"kind": "swap", "donor": None} | {role: {"subject": who} for role, who in roles.items()})


# --- who had a part in slices -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "seen"),
    [
        ({}, {"a"}),
        ({"record": record(target="b")}, {"a", "b"}),  # a synthetic slice whose row tells another than its record
        ({"record": record(target="a", donor="d")}, {"a", "d"}),
        ({"record": record(donor="d"), "source": "real"}, {"a", "d"}),  # whatever the row calls itself
        ({"donor": "d_1"}, {"a", "d"}),  # the table alone names the donor
        ({"donor": "a_2"}, {"a"}),
        ({"donor": "x_9"}, {"a", "x_9"}),  # a study that nobody knows
    ],
)
def test_target_and_donor_are_counted(changed, seen):
    assert subjects_of(rows(**changed), PEOPLE) == seen


def test_people_are_those_of_the_studies():
    table = pd.DataFrame({"study": ["a_1", "a_2", "a_1"], "subject": ["a", "a", "a"]})
    assert people_of(table) == {"a_1": "a", "a_2": "a"}


# --- splits -----------------------------------------------------------------------------------------------------------


def test_every_subject_has_a_split():
    table = pd.DataFrame({"subject": ["a", "a", "d"], "split": ["train", "train", "test"], "plane": [1, 2, 1]})
    assert splits_of(table, "the slices") == {"a": "train", "d": "test"}


def test_a_subject_in_two_splits_is_refused_once_by_name():
    table = pd.DataFrame({"subject": list("abddd"), "split": ["train", "train", "train", "test", "validation"]})
    with pytest.raises(InputError, match="subjects of the slices are in more than one split") as error:
        splits_of(table, "the slices")
    assert error.value.given == "d"


def test_slices_in_the_cohorts_splits_pass_though_some_subjects_gave_none():
    require_same({"a": "train", "d": "test"}, SPLITS)


@pytest.mark.parametrize(
    ("slices", "given"),
    [
        ({"a": "train", "d": "train"}, "d (train, in the cohort test)"),
        ({"a": "test"}, "a (test, in the cohort train)"),
        ({"x": "train"}, "x (train, in the cohort of no split)"),
    ],
)
def test_slices_of_another_split_than_the_cohorts_are_refused(slices, given):
    with pytest.raises(InputError, match="the slices have subjects in another split") as error:
        require_same(slices, SPLITS)
    assert error.value.given == given


# --- what may be seen -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "given"),
    [
        (["a", "d"], "d (test)"),
        (["c"], "c (validation)"),
        (["d", "x", "a"], "d (test), x (of no split)"),
    ],
)
def test_who_learns_may_see_training_subjects_alone(seen, given):
    assert require(["a", "b", "a"], SPLITS, "atlas") == {"a", "b"}
    with pytest.raises(InputError, match="leakage: atlas has seen subjects") as error:
        require(seen, SPLITS, "atlas")
    assert error.value.given == given and error.value.allowed == "train subjects alone"


def test_who_chooses_may_see_validation_subjects_alone():
    assert require(["c"], SPLITS, "threshold", CHOOSES) == {"c"}
    for wrong in ("a", "d"):
        with pytest.raises(InputError, match=f"threshold has seen.*{wrong} "):
            require([wrong], SPLITS, "threshold", CHOOSES)


def test_a_training_may_see_its_own_set_alone():
    require_within(["a"], ["a", "b"], "segmenter real")
    with pytest.raises(InputError, match=r"segmenter real has seen.*Given: b\. Allowed: a alone"):
        require_within(["a", "b"], ["a"], "segmenter real")


def test_an_audit_writes_down_everybody():
    table = audit({"atlas": ["b", "a"], "given": []}, {"threshold": ["c"]}, SPLITS)
    assert table.to_dict("records") == [
        {"place": "atlas", "purpose": "learns", "subjects": 2, "test": 0, "names": "a b"},
        {"place": "given", "purpose": "learns", "subjects": 0, "test": 0, "names": ""},
        {"place": "threshold", "purpose": "chooses", "subjects": 1, "test": 0, "names": "c"},
    ]


@pytest.mark.parametrize(
    ("learnt", "chose", "place"),
    [({"atlas": ["a"], "unet": ["d"]}, {}, "unet"), ({}, {"threshold": ["d"]}, "threshold")],
)
def test_an_audit_stops_at_the_place(learnt, chose, place):
    with pytest.raises(InputError, match=rf"leakage: {place} has seen.*d \(test\)"):
        audit(learnt, chose, SPLITS)
