"""The folds of an experiment, pooled."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from lesionlab.datasets.folders import Folders
from lesionlab.evaluation import folds as pooling
from lesionlab.pipelines.pool_folds.folds import SEGMENTATION, files_of, folds_of, largest, outputs_of
from lesionlab.stages.lock import hold
from lesionlab.trials.plan import TrialPlan

_SETTINGS, _SYNTHESIS = "settings.json", "synthesis_scores.parquet"
_LEAKAGE = "08_reporting/{trial}/leakage.csv"  # below a fold's folder


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
    noted = {fold: path / _SETTINGS for fold, path in outputs.items()}
    found = {fold: path.read_text(encoding="utf-8") if path.exists() else "{}" for fold, path in noted.items()}
    pooling.check_settings(found, settings)
    synthesis, segmentation = (
        {fold: pd.read_parquet(path / name) for fold, path in outputs.items()} for name in (_SYNTHESIS, SEGMENTATION)
    )
    tested = {fold: table["subject"].unique() for fold, table in segmentation.items()}
    pooling.check_subjects(tested, set(studies["subject"]), folders.workspace)
    common = pooling.common_sizes(segmentation)
    return pooling.pooled(synthesis, common), pooling.pooled(segmentation, common)


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
    files = files_of(folders, trial, _LEAKAGE)
    return pooling.seen_in({fold: pd.read_csv(path, dtype={"names": str}) for fold, path in files.items()})
