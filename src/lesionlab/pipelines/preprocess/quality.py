"""Quality control of the preprocessing: what all measures say together, and the page that shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from lesionlab.imaging.quality import profile_distances
from lesionlab.imaging.quality.limits import HELD_BACK, MEASURE_COLUMNS, QCOptions, flags, judged_measures
from lesionlab.imaging.quality.measures import with_ratios
from lesionlab.imaging.quality.profiles import Profile
from lesionlab.parameters import CohortOptions
from lesionlab.pipelines.preprocess.quality_stages import OF_STAGE, PROFILES, STRIP, Stores, by_stage
from lesionlab.reporting.pages import file_name
from lesionlab.reporting.qc_page import StudyQC, ranking, render_qc, summarise
from lesionlab.stages.subject_store import SubjectStore

STRIPS_FOLDER = "strips"  # of the page's pictures, beside it


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
    quality: SubjectStore,
    strips: SubjectStore,
    cohort_options: CohortOptions,
    lesion_classes: list[str],
    options: QCOptions,
) -> tuple[pd.DataFrame, pd.DataFrame, str, dict[str, Any], dict[str, Path]]:
    """The measures of every stage, the flags, the page, its figures, and the pictures that lie beside it."""
    stores = by_stage(coregistered, brains, unbiased, standardized, gridded, atlases, tissues)
    training = cohort.loc[cohort["split"] == "train", "study"].unique()
    judged = judged_measures(all_measures(cohort, stores, quality), options, training)
    found = flags(judged, options)
    pictures = {
        study: strips.root / study / STRIP for study in strips.studies() if (strips.root / study / STRIP).is_file()
    }
    studies = list(_studies(cohort, quarantine, {**stores, "quality": quality, "strips": strips}, pictures))
    page = render_qc(studies, judged, found, options, cohort=cohort_options.name, lesion_classes=lesion_classes)
    order = ranking(studies, judged, found)["study"]
    beside = {_picture_name(study): pictures[study] for study in order if study in pictures}
    return judged[MEASURE_COLUMNS], found, page, asdict(summarise(studies, judged, found)), beside


def all_measures(cohort: pd.DataFrame, stores: Stores, quality: SubjectStore) -> pd.DataFrame:
    """Every measure of every study, held back or not: those the stages report, their quotients, and the rest."""
    subjects = dict(zip(cohort["study"], cohort["subject"], strict=True))
    rows = [*_reported(stores), *_measured(quality), *_distances(quality)]
    table = pd.DataFrame(rows, columns=["study", "stage", "measure", "value"]).astype({"value": float})
    # What a stage says of itself comes first: where both measure the same, it counts.
    table = table.drop_duplicates(["study", "stage", "measure"])
    table = table[table["study"].isin(subjects)]
    order = {study: at for at, study in enumerate(subjects)}
    table = table.sort_values("study", key=lambda names: names.map(order), kind="stable")
    return table.assign(subject=table["study"].map(subjects))[MEASURE_COLUMNS].reset_index(drop=True)


Row = tuple[str, str, str, float]


def _reported(stores: Stores) -> Iterator[Row]:
    for stage, store in stores.items():
        for study in store.kept():
            for name, value in with_ratios(store.measures(study)).items():
                yield study, stage, name, value


def _measured(quality: SubjectStore) -> Iterator[Row]:
    for study in quality.studies():
        for name, value in quality.measures(study).items():
            stage, _, measure = name.partition(OF_STAGE)
            yield study, stage, measure, value


def _distances(quality: SubjectStore) -> Iterator[Row]:
    """The distance of every study's profiles from the cohort's median ones."""
    found: dict[str, dict[str, Profile]] = {}
    for study in quality.studies():
        for name, profile in quality.record(study)[PROFILES].items():
            found.setdefault(name, {})[study] = profile
    for name, profiles in found.items():
        stage, _, measure = name.partition(OF_STAGE)
        for study, distance in profile_distances(profiles).items():
            yield study, stage, measure, distance


def _studies(
    cohort: pd.DataFrame, quarantine: pd.DataFrame, stores: Stores, pictures: Mapping[str, Path]
) -> Iterator[StudyQC]:
    failures = pd.concat([stage_failures(stage, store) for stage, store in stores.items()], ignore_index=True)
    about = cohort.drop_duplicates("study")
    for study, subject, split in zip(about["study"], about["subject"], about["split"], strict=True):
        reasons = tuple(failures.loc[failures["study"] == study, "reason"])
        held = any(HELD_BACK in reason for reason in reasons)
        status = "held back" if held else "failed" if reasons else "ok"
        picture = f"{STRIPS_FOLDER}/{_picture_name(study)}" if study in pictures else ""
        yield StudyQC(study, subject, split, picture, status, reasons)
    for study, faults in quarantine.groupby("study"):
        yield StudyQC(str(study), str(faults["subject"].iloc[0]), "", "", "quarantined", tuple(faults["reason"]))


def stage_failures(stage: str, store: SubjectStore) -> pd.DataFrame:
    """Whom a stage left out, and why: columns ``study, reason``."""
    left_out = store.failures()
    return left_out.assign(reason=f"{stage}: " + left_out["reason"].astype(str))


def _picture_name(study: str) -> str:
    return f"{file_name(study)}.webp"
