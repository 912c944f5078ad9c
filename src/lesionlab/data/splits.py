"""Splits by subject: seeded, stratified by lesion volume, and written down."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from lesionlab.data.cohort import CohortSchema
from lesionlab.errors import InputError

UNLABELLED = -1  # the stratum of subjects without a lesion mask


class SplitOptions(BaseModel):
    """How subjects are divided. Whole numbers count subjects, numbers below 1 are a fraction of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: Literal["holdout", "leave_one_out"] = "holdout"
    test: int | float = Field(5, ge=0, description="test subjects (holdout); leave_one_out tests the fold's subject")
    validation: int | float = Field(3, ge=0, description="validation subjects")
    strata: int = Field(3, ge=1, description="groups of equal size, by lesion volume, that each split draws from alike")
    fold: int = Field(0, ge=0, description="leave_one_out: which subject is the test one, in the order of their names")
    seed: int = 0


def split_subjects(table: pd.DataFrame, options: SplitOptions) -> pd.DataFrame:
    """Give every subject, with all its studies, to train, validation or test.

    Within each stratum of lesion volume the subjects are drawn at random by the seed; each split's share of a stratum
    is within one subject of proportional. The same subjects and options give the same split in any order of rows.

    Args:
        table: a cohort (``CohortSchema``), ``lesion_ml`` filled where there are masks.
        options: protocol and sizes.

    Returns:
        The cohort with ``split`` filled.

    Raises:
        InputError: no subject is left for training, or a fold that does not exist.
    """
    strata = _strata(_subject_volumes(table), options.strata)
    held_out = options.protocol == "leave_one_out"
    test_size = 1 if held_out else _count(options.test, len(strata))
    validation_size = _count(options.validation, len(strata))
    _check_train_is_left(len(strata), test_size, validation_size, options)
    rng = np.random.default_rng(options.seed)
    test = _fold(strata, options) if held_out else _draw(strata, test_size, rng)
    validation = _draw(strata.drop(index=test), validation_size, rng)
    split = pd.Series("train", index=strata.index)
    split[test], split[validation] = "test", "validation"
    return CohortSchema.validate(table.assign(split=table["subject"].map(split)))


def split_record(table: pd.DataFrame, options: SplitOptions | None = None) -> pd.DataFrame:
    """The split, one row per subject, to be written down beside the results.

    Returns:
        ``subject``, ``split``, ``lesion_ml`` (mean over visits), ``stratum`` (0 has the smallest; -1 without a mask).
    """
    subjects = _subject_volumes(table)
    strata = _strata(subjects, (options or SplitOptions()).strata)
    split = table.groupby("subject")["split"].first()
    columns = {"subject": subjects.index, "split": split[subjects.index].to_numpy(), "lesion_ml": subjects.to_numpy()}
    return pd.DataFrame({**columns, "stratum": strata[subjects.index].to_numpy()}).reset_index(drop=True)


def _subject_volumes(table: pd.DataFrame) -> pd.Series:
    """Lesion volume per subject, ml, by name: the mean over its studies, NaN where none has a mask."""
    studies = table.drop_duplicates("study").groupby("subject")["lesion_ml"].mean()
    return studies.sort_index()


def _strata(volumes: pd.Series, count: int) -> pd.Series:
    """The stratum of each subject: groups of equal size by rank of the volume, equal volumes by name."""
    ranked = volumes.dropna().sort_values(kind="stable").index
    strata = pd.Series(UNLABELLED, index=volumes.index)
    for number, group in enumerate(np.array_split(np.arange(len(ranked)), min(count, max(len(ranked), 1)))):
        strata[ranked[group]] = number
    return strata


def _fold(strata: pd.Series, options: SplitOptions) -> list[str]:
    if options.fold >= len(strata):
        raise InputError(
            "the fold does not exist",
            given=f"fold {options.fold}",
            allowed=f"0 to {len(strata) - 1}, one per subject",
            cure="choose one of these folds",
        )
    return [str(strata.index[options.fold])]


def _count(size: int | float, subjects: int) -> int:
    """Subjects for a count or a fraction; a fraction above 0 gives one subject at least."""
    if isinstance(size, int) or size == 0 or size >= 1:
        return int(size)
    return max(1, round(size * subjects))


def _draw(strata: pd.Series, count: int, rng: np.random.Generator) -> list[str]:
    """Draw subjects from all strata alike: whole parts of the quotas, then one more by largest remainder."""
    sizes = strata.value_counts().sort_index()
    quotas = sizes * count / max(len(strata), 1)
    numbers = (quotas // 1).astype(int)
    order = rng.permutation(len(sizes))  # which of equal remainders comes first
    remainders = (quotas - numbers).round(9).iloc[order].sort_values(ascending=False, kind="stable")
    for stratum in remainders.index[: count - int(numbers.sum())]:
        numbers[stratum] += 1
    drawn = [rng.permutation(strata.index[strata == stratum])[:number] for stratum, number in numbers.items()]
    return [str(subject) for group in drawn for subject in group]


def _check_train_is_left(subjects: int, test: int, validation: int, options: SplitOptions) -> None:
    if subjects - test - validation < 1:
        raise InputError(
            "the training split is empty",
            given=f"{subjects} subjects, protocol {options.protocol}, test {test}, validation {validation}",
            allowed=f"test and validation of {subjects - 1} subjects together at most",
            cure="lower `test` or `validation` of the split, or add subjects to the cohort",
        )
