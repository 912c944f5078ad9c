"""How close each stage came to the phantom's truth, as a stage of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lesionlab.datasets.folders import Folders
from lesionlab.evaluation import truth
from lesionlab.metrics import truth as measure
from lesionlab.parameters import RunOptions
from lesionlab.pipelines.preprocess.jobs import BRAIN, FIELD, in_reference_space, reference_of, sequences
from lesionlab.pipelines.preprocess.quality_stages import by_stage
from lesionlab.pipelines.running import run
from lesionlab.stages.fingerprints import fingerprint_of
from lesionlab.stages.subject_store import StudyResult, SubjectStore

WHITE_MATTER = "white_matter"  # in a study's record: what the spread between studies is made of


@dataclass(frozen=True)
class TruthJob:
    """One study's scores: what the stages made of it, and where its truth lies."""

    phantom: SubjectStore
    stores: Mapping[str, SubjectStore]
    study: str
    scans: Mapping[str, str]  # sequence to file
    reference: str
    left_out: bool  # of the atlas

    @property
    def known(self) -> truth.Truth:
        """The truth about the study."""
        return truth.Truth(self.phantom, self.study)


def score_truth(
    scans: dict[str, Any],
    cohort: pd.DataFrame,
    folders: Folders,
    coregistered: SubjectStore,
    brains: SubjectStore,
    unbiased: SubjectStore,
    standardized: SubjectStore,
    gridded: SubjectStore,
    atlases: SubjectStore,
    tissues: SubjectStore,
    reference: str,
    run_options: RunOptions,
) -> pd.DataFrame:
    """Columns ``stage, subject, measure, value``; no row for scans of unknown truth.

    The truth lies on the grid of the cohort's reference: a study that another sequence served as reference has no row.
    """
    if scans["source"] != "phantom":
        return pd.DataFrame(columns=measure.TRUTH_COLUMNS)
    stores = by_stage(coregistered, brains, unbiased, standardized, gridded, atlases, tissues)
    phantom = SubjectStore(Path(scans["root"]))
    jobs = _jobs(phantom, cohort, stores, reference)
    keys = [store.fingerprints() for store in (phantom, *stores.values())]
    inputs = {study: fingerprint_of([own[study] for own in keys], job.left_out) for study, job in jobs.items()}
    how, science = run_options.lenient, [truth.registration]
    scored = run(folders.stage("truth"), jobs, truth_study, science, inputs, reference, how)
    return truth.table(scored.qc(), [scored.record(study)[WHITE_MATTER] for study in scored.studies()])


def _jobs(
    phantom: SubjectStore, cohort: pd.DataFrame, stores: Mapping[str, SubjectStore], reference: str
) -> dict[str, TruthJob]:
    left_out = set(cohort.loc[cohort["split"] == "test", "study"])
    scans = {study: dict(zip(rows["sequence"], rows["path"], strict=True)) for study, rows in cohort.groupby("study")}
    return {
        study: TruthJob(phantom, stores, study, scans[study], reference, study in left_out)
        for study in sorted(set.intersection(*(set(store.studies()) for store in stores.values())))
        if reference_of(stores["coregister"], study) == reference
    }


def truth_study(job: TruthJob) -> StudyResult:
    """Each stage's measures of one study, named ``<stage>/<measure>``, and its white matter's intensities."""
    known, study, stores = job.known, job.study, job.stores
    brain = measure.brain_dice(stores["brain"].volume(study, BRAIN).data, known.volume("brain").data)
    found = {name: np.array(way) for name, way in stores["coregister"].record(study)["transforms"].items()}
    fields = [name for name in stores["bias"].names(study) if name.startswith(FIELD)]
    grid, way = stores["grid"], in_reference_space(stores["grid"], study)

    def of_atlas() -> dict[str, float]:
        return truth.atlas(known, sequences(grid, study), sequences(stores["atlas"], study), way)

    of_stages = {
        "coregister": truth.registration(known, found, job.scans, job.reference),
        "brain": {"dice": brain},
        "bias": truth.bias(known, {name.removeprefix(FIELD): stores["bias"].volume(study, name) for name in fields}),
        "atlas": of_atlas() if job.left_out else {},
        "tissues": truth.tissues(known, sequences(stores["tissues"], study), grid.volume(study, BRAIN), way),
    }
    qc = {f"{stage}/{name}": value for stage, scores in of_stages.items() for name, value in scores.items()}
    return StudyResult(qc=qc, record={WHITE_MATTER: _white_matter(job, known)})


def _white_matter(job: TruthJob, known: truth.Truth) -> truth.White:
    before, after = job.stores["bias"], job.stores["standardize"]
    images = {
        name: {"before": before.volume(job.study, name), "after": after.volume(job.study, name)}
        for name in sequences(after, job.study)
    }
    return truth.white_matter(known, after.volume(job.study, BRAIN).data, images)
