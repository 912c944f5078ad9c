"""How close each preprocessing stage came to the phantom's truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from lesionlab.evaluation.sections import Section, Table
from lesionlab.figures import formats
from lesionlab.imaging.anatomy.tissue import TISSUES
from lesionlab.imaging.formats.nifti import read_header
from lesionlab.imaging.resample import resample_like
from lesionlab.imaging.volume import Volume
from lesionlab.metrics import truth as measure
from lesionlab.stages.subject_store import SubjectStore

LESION_LABEL = 2
NOTES: Mapping[str, str] = {
    "tre": "target registration error over the brain: where the found transform sends a point, against its true place",
    "log_field_correlation": "correlation of the logarithms of found and true bias field inside the brain",
    "wm_spread_ratio": "spread of white matter's mean between subjects, after standardization over before",
    "correlation": "the aligned atlas against a test subject's own image, where its brain has no lesion",
}
_LEAD = (
    "The phantom knows where each scan lay, where the brain ends, which bias was added and which tissue is where. "
    "Every subject's figures are in ../qc/truth.csv."
)
_FIGURES = ("mean", "median", "smallest", "largest", "subjects")

White = dict[str, dict[str, list[float]]]  # by sequence, before and after: white matter's mean, the brain's range


@dataclass(frozen=True)
class Truth:
    """The phantom's truth about one subject, on its reference scan's grid."""

    store: SubjectStore
    study: str

    def volume(self, name: str) -> Volume:
        """What is true of it: ``brain``, ``label``, a tissue, ``bias_<sequence>``."""
        return self.store.volume(self.study, f"truth/{name}")

    @cached_property
    def tissues(self) -> dict[str, Volume]:
        """Each tissue's share of the voxels."""
        return {name: self.volume(name) for name in TISSUES}

    @cached_property
    def normal(self) -> Volume:
        """Where the brain has no lesion."""
        label = self.volume("label")
        return label.like(((label.data > 0) & (label.data < LESION_LABEL)).astype(np.uint8))


def registration(
    known: Truth, found: Mapping[str, np.ndarray], scans: Mapping[str, str], reference: str
) -> dict[str, float]:
    """Target registration error over the brain, by moving sequence, in mm and in voxels of its scan.

    Args:
        known: the truth.
        found: sequence to the transform found, ``(4, 4)``.
        scans: sequence to its file.
        reference: the sequence that did not move.
    """
    brain = known.volume("brain")
    points = measure.voxel_centres(brain.data > 0, brain.affine)
    true = {name: np.array(matrix) for name, matrix in known.store.record(known.study)["transforms"].items()}
    scores = {}
    for name in sorted(set(scans) - {reference}):
        _, affine = read_header(scans[name])
        scores[f"tre_mm_{name}"] = measure.target_registration_error(found[name], true[name], points)
        scores[f"tre_voxels_{name}"] = measure.target_registration_error_voxels(found[name], true[name], points, affine)
    return scores


def bias(known: Truth, fields: Mapping[str, Volume]) -> dict[str, float]:
    """Correlation of the logarithms of found (``fields``) and true field inside the true brain, by sequence."""
    inside = known.volume("brain").data
    return {
        f"log_field_correlation_{name}": measure.bias_correlation(
            field.data, np.log(known.volume(f"bias_{name}").data), inside
        )
        for name, field in fields.items()
    }


def atlas(
    known: Truth, images: Mapping[str, Volume], template: Mapping[str, Volume], way: np.ndarray
) -> dict[str, float]:
    """Correlation of the aligned template with a left-out subject's images, where its brain has no lesion.

    ``way``: ``(4, 4)``, RAS mm of the images' grid to RAS mm of the reference scan.
    """
    normal = resample_like(known.normal, next(iter(images.values())), matrix=way, interpolation="nearest")
    return {
        f"correlation_{name}": measure.image_correlation(template[name].data, image.data, normal.data)
        for name, image in images.items()
        if name in template
    }


def tissues(known: Truth, found: Mapping[str, Volume], brain: Volume, way: np.ndarray) -> dict[str, float]:
    """Dice of each tissue where the true brain has no lesion and the found brain mask agrees; nothing without any."""
    if not found:
        return {}
    normal = resample_like(known.normal, brain, matrix=way, interpolation="nearest")
    true = {name: resample_like(volume, brain, matrix=way).data for name, volume in known.tissues.items()}
    inside = (normal.data > 0) & (brain.data > 0)
    dice = measure.tissue_dice({name: found[name].data for name in TISSUES}, true, inside)
    return {f"dice_{name}": value for name, value in dice.items()}


def white_matter(known: Truth, brain: np.ndarray, images: Mapping[str, Mapping[str, Volume]]) -> White:
    """White matter's mean and the brain's intensity range; ``images``: sequence to its volumes before and after."""
    white = np.where(brain > 0, known.tissues["WM"].data, 0)
    return {
        name: {
            when: [measure.white_matter_mean(image.data, white), measure.intensity_range(image.data, brain)]
            for when, image in both.items()
        }
        for name, both in images.items()
    }


def spread(white: Iterable[White]) -> Iterator[tuple[str, float]]:
    """The spread of white matter's mean between subjects, after standardization over before, by sequence."""
    subjects = list(white)
    for name in dict.fromkeys(name for own in subjects for name in own):
        both = [own[name] for own in subjects if name in own]
        if len(both) > 1:
            before, after = (np.array([own[when] for own in both]).T for when in ("before", "after"))
            yield f"wm_spread_ratio_{name}", measure.spread_ratio(before[0], after[0], before[1], after[1])


def table(rows: pd.DataFrame, white: Iterable[White]) -> pd.DataFrame:
    """``TRUTH_COLUMNS`` from rows ``study, measure, value`` with measures ``<stage>/<measure>``, and the spread."""
    names = rows["measure"].str.partition("/")
    named = rows.assign(stage=names[0], subject=rows["study"], measure=names[2])[measure.TRUTH_COLUMNS]
    of_all = measure.truth_rows("standardize", measure.EVERYBODY, dict(spread(white)))
    return pd.concat([named, of_all], ignore_index=True)


def section(truth: pd.DataFrame) -> Section:
    """Each stage's measures over the subjects; nothing where no truth is known."""
    if truth.empty:
        return Section("truth", "Preprocessing against the truth")
    summed = Table(summary(truth), numeric=_FIGURES)
    return Section("truth", "Preprocessing against the truth", _LEAD, points=list(NOTES.items()), tables=[summed])


def summary(truth: pd.DataFrame) -> pd.DataFrame:
    """The scores against the truth by stage and measure, as text: mean, median, smallest, largest, subjects."""
    rows = []
    for (stage, name), own in truth.groupby(["stage", "measure"], sort=False):
        values = own["value"]
        decimals = formats.decimals_for([values.min(), values.max()])
        figures = {"mean": values.mean(), "median": values.median(), "smallest": values.min(), "largest": values.max()}
        shown = {each: formats.number(value, decimals) for each, value in figures.items()}
        rows.append({"stage": stage, "measure": name, **shown, "subjects": _counted(own["subject"])})
    return pd.DataFrame(rows)


def _counted(subjects: pd.Series) -> str:
    """How many subjects; of a measure of the cohort as a whole, that it is of all."""
    return measure.EVERYBODY if set(subjects) == {measure.EVERYBODY} else str(len(subjects))
