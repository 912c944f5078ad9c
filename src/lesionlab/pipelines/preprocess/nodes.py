"""The preprocessing stages as nodes: jobs for the studies in, a complete store out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lesionlab.data.fingerprints import file_fingerprint, fingerprint_of, study_fingerprints
from lesionlab.data.layout import find_layout
from lesionlab.data.lesions import read_lesion
from lesionlab.data.limits import QCOptions, judge
from lesionlab.data.subject_store import StudyResult, SubjectStore
from lesionlab.datasets.folders import Folders
from lesionlab.errors import InputError
from lesionlab.imaging import atlas, bias, brain, grid, group_template, registration, tissue
from lesionlab.imaging import standardize as standardizing
from lesionlab.imaging.atlas import AtlasOptions
from lesionlab.imaging.bias import BiasOptions
from lesionlab.imaging.brain import BrainOptions
from lesionlab.imaging.grid import GridOptions
from lesionlab.imaging.nifti import read_volume
from lesionlab.imaging.raw_to_grid import image_on_grid
from lesionlab.imaging.registration import CoregisterOptions
from lesionlab.imaging.standardize import StandardizeOptions
from lesionlab.imaging.template_space import TemplateOptions, to_template
from lesionlab.imaging.tissue import TissueOptions
from lesionlab.parameters import CohortOptions, RunOptions
from lesionlab.pipelines.preprocess import stages
from lesionlab.pipelines.preprocess.stages import Job
from lesionlab.pipelines.running import run

Science = Sequence[Callable[..., Any]]


def coregister(
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
    """Every sequence on the grid of the reference sequence."""
    jobs = _scans(cohort, options, cohort_options, layouts, reference, lesion_classes)
    layout, classes = find_layout(layouts, cohort_options.layout), tuple(lesion_classes)
    inputs = {study: fingerprint_of(key, layout, classes) for study, key in study_fingerprints(cohort).items()}
    science: Science = [registration.coregister, read_lesion, read_volume]
    root = folders.shared_stage("coregister")
    return _run(root, jobs, stages.coregister_study, science, inputs, [options, reference], quality, run_options)


def extract_brain(
    source: SubjectStore, folders: Folders, options: BrainOptions, quality: QCOptions, run_options: RunOptions
) -> SubjectStore:
    """Brain masks, and sequences without skull."""
    jobs, inputs, science = _jobs(source, options), source.fingerprints(), [brain.extract_brain]
    root = folders.shared_stage("brain")
    return _run(root, jobs, stages.brain_study, science, inputs, options, quality, run_options)


def correct_bias(
    source: SubjectStore, folders: Folders, options: BiasOptions, quality: QCOptions, run_options: RunOptions
) -> SubjectStore:
    """Sequences without bias field."""
    jobs, inputs, science = _jobs(source, options), source.fingerprints(), [bias.correct_study]
    root = folders.shared_stage("bias")
    return _run(root, jobs, stages.bias_study, science, inputs, options, quality, run_options)


def learn_landmarks(
    source: SubjectStore, cohort: pd.DataFrame, folders: Folders, options: StandardizeOptions, run_options: RunOptions
) -> SubjectStore:
    """The standard intensity scale: learnt from the training split, or taken from an earlier run."""
    learns = options.rule == "nyul" and options.landmarks is None
    training = training_studies(source, cohort) if learns else []
    job = stages.LandmarksJob(source, training, options, run_options.engine)
    science: Science = [standardizing.fit_landmarks]
    root, key = folders.stage("landmarks"), _key(source, training)
    if options.landmarks is not None:
        key = file_fingerprint(options.landmarks)
    return _run_once(root, stages.STANDARD, job, stages.landmarks_study, science, key, run_options)


def standardize(
    source: SubjectStore,
    landmarks: SubjectStore,
    folders: Folders,
    options: StandardizeOptions,
    quality: QCOptions,
    run_options: RunOptions,
) -> SubjectStore:
    """Sequences on the standard intensity scale."""
    jobs, learnt = _jobs(source, options, {"landmarks": landmarks}), landmarks.fingerprints()
    inputs = {study: fingerprint_of(key, learnt) for study, key in source.fingerprints().items()}
    science, root = [standardizing.standardize], folders.stage("standardize")
    return _run(root, jobs, stages.standardize_study, science, inputs, options, quality, run_options)


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
        study: stages.GridJob(scans[study], study, coregistered, unbiased, standardized, space, options)
        for study in inputs
    }
    science: Science = [grid.make_grid, image_on_grid, read_lesion, to_template]
    key = [options, space, file_fingerprint(space.space)]
    return _run(folders.stage("grid"), jobs, stages.grid_study, science, inputs, key, quality, run_options)


def build_atlas(
    source: SubjectStore, cohort: pd.DataFrame, folders: Folders, options: AtlasOptions, run_options: RunOptions
) -> SubjectStore:
    """The group template of the training studies, or one of an earlier run."""
    learns = options.enabled and options.template is None
    studies = training_studies(source, cohort) if learns else source.studies()
    folder = folders.results if run_options.scheduler else None
    job = stages.TemplateJob(source, studies, options, run_options.engine, folder)
    science: Science = [group_template.build_template, atlas.load_template]
    key = _key(source, studies if learns else [])
    return _run_once(folders.stage("template"), stages.TEMPLATE, job, stages.template_study, science, key, run_options)


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
    own = template.fingerprints()
    inputs = {study: fingerprint_of(key, own) for study, key in source.fingerprints().items()}
    science, root = [atlas.align_template], folders.stage("atlas")
    return _run(root, jobs, stages.atlas_study, science, inputs, options, quality, run_options)


def segment_tissues(
    source: SubjectStore, folders: Folders, options: TissueOptions, quality: QCOptions, run_options: RunOptions
) -> SubjectStore:
    """Tissue probabilities of each study."""
    jobs, inputs, science = _jobs(source, options), source.fingerprints(), [tissue.segment_tissues]
    root = folders.stage("tissues")
    return _run(root, jobs, stages.tissue_study, science, inputs, options, quality, run_options)


def training_studies(source: SubjectStore, cohort: pd.DataFrame) -> list[str]:
    """The studies of the training split that the stage before left, sorted: all that atlas and landmarks may see.

    Raises:
        InputError: none is left.
    """
    training = set(cohort.loc[cohort["split"] == "train", "study"])
    left = [study for study in source.studies() if study in training]
    if not left:
        raise InputError(
            "no training study is left",
            given=f"{len(training)} in the split, none of them in {source.root.name}",
            allowed="at least one",
            cure="mend the training studies that failed, or change the split",
        )
    return left


def _scans(
    cohort: pd.DataFrame,
    options: CoregisterOptions,
    cohort_options: CohortOptions,
    layouts: dict[str, Any],
    reference: str,
    lesion_classes: list[str],
) -> dict[str, stages.Scans]:
    """Each study's files and how to read them."""
    lesion, classes = find_layout(layouts, cohort_options.layout).lesion, tuple(lesion_classes)
    studies = cohort.groupby("study", sort=True)
    return {str(study): stages.Scans(rows, reference, lesion, classes, options) for study, rows in studies}


def _jobs(source: SubjectStore, options: Any, extra: Mapping[str, Any] | None = None) -> dict[str, Job[Any]]:
    return {study: Job(source, study, options, extra or {}) for study in source.studies()}


def _run(
    root: Path,
    jobs: Mapping[str, Any],
    work: Callable[[Any], StudyResult],
    science: Science,
    inputs: Mapping[str, str],
    options: object,
    quality: QCOptions,
    run_options: RunOptions,
) -> SubjectStore:
    """A stage over its studies; those whose measures break a limit that gates are held back."""
    return run(root, jobs, work, science, inputs, options, run_options, judge=judge(root.name, quality))


def _run_once(
    root: Path,
    name: str,
    job: stages.LandmarksJob | stages.TemplateJob,
    work: Callable[[Any], StudyResult],
    science: Science,
    key: str,
    run_options: RunOptions,
) -> SubjectStore:
    """A stage with one entry for all studies, whose job spreads itself over the workers."""
    return run(root, {name: job}, work, science, {name: key}, job.options, run_options.alone)


def _key(source: SubjectStore, studies: list[str]) -> str:
    """A fingerprint of a set of studies."""
    fingerprints = source.fingerprints()
    return fingerprint_of({study: fingerprints[study] for study in studies})
