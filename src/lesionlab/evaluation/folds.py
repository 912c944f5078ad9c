"""The folds of a leave-one-out experiment, pooled: every subject is tested in one of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from lesionlab.errors import InputError
from lesionlab.evaluation.augmentation import slice_counts
from lesionlab.names import listed
from lesionlab.slices.store import SliceStore
from lesionlab.trials.plan import TrialPlan

_log = logging.getLogger(__name__)


def pooled(scores: Mapping[str, pd.DataFrame], common: Mapping[str, Mapping[int, int]]) -> pd.DataFrame:
    """Scores of all folds, their training sets called as in ``common``, see :func:`common_sizes`."""
    parts = [
        table.assign(training_subjects=table["training_subjects"].map(common[fold])) for fold, table in scores.items()
    ]
    return pd.concat(parts, ignore_index=True)


def common_sizes(scores: Mapping[str, pd.DataFrame]) -> dict[str, dict[int, int]]:
    """By fold: the size of each training set to what it is called in the pooled tables, the most that a fold has.

    A fold in which a study was held back trains on one subject fewer; its lines are the others' all the same.

    Raises:
        InputError: the folds have different numbers of training sets.
    """
    sizes = {fold: sorted(table["training_subjects"].unique()) for fold, table in scores.items()}
    if len({len(own) for own in sizes.values()}) > 1:
        raise InputError(
            "the folds have different numbers of training sets",
            given="; ".join(f"{fold}: trained on {listed(map(str, own))} subjects" for fold, own in sizes.items()),
            allowed="the same in every fold",
            cure="give trials.<trial>.training_subjects sizes that every fold has beside all its subjects",
        )
    most = [max(same) for same in zip(*sizes.values(), strict=True)]
    return {fold: dict(zip(own, most, strict=True)) for fold, own in sizes.items()}


def seen_in(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Everything that learnt or chose in any fold: column ``fold`` and the folds' own."""
    found = pd.concat([table.assign(fold=fold) for fold, table in tables.items()], ignore_index=True)
    return found[["fold", *(name for name in found if name != "fold")]]


def mean_counts(parts: Sequence[tuple[TrialPlan, SliceStore]], plan: TrialPlan) -> dict[str, tuple[int, int]]:
    """Real and synthetic training slices of each of the plan's segmenters, by key: the mean over the folds.

    Folds train the same segmenters in the same order, each from subjects of its own.
    """
    each = [list(slice_counts(own, slices).values()) for own, slices in parts]
    means = np.mean(each, axis=0).round().astype(int).tolist()
    return {case.key: (real, made) for case, (real, made) in zip(plan.segmenters, means, strict=True)}


def check_settings(found: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Refuse folds that were run with different parameters or code, or with other parameters than are given now.

    Args:
        found: fold to its settings as JSON, ``{}`` where it has none.
        now: those of this run.

    Raises:
        InputError: they differ.
    """
    if len(set(found.values())) > 1:
        groups = {text: [fold for fold in found if found[fold] == text] for text in found.values()}
        raise InputError(
            "the folds were run with different parameters or code",
            given=" against ".join(", ".join(folds) for folds in groups.values()),
            allowed="folds of one experiment, unchanged",
            cure="run the older folds again (make folds does all of them)",
        )
    if json.loads(next(iter(found.values()))).get("parameters") != now["parameters"]:
        raise InputError(
            "the folds were run with other parameters than they are to be pooled with",
            given=f"{listed(found)} against this run",
            allowed="the same; only run, workspace, published, splits.fold and cohort.root may differ",
            cure="pool them with the --env and --params that they were run with, or run them again",
        )


def check_subjects(tested: Mapping[str, Collection[str]], cohort: set[str], workspace: object) -> None:
    """Refuse subjects tested twice or gone from the cohort; log those not tested.

    Raises:
        InputError: such a subject, with its folds; ``workspace`` is where these lie.
    """
    table = pd.DataFrame(
        [(subject, fold) for fold, own in tested.items() for subject in own], columns=["subject", "fold"]
    )
    wrong = table[table["subject"].duplicated(keep=False) | ~table["subject"].isin(cohort)]
    if len(wrong):
        raise InputError(
            "a subject was tested in two folds, or is not in the cohort",
            given=wrong.to_dict("records"),
            allowed="each subject of the cohort in one fold",
            cure=f"remove the folds of an older split below {workspace} and run them again",
        )
    missing = sorted(cohort - set(table["subject"]))
    if missing:
        _log.warning("pooled: %d of %d subjects were tested in no fold: %s", len(missing), len(cohort), listed(missing))
