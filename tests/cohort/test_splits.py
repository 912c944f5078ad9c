from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lesionlab.cohort.splits import SplitOptions, split_record, split_subjects
from lesionlab.cohort.table import cohort_table
from lesionlab.errors import InputError

FEW = settings(max_examples=40, deadline=None)


def table(volumes: list[float], visits: list[int] | None = None) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for number, ml in enumerate(volumes):
        for visit in range((visits or [1] * len(volumes))[number]):
            names = {"subject": f"p{number:02}", "visit": str(visit), "study": f"p{number:02}_{visit}"}
            files = {"sequence": "T1w", "path": "t1.nii", "lesion_path": "", "lesion_on": "", "brain_path": ""}
            rows.append({**names, **files, "split": "", "lesion_ml": ml})
    return cohort_table(rows)


def splits(result: pd.DataFrame) -> dict[str, set[str]]:
    return {name: set(result.loc[result["split"] == name, "subject"]) for name in ("train", "validation", "test")}


@st.composite
def cases(draw: st.DrawFn) -> tuple[pd.DataFrame, SplitOptions]:
    count = draw(st.integers(3, 30))
    ml = st.one_of(st.just(float("nan")), st.sampled_from([0.0, 1.0]), st.floats(0, 200))  # unlabelled, equal, any
    volumes = draw(st.lists(ml, min_size=count, max_size=count))
    visits = draw(st.lists(st.integers(1, 3), min_size=count, max_size=count))
    test = draw(st.integers(0, count - 1))
    validation = draw(st.integers(0, count - 1 - test))
    numbers = {"strata": draw(st.integers(1, 6)), "seed": draw(st.integers(0, 99))}
    return table(volumes, visits), SplitOptions(test=test, validation=validation, **numbers)


@FEW
@given(cases())
def test_disjoint_exhaustive_by_subject_and_as_many_as_asked_for(case: tuple[pd.DataFrame, SplitOptions]) -> None:
    cohort, options = case
    result = split_subjects(cohort, options)
    assert (result.groupby("subject")["split"].nunique() == 1).all()  # a subject's studies go to one split
    found = splits(result)
    assert found["train"] | found["validation"] | found["test"] == set(cohort["subject"])
    assert len(found["test"]) == options.test
    assert len(found["validation"]) == options.validation
    assert found["train"]
    pd.testing.assert_frame_equal(result.drop(columns="split"), cohort.drop(columns="split"))


@FEW
@given(cases(), st.integers(0, 99))
def test_the_order_of_rows_does_not_matter(case: tuple[pd.DataFrame, SplitOptions], seed: int) -> None:
    cohort, options = case
    assert splits(split_subjects(cohort.sample(frac=1, random_state=seed), options)) == splits(
        split_subjects(cohort, options)
    )


@FEW
@given(cases())
def test_each_stratum_gives_its_share_within_one_subject(case: tuple[pd.DataFrame, SplitOptions]) -> None:
    cohort, options = case
    record = split_record(split_subjects(cohort, options), options)
    for name, pool in (("test", record), ("validation", record[record["split"] != "test"])):
        wanted = int((record["split"] == name).sum())
        for _, stratum in pool.groupby("stratum"):
            share = wanted * len(stratum) / len(pool)
            assert abs((stratum["split"] == name).sum() - share) < 1


@FEW
@given(cases())
def test_strata_are_of_equal_size_and_ordered_by_volume(case: tuple[pd.DataFrame, SplitOptions]) -> None:
    cohort, options = case
    record = split_record(split_subjects(cohort, options), options)
    assert set(record.loc[record["lesion_ml"].isna(), "stratum"]) <= {-1}
    labelled = record[record["lesion_ml"].notna()]
    groups = [group["lesion_ml"] for _, group in labelled.groupby("stratum")]
    assert len(groups) == min(options.strata, len(labelled))
    for lower, upper in pairwise(groups):
        assert lower.max() <= upper.min()
        assert abs(len(lower) - len(upper)) <= 1


def test_the_seed_decides() -> None:
    cohort = table(list(np.arange(24.0)))
    found = {tuple(sorted(splits(split_subjects(cohort, SplitOptions(seed=seed)))["test"])) for seed in range(6)}
    assert len(found) > 1


def test_fractions_are_of_all_subjects_and_give_one_at_least() -> None:
    cohort = table(list(np.arange(20.0)))
    found = splits(split_subjects(cohort, SplitOptions(test=0.25, validation=0.01)))
    assert (len(found["test"]), len(found["validation"]), len(found["train"])) == (5, 1, 14)


def test_leave_one_out_tests_each_subject_once() -> None:
    cohort = table([3.0, 1.0, 2.0, 5.0], visits=[1, 2, 1, 1])
    tests = []
    for fold in range(4):
        options = SplitOptions(protocol="leave_one_out", fold=fold, validation=1)
        found = splits(split_subjects(cohort, options))
        assert (len(found["test"]), len(found["validation"]), len(found["train"])) == (1, 1, 2)
        tests += found["test"]
    assert tests == ["p00", "p01", "p02", "p03"]


def test_a_fold_that_does_not_exist() -> None:
    with pytest.raises(InputError, match=r"fold 4.*0 to 3"):
        split_subjects(table([1.0] * 4), SplitOptions(protocol="leave_one_out", fold=4, validation=1))


@pytest.mark.parametrize(("test", "validation"), [(4, 0), (2, 2), (9, 0), (1, 9), (0.5, 0.5)])
def test_an_empty_training_split(test: float, validation: float) -> None:
    with pytest.raises(
        InputError, match=r"training split is empty.*4 subjects.*3 subjects together at most.*lower `test`"
    ):
        split_subjects(table([1.0] * 4), SplitOptions(test=test, validation=validation))


def record(tmp_path: Path, result: pd.DataFrame) -> str:
    path = tmp_path / "split.csv"
    split_record(result).to_csv(path, index=False)
    return str(path)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases(), more=st.lists(st.floats(0, 200), min_size=1, max_size=10), new=st.sampled_from(["train", "draw"]))
def test_new_patients_change_nobody_elses_split(
    tmp_path: Path, case: tuple[pd.DataFrame, SplitOptions], more: list[float], new: str
) -> None:
    cohort, options = case
    before = split_subjects(cohort, options)
    other = options.model_copy(update={"keep": record(tmp_path, before), "new": new, "seed": options.seed + 1})
    added = table(more).assign(subject=lambda rows: "new" + rows["subject"], study=lambda rows: "new" + rows["study"])
    after = split_subjects(pd.concat([added, cohort], ignore_index=True), other)
    old = after[~after["subject"].str.startswith("new")]
    assert dict(zip(old["subject"], old["split"], strict=True)) == dict(
        zip(before["subject"], before["split"], strict=True)
    )
    if new == "train":
        assert set(after.loc[after["subject"].str.startswith("new"), "split"]) == {"train"}


def test_new_patients_are_drawn_up_to_the_sizes_asked_for(tmp_path: Path) -> None:
    cohort = table(list(np.arange(20.0)))
    first = split_subjects(cohort.iloc[:10], SplitOptions(test=0.2, validation=0.1))  # 2 and 1 of 10
    options = SplitOptions(test=0.2, validation=0.1, keep=record(tmp_path, first), new="draw")
    found = splits(split_subjects(cohort, options))  # 4 and 2 of 20
    assert (len(found["test"]), len(found["validation"])) == (4, 2)
    assert splits(first)["test"] < found["test"] and splits(first)["validation"] < found["validation"]


def test_patients_who_left_are_forgotten_and_none_is_drawn_in_their_place(tmp_path: Path) -> None:
    cohort = table(list(np.arange(10.0)))
    first = split_subjects(cohort, SplitOptions(test=3, validation=2))
    left = first[first["split"] != "test"].assign(split="")
    found = splits(split_subjects(left, SplitOptions(test=3, validation=2, keep=record(tmp_path, first))))
    assert found["test"] == set() and found["validation"] == splits(first)["validation"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("subject,split\np00,tset\n", "no split.*'tset'.*did you mean 'test'"),
        ("subject,split\np00,\n", "no split"),
        ("subject,split\np00,test\np00,train\n", "in two splits.*p00"),
        ("name,split\np00,test\n", "lacks the column subject"),
        ("subject,split\np00,test\np01,test\np02,validation\n", "training split is empty.*splits.keep"),
        (None, "table cannot be read"),
    ],
)
def test_a_record_that_cannot_be_used(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "split.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=f"(?s){words}"):
        split_subjects(table([1.0] * 3), SplitOptions(keep=str(path)))


def test_a_given_split_and_leave_one_out_contradict_each_other(tmp_path: Path) -> None:
    cohort = table([1.0] * 4)
    path = record(tmp_path, split_subjects(cohort, SplitOptions(test=1, validation=0)))
    with pytest.raises(InputError, match="leave_one_out has no room.*splits.keep"):
        split_subjects(cohort, SplitOptions(protocol="leave_one_out", validation=0, keep=path))


def test_a_record_wins_over_the_cohorts_own_split(tmp_path: Path) -> None:
    cohort = table([1.0] * 4).assign(split=["train", "test", "test", ""])
    path = tmp_path / "split.csv"
    path.write_text("subject,split\np01,validation\n")
    result = split_subjects(cohort, SplitOptions(test=1, validation=0, keep=str(path)))
    assert list(result["split"]) == ["train", "validation", "test", "train"]


def test_the_record_has_one_row_per_subject() -> None:
    cohort = table([4.0, float("nan"), 2.0], visits=[2, 1, 1])
    options = SplitOptions(test=1, validation=0, strata=2)
    record = split_record(split_subjects(cohort, options), options)
    assert list(record.columns) == ["subject", "split", "lesion_ml", "stratum"]
    assert list(record["subject"]) == ["p00", "p01", "p02"]
    assert list(record["stratum"]) == [1, -1, 0]
    assert sorted(record["split"]) == ["test", "train", "train"]
