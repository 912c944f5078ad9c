"""What the stages get to work on: one study's files, or what the stage before kept of it.

Jobs travel to worker processes: they hold paths, stores and options, and load volumes when they are asked to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd

from lesionlab.cohort.layout import LesionLayout
from lesionlab.cohort.lesions import read_lesion
from lesionlab.imaging.anatomy.atlas import AtlasOptions
from lesionlab.imaging.anatomy.warped_study import Member
from lesionlab.imaging.formats.nifti import read_volume
from lesionlab.imaging.grid import GridOptions
from lesionlab.imaging.intensity.standardize import StandardizeOptions
from lesionlab.imaging.registration.coregistration import CoregisterOptions
from lesionlab.imaging.registration.template_space import TemplateOptions
from lesionlab.imaging.volume import Volume
from lesionlab.stages.engine import Engine
from lesionlab.stages.subject_store import SubjectStore
from lesionlab.stages.workers import run_parallel

BRAIN, LESION, FIELD = "brain", "lesion", "field_"
MASKS = (BRAIN, LESION)

#: The one entry of the stages that make something for all studies together.
TEMPLATE, STANDARD = "template", "standard"
LANDMARKS = "landmarks.json"
TO_REFERENCE = "to_reference"
REFERENCE = "reference"  # in the record of co-registration

Options = TypeVar("Options")


@dataclass(frozen=True)
class Scans:
    """Where one study's files lie, and how to read them; the reference is the cohort's."""

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


def sequence_names(store: SubjectStore, *studies: str) -> list[str]:
    """The names of the sequences a stage keeps of a study, or of any of several, sorted."""
    names = {name for study in studies for name in store.names(study)}
    return sorted(name for name in names if name not in MASKS and not name.startswith(FIELD))


def sequences(store: SubjectStore, study: str) -> dict[str, Volume]:
    """The sequences a stage keeps of a study, without masks and bias fields."""
    return {name: store.volume(study, name) for name in sequence_names(store, study)}


@dataclass(frozen=True)
class LandmarksJob:
    """The training studies whose intensities set the standard scale."""

    source: SubjectStore
    studies: Sequence[str]
    options: StandardizeOptions
    engine: Engine


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


def reference_of(coregistered: SubjectStore, study: str) -> str:
    """The sequence of a study whose grid the others were brought to: the cohort's reference, or its fallback."""
    return str(coregistered.record(study)[REFERENCE])


def in_reference_space(gridded: SubjectStore, study: str) -> np.ndarray:
    """``(4, 4)`` RAS mm of a study's grid -> RAS mm of its reference scan; identity unless there is a common space."""
    return np.array(gridded.record(study).get(TO_REFERENCE, np.eye(4)))
