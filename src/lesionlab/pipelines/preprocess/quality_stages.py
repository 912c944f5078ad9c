"""Two last stages, of what quality control needs of each study: its measures, and its strip of pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lesionlab.datasets.folders import Folders
from lesionlab.figures.strips import study_strip
from lesionlab.imaging.formats.nifti import read_volume
from lesionlab.imaging.quality import measure_study, study_profiles
from lesionlab.imaging.volume import Volume
from lesionlab.parameters import RunOptions
from lesionlab.pipelines.preprocess.jobs import in_reference_space, reference_of
from lesionlab.pipelines.running import run
from lesionlab.stages.fingerprints import fingerprint_of, study_fingerprints
from lesionlab.stages.subject_store import StudyResult, SubjectStore

STRIP = "strip.webp"
PROFILES = "profiles"
ON_GRID = ("grid", "atlas", "tissues")  # stages whose volumes lie in the common space, where there is one
OF_STAGE = "/"  # between stage and measure in the names of this store's measures

Stores = Mapping[str, SubjectStore]


@dataclass(frozen=True)
class QualityJob:
    """What a worker needs to measure or draw one study.

    Attributes:
        study: its key.
        raw_path: its reference scan as scanned.
        stores: the stages that keep something of it, those where it was held back included.
        reference: its reference sequence.
        sequences: all of them, in the configured order.
        classes: lesion classes in the order of their codes.
    """

    study: str
    raw_path: str
    stores: Stores
    reference: str
    sequences: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    def volumes(self) -> dict[str, Mapping[str, Volume]]:
        """Stage to name to volume; a volume is read when it is asked for."""
        grid = self.stores.get("grid")
        way = None if grid is None else in_reference_space(grid, self.study)
        return {
            stage: LazyVolumes(store, self.study, way if stage in ON_GRID else None)
            for stage, store in self.stores.items()
        }


class LazyVolumes(Mapping[str, Volume]):
    """The volumes a stage keeps of a study, read one by one and not held: a study need not fit into memory at once.

    With a way ``(4, 4)`` to the reference scan, they are told to lie there, beside what the earlier stages kept.
    """

    def __init__(self, store: SubjectStore, study: str, way: np.ndarray | None = None) -> None:
        self._store, self._study, self._names, self._way = store, study, store.names(study), way

    def __getitem__(self, name: str) -> Volume:
        if name not in self._names:
            raise KeyError(name)
        volume = self._store.volume(self._study, name)
        return volume if self._way is None else Volume(volume.data, self._way @ volume.affine)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def measure(job: QualityJob) -> StudyResult:
    """The quality measures of one study, named ``<stage>/<measure>``, and the profiles the cohort is compared by."""
    volumes = job.volumes()
    found = measure_study(volumes, job.reference)
    flat = {f"{stage}{OF_STAGE}{name}": value for stage, part in found.items() for name, value in part.items()}
    return StudyResult(qc=flat, record={PROFILES: study_profiles(volumes, job.reference)})


def draw(job: QualityJob) -> StudyResult:
    """The strip of one study."""
    raw = {job.reference: read_volume(job.raw_path)}
    stages: dict[str, Mapping[str, Volume]] = {"raw": raw, **job.volumes()}
    strip = study_strip(stages, sequences=job.sequences, reference=job.reference, lesion_classes=job.classes)
    return StudyResult(files={STRIP: strip})


def measure_quality(
    cohort: pd.DataFrame,
    coregistered: SubjectStore,
    brains: SubjectStore,
    unbiased: SubjectStore,
    standardized: SubjectStore,
    gridded: SubjectStore,
    atlases: SubjectStore,
    tissues: SubjectStore,
    folders: Folders,
    run_options: RunOptions,
) -> SubjectStore:
    """The quality measures of every study, also of one that a stage held back."""
    stores = by_stage(coregistered, brains, unbiased, standardized, gridded, atlases, tissues)
    kept = {stage: store.kept() for stage, store in stores.items()}
    jobs = _jobs(cohort, stores, kept)
    inputs = {study: fingerprint_of({stage: kept[stage][study] for stage in jobs[study].stores}) for study in jobs}
    return run(
        folders.stage("quality"),
        jobs,
        measure,
        [measure_study, study_profiles],
        inputs,
        None,
        run_options.lenient,
    )


def draw_strips(
    cohort: pd.DataFrame,
    coregistered: SubjectStore,
    brains: SubjectStore,
    unbiased: SubjectStore,
    standardized: SubjectStore,
    gridded: SubjectStore,
    atlases: SubjectStore,
    tissues: SubjectStore,
    folders: Folders,
    sequences: list[str],
    lesion_classes: list[str],
    run_options: RunOptions,
) -> SubjectStore:
    """The strip of every study, drawn where something in it has changed."""
    stores = by_stage(coregistered, brains, unbiased, standardized, gridded, atlases, tissues)
    kept = {stage: store.kept() for stage, store in stores.items()}
    drawn = {"sequences": tuple(sequences), "classes": tuple(lesion_classes)}
    jobs = _jobs(cohort, stores, kept, **drawn)
    scans = study_fingerprints(cohort)
    inputs = {
        study: fingerprint_of(scans[study], {stage: kept[stage][study] for stage in jobs[study].stores})
        for study in jobs
    }
    options = (sequences, lesion_classes)
    return run(folders.stage("strips"), jobs, draw, [study_strip, read_volume], inputs, options, run_options.lenient)


def by_stage(*stores: SubjectStore) -> dict[str, SubjectStore]:
    """The stores of the stages from coregistration to tissues, by stage."""
    return dict(zip(STAGES, stores, strict=True))


STAGES = ("coregister", "brain", "bias", "standardize", "grid", "atlas", "tissues")


def _jobs(
    cohort: pd.DataFrame, stores: Stores, kept: Mapping[str, Mapping[str, str]], **drawn: Any
) -> dict[str, QualityJob]:
    raw = cohort.set_index(["study", "sequence"])["path"]
    jobs = {}
    for study in cohort["study"].unique():
        if study in kept["coregister"]:
            there = {stage: store for stage, store in stores.items() if study in kept[stage]}
            reference = reference_of(stores["coregister"], study)
            jobs[study] = QualityJob(study, str(raw[study, reference]), there, reference, **drawn)
    return jobs
