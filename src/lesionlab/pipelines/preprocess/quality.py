"""Quality control of the preprocessing: measures, pictures, and, on the phantom, the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from lesionlab.data.subject_store import SubjectStore
from lesionlab.data.workers import run_parallel
from lesionlab.imaging.nifti import read_volume
from lesionlab.imaging.volume import Volume
from lesionlab.parameters import CohortOptions, RunOptions
from lesionlab.reporting.qc_page import QCSummary, StudyQC, render_qc, summarise
from lesionlab.reporting.strips import study_strip

QC_COLUMNS = ["study", "subject", "stage", "measure", "value"]


@dataclass(frozen=True)
class _Strip:
    """What a worker needs to draw one study."""

    study: str
    raw_path: str
    stores: Mapping[str, SubjectStore]
    sequences: tuple[str, ...]
    reference: str
    classes: tuple[str, ...]


def qc_page(
    cohort: pd.DataFrame,
    quarantine: pd.DataFrame,
    coregistered: SubjectStore,
    brains: SubjectStore,
    unbiased: SubjectStore,
    standardized: SubjectStore,
    gridded: SubjectStore,
    atlases: SubjectStore,
    tissues: SubjectStore,
    cohort_options: CohortOptions,
    sequences: list[str],
    reference: str,
    lesion_classes: list[str],
    run_options: RunOptions,
) -> tuple[pd.DataFrame, str, dict[str, Any]]:
    """The QC measures of every stage, the page with a strip of pictures per study, and the page's figures."""
    stores = {
        "coregister": coregistered,
        "brain": brains,
        "bias": unbiased,
        "standardize": standardized,
        "grid": gridded,
        "atlas": atlases,
        "tissues": tissues,
    }
    measures = _measures(cohort, stores)
    raw = cohort[cohort["sequence"] == reference].set_index("study")["path"]
    names, classes = tuple(sequences), tuple(lesion_classes)
    jobs = {study: _Strip(study, raw[study], stores, names, reference, classes) for study in tissues.studies()}
    strips = dict(run_parallel(_draw, jobs, run_options.engine))
    studies = _studies(cohort, quarantine, stores, measures, strips)
    page = render_qc(studies, cohort=cohort_options.name, lesion_classes=lesion_classes)
    return measures, page, _plain(summarise(studies))


def _measures(cohort: pd.DataFrame, stores: Mapping[str, SubjectStore]) -> pd.DataFrame:
    subjects = cohort.drop_duplicates("study").set_index("study")["subject"]
    rows = pd.concat([store.qc().assign(stage=stage) for stage, store in stores.items()], ignore_index=True)
    return rows.assign(subject=rows["study"].map(subjects))[QC_COLUMNS]


def _draw(job: _Strip) -> bytes:
    stages: dict[str, dict[str, Volume]] = {"raw": {job.reference: read_volume(job.raw_path)}}
    stages |= {stage: store.volumes(job.study) for stage, store in job.stores.items()}
    return study_strip(stages, sequences=job.sequences, reference=job.reference, lesion_classes=job.classes)


def _studies(
    cohort: pd.DataFrame,
    quarantine: pd.DataFrame,
    stores: Mapping[str, SubjectStore],
    measures: pd.DataFrame,
    strips: Mapping[str, bytes],
) -> list[StudyQC]:
    failures = pd.concat([store.failures() for store in stores.values()], ignore_index=True)
    about = cohort.drop_duplicates("study")
    result = []
    for study, subject, split in zip(about["study"], about["subject"], about["split"], strict=True):
        rows = measures.loc[measures["study"] == study, ["stage", "measure", "value"]]
        reasons = tuple(failures.loc[failures["study"] == study, "reason"])
        status = "failed" if reasons else "ok"
        result.append(StudyQC(study, subject, split, rows, strips.get(study, b""), status, reasons))
    empty = measures.loc[[], ["stage", "measure", "value"]]
    for study, faults in quarantine.groupby("study"):
        person = str(faults["subject"].iloc[0])
        result.append(StudyQC(str(study), person, "", empty, b"", "quarantined", tuple(faults["reason"])))
    return result


def _plain(summary: QCSummary) -> dict[str, Any]:
    return asdict(summary)
