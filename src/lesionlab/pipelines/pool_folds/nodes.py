"""The folds of a leave-one-out experiment, pooled."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lesionlab.datasets.folders import Folders
from lesionlab.errors import InputError
from lesionlab.pipelines.evaluation.nodes import tabulate

__all__ = ["gather", "tabulate"]


def gather(folders: Folders) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Synthesis and segmentation scores of all folds.

    Raises:
        InputError: no fold has scores, or a subject was tested in two folds.
    """
    return _pooled(folders.workspace, "synthesis_scores"), _pooled(folders.workspace, "segmentation_scores")


def _pooled(workspace: Path, name: str) -> pd.DataFrame:
    files = sorted(workspace.glob(f"fold*/07_model_output/{name}.parquet"))
    if not files:
        raise InputError(
            "there are no folds to pool",
            given=f"no {name} below {workspace}/fold*",
            allowed="at least one fold that was run to its end",
            cure="run cgsamr_augment_eval with --params=splits.fold=0, 1, ... first (make folds does it)",
        )
    parts = {file.parts[-3]: pd.read_parquet(file) for file in files}
    tested = pd.concat([part[["subject"]].drop_duplicates().assign(fold=fold) for fold, part in parts.items()])
    twice = tested[tested["subject"].duplicated(keep=False)]
    if len(twice):
        raise InputError(
            "a subject was tested in two folds",
            given=twice.to_dict("records"),
            allowed="each subject in one fold",
            cure=f"remove the folds of an older split below {workspace} and run them again",
        )
    return pd.concat(parts.values(), ignore_index=True)
