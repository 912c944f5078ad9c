"""Splits by subject: seeded, stratified by lesion volume, and written down."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from lesionlab.cohort.readers.tables import read_table
from lesionlab.cohort.table import SPLITS, CohortSchema
from lesionlab.errors import InputError
from lesionlab.names import listed, suggestion

FOLD_PROTOCOLS = ("folds", "leave_one_out")  # those that give every fold a folder of its own
UNLABELLED = -1  # the stratum of subjects without a lesion mask

_log = logging.getLogger(__name__)


class SplitOptions(BaseModel):
    """How subjects are divided. Whole numbers count subjects, numbers below 1 are a fraction of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: Literal["holdout", "folds", "leave_one_out"] = Field(
        "holdout", description="one split; or one of so many folds, each of which tests others; or a fold per subject"
    )
    test: int | float = Field(5, ge=0, description="test subjects (holdout); the other protocols test the fold's own")
    validation: int | float = Field(3, ge=0, description="validation subjects")
    strata: int = Field(3, ge=1, description="groups of equal size, by lesion volume, that each split draws from alike")
    folds: int = Field(5, ge=2, description="folds: how many; each subject is tested in one of them")
    fold: int = Field(0, ge=0, description="which fold this is; under leave_one_out they have the order of the names")
    seed: int = 0
    keep: str | None = Field(
        None, description="an earlier split record (CSV with subject and split): its subjects stay where they were"
    )
    new: Literal["train", "draw"] = Field(
        "train", description="subjects that `keep` (or the cohort's own split) does not name; draw: as the sizes ask"
    )
    may_lack: tuple[str, ...] = Field((), description="lesion classes that no training subject needs to have")

    @property
    def in_folds(self) -> bool:
        """Whether this is one of several splits of the same subjects."""
        return self.protocol in FOLD_PROTOCOLS


def split_subjects(table: pd.DataFrame, options: SplitOptions) -> pd.DataFrame:
    """Give every subject, with all its studies, to train, validation or test.

    Within each stratum of lesion volume the subjects are drawn at random by the seed; each split's share of a stratum
    is within one subject of proportional. The same subjects and options give the same split in any order of rows.

    ``protocol: folds`` deals the subjects to ``folds`` groups, stratum by stratum, and tests group number ``fold``:
    over all folds each subject is tested once; the groups, and their shares of a stratum, differ by one subject at
    most. ``leave_one_out`` has a group per subject. Validation is drawn from the others, as ever.

    A subject with a split already (``options.keep``, else the table's own) keeps it, whatever other subjects the cohort
    has. The others go to train, or, with ``new: draw``, are drawn until test and validation have the sizes asked for.

    Args:
        table: a cohort (``CohortSchema``), ``lesion_ml`` filled where there are masks.
        options: protocol and sizes.

    Returns:
        The cohort with ``split`` filled.

    Raises:
        InputError: no subject is left for training, a fold that does not exist, more folds than subjects, a record that
            cannot be read, or a protocol that has no room for splits given beforehand.
    """
    strata = _strata(_subject_volumes(table), options.strata)
    kept = _kept(table, options)
    split = pd.Series("train", index=strata.index)
    split[kept.index] = kept
    for name, drawn in _drawn(strata, kept, options).items():
        split[drawn] = name
    _check_train_is_left(split, options)
    return CohortSchema.validate(table.assign(split=table["subject"].map(split)))


def read_split(file: Path | str) -> dict[str, str]:
    """Subject to split of an earlier split record.

    Raises:
        InputError: the file is no such table, holds a word that is no split, or a subject in two of them.
    """
    table = read_table(Path(file), ("subject", "split"), ())
    wrong = next((word for word in table["split"] if word not in SPLITS), None)
    torn = table.groupby("subject")["split"].nunique()
    if wrong is None and not (torn > 1).any():
        return dict(zip(table["subject"], table["split"], strict=True))
    raise InputError(
        "the split record holds a word that is no split" if wrong is not None else "a subject is in two splits",
        given=repr(wrong) if wrong is not None else f"subject {torn.index[torn > 1][0]}",
        allowed=f"{', '.join(SPLITS)}, one for each subject",
        cure=f"{suggestion(wrong or '', SPLITS)}correct the record that `splits.keep` names",
        file=file,
    )


def check_classes_to_learn(table: pd.DataFrame, lesions: pd.DataFrame, options: SplitOptions) -> None:
    """Refuse a split whose training subjects all lack a class that others have; say what the test subjects all lack.

    A class that nobody has is no fault of the split.

    Args:
        table: a cohort with ``split`` filled.
        lesions: columns ``study``, ``lesion_class`` and ``ml``, a row per labelled study and class.
        options: what the split was made with; classes in ``may_lack`` are let through with a warning.

    Raises:
        InputError: no training subject has a lesion of a class, and ``may_lack`` does not name it.
    """
    about = table.drop_duplicates("study").set_index("study")[["subject", "split"]]
    there = lesions[lesions["ml"] > 0].join(about, on="study", how="inner")
    have = {name: set(there.loc[there["split"] == name, "lesion_class"]) for name in SPLITS}
    where = f" of fold {options.fold}" if options.in_folds else ""
    unlearnt = [name for name in dict.fromkeys(there["lesion_class"]) if name not in have["train"]]
    if forbidden := [name for name in unlearnt if name not in options.may_lack]:
        holders = there[there["lesion_class"].isin(forbidden)]
        raise InputError(
            f"no training subject{where} has {listed(forbidden)}, so nothing can learn it",
            given=f"only {listed(sorted(set(holders['subject'] + ' (' + holders['split'] + ')')))}",
            allowed="at least one training subject with a lesion of each class that the cohort has",
            cure="change splits.seed, splits.validation or the number of folds, or name the class in splits.may_lack",
        )
    if unlearnt:
        _log.warning("split: no training subject%s has %s: it cannot be learnt", where, listed(unlearnt))
    untested = [name for name in dict.fromkeys(there["lesion_class"]) if name not in have["test"]]
    if untested and (table["split"] == "test").any():
        _log.warning("split: no test subject%s has %s: it cannot be scored", where, listed(untested))


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


def _kept(table: pd.DataFrame, options: SplitOptions) -> pd.Series:
    """The split of the subjects that have one beforehand, by name."""
    own = table[table["split"] != ""].groupby("subject")["split"].first()
    kept = {**own, **(read_split(options.keep) if options.keep is not None else {})}
    if kept and options.in_folds:
        raise InputError(
            f"{options.protocol} has no room for splits given beforehand",
            given=f"splits.keep {options.keep}" if options.keep is not None else "a split in the cohort's own table",
            allowed="one of both",
            cure="set splits.protocol to holdout, or take the given split away",
        )
    here = {subject: kept[subject] for subject in sorted(set(table["subject"])) if subject in kept}
    return pd.Series(here, dtype=object)


def _drawn(strata: pd.Series, kept: pd.Series, options: SplitOptions) -> dict[str, list[str]]:
    """The subjects that the seed gives to test and validation, besides those that are there already."""
    free = strata.drop(index=kept.index)
    if len(kept) and options.new == "train":
        return {}
    rng = np.random.default_rng(options.seed)
    tested = _fold(strata, options) if options.in_folds else None
    sizes = {"test": _count(options.test, len(strata)) if tested is None else len(tested)}
    sizes["validation"] = _count(options.validation, len(strata))
    if not len(kept):
        _check_sizes(len(strata), sizes, options)
    drawn: dict[str, list[str]] = {}
    for name, size in sizes.items():
        lacking = min(max(0, size - int((kept == name).sum())), len(free))
        drawn[name] = tested if tested is not None and name == "test" else _draw(free, lacking, rng)
        free = free.drop(index=drawn[name])
    return drawn


def _fold(strata: pd.Series, options: SplitOptions) -> list[str]:
    """The test subjects of a fold: folds are disjoint, of equal size but for one, and have each stratum alike."""
    alone = options.protocol == "leave_one_out"
    count = len(strata) if alone else options.folds
    if count > len(strata):
        raise InputError(
            "there are more folds than subjects",
            given=f"splits.folds {count} of {len(strata)} subjects",
            allowed=f"2 to {len(strata)}",
            cure="lower splits.folds, or add subjects to the cohort",
        )
    if options.fold >= count:
        raise InputError(
            "the fold does not exist",
            given=f"fold {options.fold}",
            allowed=f"0 to {count - 1}, one per subject" if alone else f"0 to {count - 1}, as splits.folds is {count}",
            cure="choose one of these folds",
        )
    if alone:
        return [str(strata.index[options.fold])]
    rng = np.random.default_rng(options.seed)
    groups = [rng.permutation(strata.index[strata == stratum]) for stratum in sorted(strata.unique())]
    dealt = [str(subject) for group in groups for subject in group]  # dealt out one by one, stratum after stratum
    return dealt[options.fold :: count]


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


def _check_sizes(subjects: int, sizes: dict[str, int], options: SplitOptions) -> None:
    if subjects - sum(sizes.values()) < 1:
        raise InputError(
            "the training split is empty",
            given=f"{subjects} subjects, protocol {options.protocol}, test {sizes['test']}, "
            f"validation {sizes['validation']}",
            allowed=f"test and validation of {subjects - 1} subjects together at most",
            cure="lower `test` or `validation` of the split, or add subjects to the cohort",
        )


def _check_train_is_left(split: pd.Series, options: SplitOptions) -> None:
    if not (split == "train").any():
        raise InputError(
            "the training split is empty",
            given=f"{len(split)} subjects, all of them given to validation or test by {options.keep or 'the cohort'}",
            allowed="at least one subject for training",
            cure="name another record in `splits.keep`, or add subjects to the cohort",
        )
