"""What each stage does to one study: read its volumes, call the imaging room, hand back a result.

Each function takes one picklable job, so that a worker process can run it, and loads the volumes itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd

from lesionlab.data.engine import Engine
from lesionlab.data.layout import LesionLayout
from lesionlab.data.lesions import read_lesion
from lesionlab.data.subject_store import StudyResult, SubjectStore
from lesionlab.data.workers import run_parallel
from lesionlab.imaging.atlas import AtlasOptions, align_template, load_template
from lesionlab.imaging.bias import BiasOptions, correct_study
from lesionlab.imaging.brain import BrainOptions, apply_mask, extract_brain
from lesionlab.imaging.grid import GridOptions, labels_to_grid, make_grid
from lesionlab.imaging.group_template import build_template
from lesionlab.imaging.intensity_map import IntensityMap
from lesionlab.imaging.landmarks import Landmarks, LandmarkSet, landmarks_file, read_landmarks
from lesionlab.imaging.nifti import read_volume
from lesionlab.imaging.raw_to_grid import image_on_grid
from lesionlab.imaging.registration import CoregisterOptions, coregister
from lesionlab.imaging.standardize import StandardizeOptions, fit_landmarks, standardize
from lesionlab.imaging.template_space import TemplateOptions, to_template
from lesionlab.imaging.template_space import load_template as load_space
from lesionlab.imaging.tissue import TissueOptions, segment_tissues
from lesionlab.imaging.transforms import itk_transform_bytes
from lesionlab.imaging.volume import Volume
from lesionlab.imaging.warped_study import Member

BRAIN, LESION, FIELD = "brain", "lesion", "field_"
MASKS = (BRAIN, LESION)

#: The one entry of the stages that make something for all studies together.
TEMPLATE, STANDARD = "template", "standard"
LANDMARKS = "landmarks.json"
TO_REFERENCE = "to_reference"

Options = TypeVar("Options")


@dataclass(frozen=True)
class Scans:
    """Where one study's files lie, and how to read them."""

    rows: pd.DataFrame
    reference: str
    lesion: LesionLayout | None
    classes: tuple[str, ...]
    options: CoregisterOptions

    @property
    def paths(self) -> dict[str, str]:
        """The file of each sequence."""
        return dict(zip(self.rows["sequence"].astype(str), self.rows["path"].astype(str), strict=True))

    @property
    def lesion_on(self) -> str | None:
        """The sequence on whose grid the lesion was drawn."""
        return self._first["lesion_on"] or None

    def files(self) -> list[Path]:
        """All its files: what its memory is judged by before they are read."""
        masks = (self._first["lesion_path"], self._first["brain_path"])
        return [Path(path) for path in (*self.rows["path"], *masks) if path]

    def scan(self, sequence: str) -> Volume:
        """A sequence as the scanner gave it."""
        return read_volume(self.paths[sequence], subject=self._subject)

    def drawn_lesion(self) -> Volume | None:
        """The lesion in the project's codes, on the grid it was drawn on; None where there is no mask."""
        if self.lesion is None or not self._first["lesion_path"]:
            return None
        codes, ignore = self.lesion.codes, self.lesion.ignore
        return read_lesion(self._first["lesion_path"], codes, self.classes, ignore=ignore, subject=self._subject)

    def given_brain(self) -> Volume | None:
        """The cohort's own brain mask, None where there is none."""
        path = self._first["brain_path"]
        return read_volume(path, subject=self._subject) if path else None

    @property
    def _first(self) -> pd.Series:
        return self.rows.iloc[0]

    @property
    def _subject(self) -> str:
        return str(self._first["subject"])


@dataclass(frozen=True)
class Job(Generic[Options]):
    """One study of the stage before, and the options of this one."""

    source: SubjectStore
    study: str
    options: Options
    extra: Mapping[str, Any] = field(default_factory=dict)

    def files(self) -> list[Path]:
        """What the stage before kept of the study."""
        return [self.source.path(self.study, name) for name in self.source.names(self.study)]

    def images(self) -> dict[str, Volume]:
        """The study's sequences."""
        return sequences(self.source, self.study)

    def masks(self) -> dict[str, Volume]:
        """The study's brain mask and lesion, those there are."""
        return {name: self.source.volume(self.study, name) for name in MASKS if name in self.source.names(self.study)}


def sequence_names(store: SubjectStore, study: str) -> list[str]:
    """The names of the sequences a stage keeps of a study, sorted."""
    return [name for name in store.names(study) if name not in MASKS and not name.startswith(FIELD)]


def sequences(store: SubjectStore, study: str) -> dict[str, Volume]:
    """The sequences a stage keeps of a study, without masks and bias fields."""
    return {name: store.volume(study, name) for name in sequence_names(store, study)}


def coregister_study(scans: Scans) -> StudyResult:
    """Every sequence, the lesion and a given brain mask on the reference sequence's grid."""
    volumes = {name: scans.scan(name) for name in scans.paths}
    done = coregister(
        volumes, scans.reference, scans.drawn_lesion(), scans.lesion_on, scans.options, scans.given_brain()
    )
    volumes = {**done.volumes, **_present(done.lesion, done.brain)}
    transforms = {name: matrix.tolist() for name, matrix in done.transforms.items()}
    return StudyResult(volumes, done.qc, {"transforms": transforms}, dict(_transform_files(done.transforms)))


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


@dataclass(frozen=True)
class LandmarksJob:
    """The training studies whose intensities set the standard scale."""

    source: SubjectStore
    studies: Sequence[str]
    options: StandardizeOptions
    engine: Engine


def landmarks_study(job: LandmarksJob) -> StudyResult:
    """The standard scale of every sequence: learnt from training studies alone, or an earlier run's, by option."""
    if job.options.rule != "nyul":
        return StudyResult()
    if job.options.landmarks is not None:
        path = Path(job.options.landmarks)
        read_landmarks(path, job.options.exclude_lesions)
        return StudyResult(files={LANDMARKS: path.read_bytes()})
    names = sequence_names(job.source, job.studies[0])
    learnt = dict(run_parallel(partial(_landmarks_of, job), {name: name for name in names}, job.engine))
    every = LandmarkSet(
        studies=tuple(job.studies),
        exclude_lesions=job.options.exclude_lesions,
        sequences={name: learnt[name] for name in names},
    )
    return StudyResult(files={LANDMARKS: landmarks_file(every)})


def _landmarks_of(job: LandmarksJob, sequence: str) -> Landmarks:
    """The landmarks of one sequence, with one volume in memory at a time."""
    studies = (
        (job.source.volume(study, sequence), masks[BRAIN], masks.get(LESION))
        for study in job.studies
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


@dataclass(frozen=True)
class GridJob:
    """One study's raw scans, and what the stages found out about them on the reference scan's grid."""

    scans: Scans
    study: str
    coregistered: SubjectStore
    unbiased: SubjectStore
    standardized: SubjectStore
    space: TemplateOptions
    options: GridOptions

    def files(self) -> list[Path]:
        """All files of its scans."""
        return self.scans.files()


def grid_study(job: GridJob) -> StudyResult:
    """Every sequence and mask with RAS axes on the cohort's in-plane grid, each interpolated once from its raw file."""
    brain = job.standardized.volume(job.study, BRAIN)
    laid_on, way, qc = _placed(job, brain)
    grid = make_grid(laid_on, job.options)
    on_grid = labels_to_grid(brain, grid, job.options, way)
    to_scan = {name: np.array(one) for name, one in job.coregistered.record(job.study)["transforms"].items()}
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
        drawn_on = job.scans.lesion_on or job.scans.reference
        masks[LESION] = labels_to_grid(lesion, grid, job.options, to_scan[drawn_on] @ way)
    return StudyResult({**images, **masks}, grid.qc | qc, {TO_REFERENCE: way.tolist()})


def _placed(job: GridJob, brain: Volume) -> tuple[Volume, np.ndarray, dict[str, float]]:
    """What the grid is laid upon, RAS mm of the grid -> RAS mm of the reference scan, and how good that is."""
    template = load_space(job.space.space)
    if template is None:
        return brain, np.eye(4), {}
    reference = job.coregistered.volume(job.study, job.scans.reference)
    found = to_template(reference, brain, template, job.space)
    return template.like((template.data > 0).astype(np.uint8)), found.back, found.qc


def in_reference_space(gridded: SubjectStore, study: str) -> np.ndarray:
    """``(4, 4)`` RAS mm of a study's grid -> RAS mm of its reference scan; identity unless there is a common space."""
    return np.array(gridded.record(study).get(TO_REFERENCE, np.eye(4)))


@dataclass(frozen=True)
class TemplateJob:
    """The training studies an atlas is made of; the studies themselves stay in their files until they are worked on.

    Attributes:
        source: the stage before.
        studies: of the training split.
        options: see :class:`AtlasOptions`.
        engine: what the registrations of a round are spread over.
        folder: for files on the way, where every worker sees it; null: a temporary one of this machine.
    """

    source: SubjectStore
    studies: Sequence[str]
    options: AtlasOptions
    engine: Engine
    folder: Path | None = None

    @property
    def names(self) -> Sequence[str]:
        """The studies, in the order in which they are averaged."""
        return self.studies

    def load(self, name: str) -> Member:
        """Read one study."""
        job = Job(self.source, name, self.options)
        return Member(job.images(), job.masks().get(LESION))

    def each(self, work: Callable[[Any], Any], tasks: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Spread work over the engine."""
        return run_parallel(work, tasks, self.engine)


def template_study(job: TemplateJob) -> StudyResult:
    """The group template of all sequences: of training studies alone, or an earlier run's, by option."""
    if not job.options.enabled:
        return StudyResult()
    if job.options.template is not None:
        return StudyResult(load_template(job.options.template, sequence_names(job.source, job.studies[0])))
    template = build_template(job, job.options, each=job.each, folder=job.folder)
    return StudyResult(template.volumes, template.qc, {"studies": list(job.studies)})


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
