from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lesionlab.cohort.splits import SplitOptions, check_classes_to_learn, split_record, split_subjects
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


@st.composite
def in_folds(draw: st.DrawFn) -> tuple[pd.DataFrame, SplitOptions]:
    cohort, options = draw(cases())
    subjects = cohort["subject"].nunique()
    count = draw(st.integers(2, subjects))
    validation = draw(st.integers(0, subjects - -(-subjects // count) - 1))
    numbers = {"strata": options.strata, "seed": options.seed, "validation": validation, "folds": count}
    return cohort, SplitOptions(protocol="folds", **numbers)


def each_fold(cohort: pd.DataFrame, options: SplitOptions) -> list[dict[str, set[str]]]:
    chosen = [options.model_copy(update={"fold": fold}) for fold in range(options.folds)]
    return [splits(split_subjects(cohort, one)) for one in chosen]


@FEW
@given(in_folds())
def test_folds_test_each_subject_once_and_are_of_equal_size(case: tuple[pd.DataFrame, SplitOptions]) -> None:
    cohort, options = case
    tested = [found["test"] for found in each_fold(cohort, options)]
    assert sorted(subject for fold in tested for subject in fold) == sorted(set(cohort["subject"]))
    assert max(map(len, tested)) - min(map(len, tested)) <= 1


@FEW
@given(in_folds())
def test_within_a_fold_no_subject_is_in_two_splits(case: tuple[pd.DataFrame, SplitOptions]) -> None:
    cohort, options = case
    for found in each_fold(cohort, options):
        assert len(found["validation"]) == options.validation and found["train"]
        assert sum(map(len, found.values())) == len(set.union(*found.values())) == cohort["subject"].nunique()


@FEW
@given(in_folds())
def test_each_fold_gets_its_share_of_each_stratum(case: tuple[pd.DataFrame, SplitOptions]) -> None:
    cohort, options = case
    strata = split_record(split_subjects(cohort, options), options).set_index("subject")["stratum"]
    for stratum in set(strata):
        shares = [int((strata[sorted(found["test"])] == stratum).sum()) for found in each_fold(cohort, options)]
        assert max(shares) - min(shares) <= 1


@FEW
@given(in_folds(), st.integers(0, 99))
def test_folds_do_not_depend_on_the_order_of_rows(case: tuple[pd.DataFrame, SplitOptions], seed: int) -> None:
    cohort, options = case
    assert each_fold(cohort.sample(frac=1, random_state=seed), options) == each_fold(cohort, options)


def test_the_seed_decides_who_is_in_which_fold() -> None:
    cohort = table(list(np.arange(12.0)))
    found = {str(each_fold(cohort, SplitOptions(protocol="folds", folds=4, seed=seed))) for seed in range(4)}
    assert len(found) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"folds": 5}, "more folds than subjects.*splits.folds 5 of 4 subjects.*2 to 4"),
        ({"folds": 2, "fold": 2}, "the fold does not exist.*fold 2.*0 to 1, as splits.folds is 2"),
        ({"folds": 2, "validation": 2}, "training split is empty.*4 subjects, protocol folds, test 2, validation 2"),
    ],
)
def test_folds_that_cannot_be(options: dict[str, int], words: str) -> None:
    with pytest.raises(InputError, match=f"(?s){words}"):
        split_subjects(table([1.0] * 4), SplitOptions(protocol="folds", **{"validation": 0, **options}))


def divided(**split: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Subjects a to d, split as told, all with edema, c and d with tumor; nobody has a cavity."""
    rows = table([1.0] * 4).assign(subject=list("abcd"), study=list("abcd")).assign(split=list(split.values()))
    has = [(study, name, ml) for study in "abcd" for name, ml in (("edema", 1.0), ("cavity", 0.0))]
    tumor = [("a", "tumor", 0.0), ("b", "tumor", 0.0), ("c", "tumor", 2.0), ("d", "tumor", 0.1)]
    return rows, pd.DataFrame([*has, *tumor], columns=["study", "lesion_class", "ml"])


def test_a_class_that_no_training_subject_has_is_an_error_or_allowed(caplog: pytest.LogCaptureFixture) -> None:
    rows, lesions = divided(a="train", b="train", c="test", d="validation")
    options = SplitOptions(protocol="folds", fold=2, folds=4)
    with pytest.raises(InputError, match=r"no training subject of fold 2 has tumor.*c \(test\), d \(validation\)"):
        check_classes_to_learn(rows, lesions, options)
    with pytest.raises(InputError, match=r"no training subject has tumor.*splits\.may_lack"):
        check_classes_to_learn(rows, lesions, SplitOptions(may_lack=("edema",)))
    assert not caplog.messages
    check_classes_to_learn(rows, lesions, options.model_copy(update={"may_lack": ("tumor",)}))
    assert caplog.messages == ["split: no training subject of fold 2 has tumor: it cannot be learnt"]


def test_a_class_that_no_test_subject_has_is_told(caplog: pytest.LogCaptureFixture) -> None:
    rows, lesions = divided(a="test", b="test", c="train", d="validation")
    check_classes_to_learn(rows, lesions, SplitOptions(protocol="folds", fold=1))
    assert caplog.messages == ["split: no test subject of fold 1 has tumor: it cannot be scored"]
    caplog.clear()
    check_classes_to_learn(*divided(a="train", b="validation", c="train", d="train"), SplitOptions())  # none is tested
    check_classes_to_learn(rows, lesions.iloc[:0], SplitOptions())  # no masks
    assert not caplog.messages


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


@pytest.mark.parametrize("protocol", ["leave_one_out", "folds"])
def test_a_given_split_and_folds_contradict_each_other(
    tmp_path: Path, protocol: Literal["leave_one_out", "folds"]
) -> None:
    cohort = table([1.0] * 4)
    path = record(tmp_path, split_subjects(cohort, SplitOptions(test=1, validation=0)))
    with pytest.raises(InputError, match=f"{protocol} has no room.*splits.keep"):
        split_subjects(cohort, SplitOptions(protocol=protocol, folds=2, validation=0, keep=path))


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
