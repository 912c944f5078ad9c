"""The folds of an experiment, pooled."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from lesionlab.datasets.folders import Folders
from lesionlab.errors import InputError
from lesionlab.names import listed
from lesionlab.pipelines.evaluation.nodes import claims, tabulate
from lesionlab.pipelines.pool_folds.folds import SEGMENTATION, files_of, folds_of, largest, outputs_of
from lesionlab.stages.lock import hold
from lesionlab.trials.plan import TrialPlan

__all__ = ["claims", "gather", "gather_leakage", "gather_plan", "tabulate"]

_SETTINGS, _SYNTHESIS = "settings.json", "synthesis_scores.parquet"
_LEAKAGE = "08_reporting/{trial}/leakage.csv"  # below a fold's folder

_log = logging.getLogger(__name__)


def gather(
    folders: Folders, studies: pd.DataFrame, settings: Mapping[str, str], trial: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Synthesis and segmentation scores of all folds of a trial; ``settings`` are those of the run that pools them.

    Raises:
        InputError: no fold has scores, or one is being run; folds were run with different settings, or with other
            parameters than this run's, or have another number of training sets; a subject was tested in two folds, or
            is none of the cohort's any more.
    """
    outputs = outputs_of(folders, trial)
    for path in outputs.values():
        hold(path.parents[1])
    _check_settings(outputs, settings)
    tested = {fold: pd.read_parquet(path / SEGMENTATION)["subject"].unique() for fold, path in outputs.items()}
    _check_subjects(tested, set(studies["subject"]), folders.workspace)
    synthesis, segmentation = (
        {fold: pd.read_parquet(path / name) for fold, path in outputs.items()} for name in (_SYNTHESIS, SEGMENTATION)
    )
    common = _common_sizes(segmentation)
    return _pooled(synthesis, common), _pooled(segmentation, common)


def _common_sizes(scores: Mapping[str, pd.DataFrame]) -> dict[str, dict[int, int]]:
    """By fold: the size of each training set to what it is called in the pooled tables, the most that a fold has.

    A fold in which a study was held back trains on one subject fewer; its lines are the others' all the same.
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


def _pooled(scores: Mapping[str, pd.DataFrame], common: Mapping[str, Mapping[int, int]]) -> pd.DataFrame:
    parts = [
        table.assign(training_subjects=table["training_subjects"].map(common[fold])) for fold, table in scores.items()
    ]
    return pd.concat(parts, ignore_index=True)


def gather_plan(folders: Folders, trial: str) -> TrialPlan:
    """The plan of the fold with most training subjects, whose numbers of them the pooled tables have.

    What the trial compares is the same in all folds, on whom it is trained is not.
    """
    return largest(folds_of(folders, trial)).plan


def gather_leakage(folders: Folders, trial: str) -> pd.DataFrame:
    """Everything that learnt or chose in any fold, with the subjects it has seen: column ``fold`` and the folds' own.

    Raises:
        InputError: a fold has scores and no such table.
    """
    tables = files_of(folders, trial, _LEAKAGE)
    parts = [pd.read_csv(path, dtype={"names": str}).assign(fold=fold) for fold, path in tables.items()]
    found = pd.concat(parts, ignore_index=True)
    return found[["fold", *(name for name in found if name != "fold")]]


def _check_settings(outputs: Mapping[str, Path], now: Mapping[str, str]) -> None:
    """Refuse folds that were run with different parameters or code, or with other parameters than are given now."""
    noted = {fold: path / _SETTINGS for fold, path in outputs.items()}
    found = {fold: path.read_text(encoding="utf-8") if path.exists() else "{}" for fold, path in noted.items()}
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


def _check_subjects(tested: Mapping[str, np.ndarray], cohort: set[str], workspace: Path) -> None:
    """Refuse subjects tested twice or gone from the cohort; tell those not tested."""
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
