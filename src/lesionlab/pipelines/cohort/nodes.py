"""Scans -> cohort table -> split, as nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from lesionlab.cohort.checks import CheckOptions, read_cohort
from lesionlab.cohort.layout import find_layout
from lesionlab.cohort.oddities import find_oddities
from lesionlab.cohort.splits import SplitOptions, check_classes_to_learn, split_record, split_subjects
from lesionlab.datasets.folders import Folders
from lesionlab.errors import InputError
from lesionlab.imaging.phantom import PhantomOptions, make_subject, subject_files, subject_name
from lesionlab.parameters import CohortOptions, RunOptions
from lesionlab.pipelines.running import run
from lesionlab.reporting.cohort_page import render_cohort
from lesionlab.stages.fingerprints import cohort_fingerprint, fingerprint_of
from lesionlab.stages.subject_store import StudyResult

PHANTOM = "phantom"
SUFFIX = ".nii.gz"


def provide_scans(
    folders: Folders, cohort: CohortOptions, phantom: PhantomOptions, run_options: RunOptions, seed: int
) -> dict[str, Any]:
    """Where the scans lie: the user's folder, or the phantom's, made here where it is not there yet.

    Raises:
        InputError: the cohort is to be read from files, but no root is given.
    """
    if cohort.source == PHANTOM:
        root = folders.scans / PHANTOM
        jobs = {subject_name(index): (index, phantom, seed) for index in range(phantom.subjects)}
        inputs = {name: fingerprint_of(job) for name, job in jobs.items()}
        run(root, jobs, phantom_study, [make_subject], inputs, None, run_options, seed)
        return {"root": str(root), "source": PHANTOM}
    if cohort.root is None:
        raise InputError(
            "the cohort's folder is not given",
            given="cohort.root is empty",
            allowed="a folder that holds the scans",
            cure="set cohort.root in the experiment's parameters.yml, or pass --params=cohort.root=/path/to/scans",
        )
    return {"root": cohort.root, "source": cohort.source}


def phantom_study(job: tuple[int, PhantomOptions, int]) -> StudyResult:
    """One phantom subject: its scans, its lesion mask, and the truth about it."""
    subject = make_subject(*job)
    transforms = {name: matrix.tolist() for name, matrix in subject.transforms.items()}
    volumes = {name.removesuffix(SUFFIX): volume for name, volume in subject_files(subject).items()}
    return StudyResult(volumes, record={"transforms": transforms})


def find_studies(
    scans: dict[str, Any],
    cohort: CohortOptions,
    layouts: dict[str, Any],
    sequences: list[str],
    lesion_classes: list[str],
    run_options: RunOptions,
) -> tuple[pd.DataFrame, ...]:
    """The checked studies, their lesion volumes by class, those quarantined, what every file is, what each study has.

    Raises:
        InputError: nothing fits the layout, no study can be used, or no mask holds a lesion where one is required.
    """
    options = CheckOptions(
        require_lesions=cohort.require_lesions,
        workers=run_options.processes,
        min_slices=cohort.min_slices,
        max_scan_mb=cohort.max_scan_mb,
    )
    root, layout = Path(scans["root"]), find_layout(layouts, cohort.layout)
    found = read_cohort(root, layout, sequences, lesion_classes, options, cohort.may_lack)
    return found.table, found.lesions, found.quarantine, found.scans, found.presence


def describe_cohort(
    scans: pd.DataFrame,
    presence: pd.DataFrame,
    quarantine: pd.DataFrame,
    cohort: CohortOptions,
    layouts: dict[str, Any],
) -> tuple[pd.DataFrame, str]:
    """What is odd in the cohort, and the page that shows what was found, missing and odd."""
    oddities = find_oddities(scans)
    lesion = find_layout(layouts, cohort.layout).lesion
    classes = dict(lesion.codes) if lesion is not None else {}
    return oddities, render_cohort(scans, presence, quarantine, oddities, cohort=cohort.name, classes=classes)


def split(studies: pd.DataFrame, lesions: pd.DataFrame, options: SplitOptions) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The cohort with its split, and the split written down by subject.

    Raises:
        InputError: it cannot be split so, or no training subject has a lesion class that others have.
    """
    table = split_subjects(studies, options)
    check_classes_to_learn(table, lesions, options)
    if mlflow.active_run():
        mlflow.set_tag("cohort_fingerprint", cohort_fingerprint(table))
    return table, split_record(table, options)
