"""The preprocessing stages as nodes: jobs for the studies in, a complete store out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lesionlab.cohort.layout import find_layout
from lesionlab.cohort.table import lacking
from lesionlab.datasets.folders import Folders
from lesionlab.errors import InputError
from lesionlab.imaging.anatomy.atlas import AtlasOptions
from lesionlab.imaging.anatomy.brain import BrainOptions
from lesionlab.imaging.anatomy.tissue import TissueOptions
from lesionlab.imaging.grid import GridOptions
from lesionlab.imaging.intensity.bias import BiasOptions
from lesionlab.imaging.intensity.standardize import StandardizeOptions
from lesionlab.imaging.quality.limits import QCOptions, judge
from lesionlab.imaging.registration.coregistration import CoregisterOptions
from lesionlab.imaging.registration.template_space import TemplateOptions
from lesionlab.names import listed
from lesionlab.parameters import CohortOptions, RunOptions
from lesionlab.pipelines.preprocess.jobs import GridJob, Job, LandmarksJob, Scans, TemplateJob, sequence_names
from lesionlab.pipelines.preprocess.recipes import (
    RECIPES,
    beside,
    landmarks_key,
    landmarks_learn,
    root_of,
    scan_keys,
    template_key,
    template_learns,
    training_in,
    whole_in,
)
from lesionlab.pipelines.running import run
from lesionlab.stages.fingerprints import file_fingerprint
from lesionlab.stages.subject_store import SubjectStore


def coregister(
    plan: pd.DataFrame,
    cohort: pd.DataFrame,
    folders: Folders,
    options: CoregisterOptions,
    cohort_options: CohortOptions,
    layouts: dict[str, Any],
    reference: str,
    lesion_classes: list[str],
    quality: QCOptions,
    run_options: RunOptions,
) -> SubjectStore:
    """Every sequence on the grid of the reference sequence; the plan is taken so that it is told beforehand."""
    jobs = _scans(cohort, options, cohort_options, layouts, reference, lesion_classes)
    inputs = scan_keys(cohort, find_layout(layouts, cohort_options.layout), lesion_classes)
    return _run("coregister", folders, jobs, inputs, [options, reference], quality, run_options)


def extract_brain(
    source: SubjectStore, folders: Folders, options: BrainOptions, quality: QCOptions, run_options: RunOptions
) -> SubjectStore:
    """Brain masks, and sequences without skull."""
    return _run("brain", folders, _jobs(source, options), source.fingerprints(), options, quality, run_options)


def correct_bias(
    source: SubjectStore, folders: Folders, options: BiasOptions, quality: QCOptions, run_options: RunOptions
) -> SubjectStore:
    """Sequences without bias field."""
    return _run("bias", folders, _jobs(source, options), source.fingerprints(), options, quality, run_options)


def learn_landmarks(
    source: SubjectStore, cohort: pd.DataFrame, folders: Folders, options: StandardizeOptions, run_options: RunOptions
) -> SubjectStore:
    """The standard intensity scale: learnt from the training split, or taken from an earlier run."""
    training = training_studies(source, cohort) if landmarks_learn(options) else []
    if training:
        _check_learnable(source, training)
    job = LandmarksJob(source, training, options, run_options.engine)
    return _run_once("landmarks", folders, job, landmarks_key(source.fingerprints(), training, options), run_options)


def standardize(
    source: SubjectStore,
    landmarks: SubjectStore,
    folders: Folders,
    options: StandardizeOptions,
    quality: QCOptions,
    run_options: RunOptions,
) -> SubjectStore:
    """Sequences on the standard intensity scale."""
    jobs = _jobs(source, options, {"landmarks": landmarks})
    inputs = beside(source.fingerprints(), landmarks.fingerprints())
    return _run("standardize", folders, jobs, inputs, options, quality, run_options)


def to_grid(
    cohort: pd.DataFrame,
    coregistered: SubjectStore,
    unbiased: SubjectStore,
    standardized: SubjectStore,
    folders: Folders,
    options: GridOptions,
    space: TemplateOptions,
    coregister_options: CoregisterOptions,
    cohort_options: CohortOptions,
    layouts: dict[str, Any],
    reference: str,
    lesion_classes: list[str],
    quality: QCOptions,
    run_options: RunOptions,
) -> SubjectStore:
    """All volumes on one in-plane grid, each interpolated once from its raw scan."""
    scans = _scans(cohort, coregister_options, cohort_options, layouts, reference, lesion_classes)
    inputs = standardized.fingerprints()
    jobs = {
        study: GridJob(scans[study], study, coregistered, unbiased, standardized, space, options) for study in inputs
    }
    key = [options, space, file_fingerprint(space.space)]
    return _run("grid", folders, jobs, inputs, key, quality, run_options)


def build_atlas(
    source: SubjectStore,
    cohort: pd.DataFrame,
    folders: Folders,
    sequences: list[str],
    options: AtlasOptions,
    run_options: RunOptions,
) -> SubjectStore:
    """The group template of the training studies that have every sequence, or one of an earlier run."""
    studies = _whole_training_studies(source, cohort, sequences) if template_learns(options) else source.studies()
    folder = folders.results if run_options.scheduler else None
    job = TemplateJob(source, studies, options, run_options.engine, folder)
    return _run_once(
        "template", folders, job, template_key(source.fingerprints(), studies, sequences, options), run_options
    )


def align_atlas(
    template: SubjectStore,
    source: SubjectStore,
    folders: Folders,
    options: AtlasOptions,
    quality: QCOptions,
    run_options: RunOptions,
) -> SubjectStore:
    """The template at each study's position."""
    jobs = _jobs(source, options, {"template": template})
    inputs = beside(source.fingerprints(), template.fingerprints())
    return _run("atlas", folders, jobs, inputs, options, quality, run_options)


def segment_tissues(
    source: SubjectStore, folders: Folders, options: TissueOptions, quality: QCOptions, run_options: RunOptions
) -> SubjectStore:
    """Tissue probabilities of each study."""
    return _run("tissues", folders, _jobs(source, options), source.fingerprints(), options, quality, run_options)


def training_studies(source: SubjectStore, cohort: pd.DataFrame) -> list[str]:
    """The studies of the training split that the stage before left, sorted: all that atlas and landmarks may see.

    Raises:
        InputError: none is left.
    """
    left = training_in(cohort, source.studies())
    if not left:
        split = cohort.loc[cohort["split"] == "train", "study"].nunique()
        raise InputError(
            "no training study is left",
            given=f"{split} in the split, none of them in {source.root.name}",
            allowed="at least one",
            cure="mend the training studies that failed, or change the split",
        )
    return left


def _whole_training_studies(source: SubjectStore, cohort: pd.DataFrame, sequences: list[str]) -> list[str]:
    training = training_studies(source, cohort)
    whole = whole_in(cohort, training, sequences)
    if not whole:
        lacks = lacking(cohort, sequences)
        raise InputError(
            "no training study has every sequence, so there is nothing to build the atlas of",
            given=listed(f"{study} without {listed(lacks[study])}" for study in training),
            allowed=f"at least one with {listed(sequences)}",
            cure="put a study that has them all into the training split, take what none has off `sequences`, name an "
            "earlier run's `atlas.template`, or switch the atlas off",
        )
    return whole


def _check_learnable(source: SubjectStore, training: list[str]) -> None:
    unseen = set(sequence_names(source, *source.studies())) - set(sequence_names(source, *training))
    if unseen:
        raise InputError(
            "no training study has a sequence whose intensity landmarks are to be learnt",
            given=listed(sorted(unseen)),
            allowed="at least one training study with each sequence",
            cure="put a study that has it into the training split, take it off `sequences`, or name an earlier run's "
            "`standardize.landmarks`",
        )


def _scans(
    cohort: pd.DataFrame,
    options: CoregisterOptions,
    cohort_options: CohortOptions,
    layouts: dict[str, Any],
    reference: str,
    lesion_classes: list[str],
) -> dict[str, Scans]:
    """Each study's files and how to read them."""
    lesion, classes = find_layout(layouts, cohort_options.layout).lesion, tuple(lesion_classes)
    studies = cohort.groupby("study", sort=True)
    return {str(study): Scans(rows, reference, lesion, classes, options) for study, rows in studies}


def _jobs(source: SubjectStore, options: Any, extra: Mapping[str, Any] | None = None) -> dict[str, Job[Any]]:
    return {study: Job(source, study, options, extra or {}) for study in source.studies()}


def _run(
    stage: str,
    folders: Folders,
    jobs: Mapping[str, Any],
    inputs: Mapping[str, str],
    options: object,
    quality: QCOptions,
    run_options: RunOptions,
) -> SubjectStore:
    """A stage over its studies. Those that fail, or break a limit that gates, are left out; the others go on."""
    recipe, gate = RECIPES[stage], judge(stage, quality)
    return run(
        root_of(folders, stage), jobs, recipe.work, recipe.science, inputs, options, run_options.lenient, judge=gate
    )


def _run_once(
    stage: str,
    folders: Folders,
    job: LandmarksJob | TemplateJob,
    inputs: Mapping[str, str],
    run_options: RunOptions,
) -> SubjectStore:
    """A stage with one entry for all studies, whose job spreads itself over the workers."""
    recipe, jobs = RECIPES[stage], dict.fromkeys(inputs, job)
    root, alone = root_of(folders, stage), run_options.alone
    return run(root, jobs, recipe.work, recipe.science, inputs, job.options, alone)
