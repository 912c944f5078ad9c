"""The folds of an experiment: which there are, and what each has left."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from lesionlab.datasets.folders import Folders
from lesionlab.errors import InputError
from lesionlab.names import listed
from lesionlab.slices.store import SliceStore
from lesionlab.stages.lock import hold
from lesionlab.training.runs import TrainingRun
from lesionlab.trials.plan import TrialPlan

_FOLD = re.compile(r"fold\d+")
SEGMENTATION = "segmentation_scores.parquet"
PLAN = "05_model_input/{trial}/plan.json"  # below a fold's folder


@dataclass(frozen=True)
class Fold:
    """What a fold of a trial has left.

    Attributes:
        name: of its folder.
        folders: its own.
        plan: what was trained in it.
    """

    name: str
    folders: Folders
    plan: TrialPlan

    @cached_property
    def slices(self) -> SliceStore:
        """Its slices, those of the subjects left out among them."""
        return SliceStore(self.folders.features("slices"))

    def synthesizers(self) -> dict[str, TrainingRun]:
        """Its trained synthesizers by key."""
        return {case.key: TrainingRun(self.folders.model("synthesizers") / case.key) for case in self.plan.synthesizers}

    def segmenters(self) -> dict[str, TrainingRun]:
        """Its trained segmenters by key."""
        return {case.key: TrainingRun(self.folders.model("segmenters") / case.key) for case in self.plan.segmenters}

    def synthetic(self) -> dict[str, SliceStore]:
        """The slices that its synthesizers have drawn, by key."""
        return {case.key: SliceStore(self.folders.features("synthetic") / case.key) for case in self.plan.synthesizers}

    def cohort(self) -> pd.DataFrame:
        """Its table of scans."""
        return pd.read_parquet(self.folders.results / "02_intermediate/cohort.parquet")

    def split(self) -> pd.DataFrame:
        """Its table of subjects and their splits."""
        return pd.read_csv(self.folders.results / "02_intermediate/split.csv", dtype={"subject": str})


def folds_of(folders: Folders, trial: str) -> list[Fold]:
    """The folds that have scores, in order; none of them is changed by another run until this one ends.

    Raises:
        InputError: there is none, or one has no plan or is being run.
    """
    found = []
    for name, path in files_of(folders, trial, PLAN).items():
        root = folders.workspace / name
        hold(root)
        plan = TrialPlan.model_validate_json(path.read_text(encoding="utf-8"))
        found.append(Fold(name, Folders(folders.workspace, root), plan))
    return found


def largest(folds: Sequence[Fold]) -> Fold:
    """The first of the folds with most training subjects: one in which no study was held back."""
    return max(folds, key=lambda fold: max(fold.plan.table()["subjects"]))


def outputs_of(folders: Folders, trial: str) -> dict[str, Path]:
    """Fold to the folder of its scores, of the folds that have any; an error where none has."""
    found = {path.parts[-4]: path.parent for path in folders.workspace.glob(f"fold*/*/{trial}/{SEGMENTATION}")}
    outputs = {name: found[name] for name in sorted(filter(_FOLD.fullmatch, found), key=lambda name: int(name[4:]))}
    if not outputs:
        raise InputError(
            "there are no folds to pool",
            given=f"no {SEGMENTATION} of the trial {trial} below {folders.workspace}/fold*",
            allowed="at least one fold that was run to its end",
            cure="run the trial's pipeline with --params=splits.fold=0, 1, ... first (make folds does it)",
        )
    return outputs


def files_of(folders: Folders, trial: str, place: str) -> dict[str, Path]:
    """Fold to a file of its own, of every fold that has scores."""
    files = {fold: path.parents[1] / place.format(trial=trial) for fold, path in outputs_of(folders, trial).items()}
    if lacking := [str(path) for path in files.values() if not path.is_file()]:
        raise InputError(
            "a fold that has scores lacks what was written beside them",
            given=f"no {listed(lacking)}",
            allowed="folds that were run to their end",
            cure="run these folds again (make folds does all of them)",
        )
    return files
