"""Smaller training sets lie within the larger ones, and hold training subjects alone."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesionlab.errors import InputError
from lesionlab.trials.training_sets import training_set

SUBJECT = st.tuples(st.sampled_from(["train", "validation", "test"]), st.booleans())
COHORTS = st.lists(SUBJECT, min_size=1, max_size=12).filter(lambda people: any(split == "train" for split, _ in people))
SEEDS = st.integers(0, 2**31)


def slices(people: list[tuple[str, bool]]) -> pd.DataFrame:
    """Two slices of each subject, one of them with a lesion where the subject has one."""
    rows = [
        {"subject": f"s{at:02d}", "split": split, "domain": domain}
        for at, (split, sick) in enumerate(people)
        for domain in ("healthy", "pathological" if sick else "discarded")
    ]
    return pd.DataFrame(rows)


@given(COHORTS, SEEDS)
def test_sets_of_one_seed_are_nested_and_of_training_subjects_alone(people, seed):
    table = slices(people)
    everyone = training_set(table, "all", seed)
    assert set(everyone) == set(table.loc[table["split"] == "train", "subject"])
    sets = [training_set(table, size, seed) for size in range(1, len(everyone) + 1)]
    for size, (smaller, larger) in enumerate(zip(sets, [*sets[1:], everyone], strict=True), start=1):
        assert len(smaller) == len(set(smaller)) == size and list(smaller) == sorted(smaller)
        assert set(smaller) <= set(larger)
    assert sets[-1] == everyone


@given(COHORTS, SEEDS)
def test_who_has_a_lesion_comes_first(people, seed):
    table = slices(people)
    sick = {f"s{at:02d}" for at, (split, has) in enumerate(people) if split == "train" and has}
    for size in range(1, len(training_set(table, "all", seed)) + 1):
        assert len(sick & set(training_set(table, size, seed))) == min(size, len(sick))


@given(COHORTS, SEEDS, st.randoms(use_true_random=False))
def test_the_same_seed_draws_the_same_whatever_the_order_of_slices(people, seed, random):
    table = slices(people)
    order = list(table.index)
    random.shuffle(order)
    for size in range(1, len(training_set(table, "all", seed)) + 1):
        assert training_set(table.loc[order], size, seed) == training_set(table, size, seed)


@given(COHORTS, SEEDS, st.data())
def test_subjects_of_other_splits_change_nothing(people, seed, data):
    kept = [person for person in people if person[0] == "train"]
    # Others come behind, so that the training subjects keep their names.
    more = kept + data.draw(st.lists(SUBJECT.filter(lambda one: one[0] != "train"), max_size=5))
    for size in range(1, len(kept) + 1):
        assert training_set(slices(more), size, seed) == training_set(slices(kept), size, seed)


def test_seeds_draw_differently():
    table = slices([("train", True)] * 10)
    drawn = {training_set(table, 5, seed) for seed in range(20)}
    # Of 252 sets of five; twenty draws that agree in most would be no draws.
    assert len(drawn) > 10


@pytest.mark.parametrize("size", [3, 100])
def test_more_than_there_are_is_refused(size):
    table = slices([("train", True), ("train", False), ("test", True)])
    with pytest.raises(InputError) as error:
        training_set(table, size, 0)
    assert error.value.given == f"training_subjects: {size}" and error.value.allowed == "at most 2, or all"
