"""What each stage does to one study: read its volumes, call the imaging room, hand back a result.

Each function takes one picklable job, so that a worker process can run it, and loads the volumes itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from lesionlab.imaging.anatomy.atlas import AtlasOptions, align_template, load_template
from lesionlab.imaging.anatomy.brain import BrainOptions, apply_mask, extract_brain
from lesionlab.imaging.anatomy.group_template import build_template
from lesionlab.imaging.anatomy.tissue import TissueOptions, segment_tissues
from lesionlab.imaging.grid import labels_to_grid, make_grid
from lesionlab.imaging.intensity.bias import BiasOptions, correct_study
from lesionlab.imaging.intensity.intensity_map import IntensityMap
from lesionlab.imaging.intensity.landmarks import Landmarks, LandmarkSet, landmarks_file, read_landmarks
from lesionlab.imaging.intensity.standardize import StandardizeOptions, fit_landmarks, standardize
from lesionlab.imaging.raw_to_grid import image_on_grid
from lesionlab.imaging.registration.coregistration import coregister
from lesionlab.imaging.registration.template_space import load_template as load_space
from lesionlab.imaging.registration.template_space import to_template
from lesionlab.imaging.study import pick_reference, sequence_of
from lesionlab.imaging.transforms import itk_transform_bytes
from lesionlab.imaging.volume import Volume
from lesionlab.pipelines.preprocess.jobs import (
    BRAIN,
    FIELD,
    LANDMARKS,
    LESION,
    REFERENCE,
    STANDARD,
    TEMPLATE,
    TO_REFERENCE,
    GridJob,
    Job,
    LandmarksJob,
    Scans,
    TemplateJob,
    reference_of,
    sequence_names,
    sequences,
)
from lesionlab.stages.subject_store import RECORD, StudyResult, SubjectStore
from lesionlab.stages.workers import run_parallel


def coregister_study(scans: Scans) -> StudyResult:
    """Every sequence, the lesion and a given brain mask on the reference sequence's grid."""
    volumes = {name: scans.scan(name) for name in scans.paths}
    lesion = scans.drawn_lesion()
    reference = pick_reference(scans.reference, scans.options.reference_fallback, list(volumes))
    drawn_on = scans.lesion_on or sequence_of("lesion", lesion, volumes, (reference,))
    done = coregister(volumes, reference, lesion, drawn_on, scans.options, scans.given_brain())
    kept = {**done.volumes, **_present(done.lesion, done.brain)}
    transforms = {name: matrix.tolist() for name, matrix in done.transforms.items()}
    record = {"transforms": transforms, REFERENCE: reference, "lesion_on": drawn_on}
    return StudyResult(kept, done.qc, record, dict(_transform_files(done.transforms)))


def _transform_files(transforms: Mapping[str, np.ndarray]) -> Iterator[tuple[str, bytes]]:
    """For antsApplyTransforms: each sequence to the reference's grid, and back."""
    for name, matrix in transforms.items():
        yield f"{name}_to_reference.mat", itk_transform_bytes(matrix)
        yield f"{name}_from_reference.mat", itk_transform_bytes(np.linalg.inv(matrix))


def _present(lesion: Volume | None, brain: Volume | None) -> dict[str, Volume]:
    masks = {LESION: lesion, BRAIN: brain}
    return {name: mask.like(mask.data.astype(np.uint8)) for name, mask in masks.items() if mask is not None}


def brain_study(job: Job[BrainOptions]) -> StudyResult:
    """The brain mask, and every sequence with exactly 0 outside it."""
    images, masks = job.images(), job.masks()
    found = extract_brain(images, job.options, masks.get(BRAIN))
    stripped = {name: apply_mask(volume, found.mask) for name, volume in images.items()}
    return StudyResult({**stripped, **masks, BRAIN: found.mask}, found.qc)


def bias_study(job: Job[BiasOptions]) -> StudyResult:
    """Every sequence without its bias field, and the logarithm of that field."""
    masks = job.masks()
    done = correct_study(job.images(), masks[BRAIN], job.options, masks.get(LESION))
    fields = {f"{FIELD}{name}": field for name, field in done.log_fields.items()}
    return StudyResult({**done.volumes, **fields, **masks}, done.qc)


def landmarks_study(job: LandmarksJob) -> StudyResult:
    """The standard scale of every sequence: learnt from training studies alone, or an earlier run's, by option."""
    if job.options.rule != "nyul":
        return StudyResult()
    if job.options.landmarks is not None:
        path = Path(job.options.landmarks)
        read_landmarks(path, job.options.exclude_lesions)
        return StudyResult(files={LANDMARKS: path.read_bytes()})
    names = sequence_names(job.source, *job.studies)
    learnt = dict(run_parallel(partial(_landmarks_of, job), {name: name for name in names}, job.engine))
    every = LandmarkSet(
        studies=tuple(job.studies),
        exclude_lesions=job.options.exclude_lesions,
        sequences={name: learnt[name] for name in names},
    )
    return StudyResult(files={LANDMARKS: landmarks_file(every)})


def _landmarks_of(job: LandmarksJob, sequence: str) -> Landmarks:
    """The landmarks of one sequence, of the studies that have it, with one volume in memory at a time."""
    studies = (
        (job.source.volume(study, sequence), masks[BRAIN], masks.get(LESION))
        for study in job.studies
        if sequence in job.source.names(study)
        for masks in (Job(job.source, study, job.options).masks(),)
    )
    return fit_landmarks(studies, job.options)


def standardize_study(job: Job[StandardizeOptions]) -> StudyResult:
    """Every sequence on the standard intensity scale, and the map that brings it there."""
    learnt: SubjectStore = job.extra["landmarks"]
    path = learnt.root / STANDARD / LANDMARKS
    landmarks = read_landmarks(path) if path.is_file() else {}
    masks = job.masks()
    done = {
        name: standardize(volume, masks[BRAIN], job.options, landmarks.get(name), masks.get(LESION))
        for name, volume in job.images().items()
    }
    qc = {f"{name}_{measure}": value for name, one in done.items() for measure, value in one.qc.items()}
    maps = {name: one.mapping.model_dump(mode="json") for name, one in done.items()}
    return StudyResult({**{name: one.volume for name, one in done.items()}, **masks}, qc, {"maps": maps})


def grid_study(job: GridJob) -> StudyResult:
    """Every sequence and mask with RAS axes on the cohort's in-plane grid, each interpolated once from its raw file."""
    brain = job.standardized.volume(job.study, BRAIN)
    laid_on, way, qc = _placed(job, brain)
    grid = make_grid(laid_on, job.options)
    on_grid = labels_to_grid(brain, grid, job.options, way)
    found = job.coregistered.record(job.study)
    to_scan = {name: np.array(one) for name, one in found["transforms"].items()}
    maps = job.standardized.record(job.study)["maps"]
    images = {
        name: image_on_grid(
            job.scans.scan(name),
            to_scan[name],
            job.unbiased.volume(job.study, f"{FIELD}{name}"),
            IntensityMap.model_validate(maps[name]),
            brain,
            grid,
            on_grid,
            job.options,
            way,
        )
        for name in job.scans.paths
    }
    masks = {BRAIN: on_grid}
    lesion = job.scans.drawn_lesion()
    if lesion is not None:
        masks[LESION] = labels_to_grid(lesion, grid, job.options, to_scan[found["lesion_on"]] @ way)
    return StudyResult({**images, **masks}, grid.qc | qc, {TO_REFERENCE: way.tolist()})


def _placed(job: GridJob, brain: Volume) -> tuple[Volume, np.ndarray, dict[str, float]]:
    """What the grid is laid upon, RAS mm of the grid -> RAS mm of the reference scan, and how good that is."""
    template = load_space(job.space.space)
    if template is None:
        return brain, np.eye(4), {}
    reference = job.coregistered.volume(job.study, reference_of(job.coregistered, job.study))
    found = to_template(reference, brain, template, job.space)
    return template.like((template.data > 0).astype(np.uint8)), found.back, found.qc


def template_study(job: TemplateJob) -> StudyResult:
    """The group template of all sequences: of training studies alone, or an earlier run's, by option."""
    if not job.options.enabled:
        return StudyResult()
    if job.options.template is not None:
        given = load_template(job.options.template, sequence_names(job.source, *job.studies))
        return StudyResult(given, record=_studies_of(Path(job.options.template)))
    template = build_template(job, job.options, each=job.each, folder=job.folder)
    return StudyResult(template.volumes, template.qc, {"studies": list(job.studies)})


def _studies_of(folder: Path) -> dict[str, list[str]]:
    """Whom an earlier run's template was built from, for the check of leakage; nothing of one that has no record."""
    path = folder / RECORD
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {"studies": known["studies"]} if "studies" in known else {}


def atlas_study(job: Job[AtlasOptions]) -> StudyResult:
    """The template brought to the study's position and size.

    The study's lesion mask is not looked at: a new patient has none, and the atlas is to lie there as it lies here.
    """
    template = sequences(job.extra["template"], TEMPLATE)
    if not template:
        return StudyResult()
    aligned = align_template(template, job.images(), job.options)
    return StudyResult(aligned.volumes, aligned.qc)


def tissue_study(job: Job[TissueOptions]) -> StudyResult:
    """Probabilities of CSF, GM and WM."""
    if not job.options.enabled:
        return StudyResult()
    masks = job.masks()
    result = segment_tissues(job.images(), masks[BRAIN], job.options, masks.get(LESION))
    return StudyResult(result.maps, result.qc)
