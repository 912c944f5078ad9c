"""How close each stage came to the phantom's truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lesionlab.data.subject_store import SubjectStore
from lesionlab.imaging.nifti import read_volume
from lesionlab.imaging.resample import resample_like
from lesionlab.imaging.tissue import TISSUES
from lesionlab.imaging.volume import Volume
from lesionlab.metrics import truth as measure
from lesionlab.pipelines.preprocess.stages import BRAIN, FIELD, sequences

COHORT = "all"  # the "subject" of a measure that compares subjects with one another
LESION_LABEL = 2


@dataclass(frozen=True)
class _Truth:
    """The phantom's truth about one subject, on its reference scan's grid."""

    store: SubjectStore
    study: str

    def volume(self, name: str) -> Volume:
        return self.store.volume(self.study, f"truth/{name}")

    @cached_property
    def tissues(self) -> dict[str, Volume]:
        return {name: self.volume(name) for name in TISSUES}

    @cached_property
    def normal(self) -> Volume:
        """Where the brain has no lesion."""
        label = self.volume("label")
        return label.like(((label.data > 0) & (label.data < LESION_LABEL)).astype(np.uint8))


def score_truth(
    scans: dict[str, Any],
    cohort: pd.DataFrame,
    coregistered: SubjectStore,
    brains: SubjectStore,
    unbiased: SubjectStore,
    standardized: SubjectStore,
    gridded: SubjectStore,
    atlases: SubjectStore,
    tissues: SubjectStore,
    reference: str,
) -> pd.DataFrame:
    """Columns ``stage, subject, measure, value``; no row for scans whose truth nobody knows."""
    if scans["source"] != "phantom":
        return pd.DataFrame(columns=measure.TRUTH_COLUMNS)
    phantom = SubjectStore(Path(scans["root"]))
    truths = {study: _Truth(phantom, study) for study in tissues.studies()}
    paths = cohort.set_index(["study", "sequence"])["path"]
    left_out = set(cohort.loc[cohort["split"] == "test", "study"])
    rows = []
    for study, known in truths.items():
        rows.append(_row("coregister", study, _coregister(known, coregistered, paths[study], reference)))
        dice = measure.brain_dice(brains.volume(study, BRAIN).data, known.volume("brain").data)
        rows.append(_row("brain", study, {"dice": dice}))
        rows.append(_row("bias", study, _bias(known, unbiased)))
        if study in left_out:
            rows.append(_row("atlas", study, _atlas(known, gridded, atlases)))
        rows.append(_row("tissues", study, _tissues(known, gridded, tissues)))
    rows.append(_row("standardize", COHORT, dict(_spread(truths, unbiased, standardized))))
    return pd.concat(rows, ignore_index=True)


def _row(stage: str, subject: str, measures: dict[str, float]) -> pd.DataFrame:
    return measure.truth_rows(stage, subject, measures)


def _coregister(known: _Truth, store: SubjectStore, paths: pd.Series, reference: str) -> dict[str, float]:
    """Target registration error over the brain, by moving sequence, in mm and in voxels of its scan."""
    brain = known.volume("brain")
    points = measure.voxel_centres(brain.data > 0, brain.affine)
    true = {name: np.array(matrix) for name, matrix in known.store.record(known.study)["transforms"].items()}
    found = {name: np.array(matrix) for name, matrix in store.record(known.study)["transforms"].items()}
    scores = {}
    for name, path in paths.drop(reference).items():
        affine = read_volume(path).affine
        scores[f"tre_mm_{name}"] = measure.target_registration_error(found[name], true[name], points)
        scores[f"tre_voxels_{name}"] = measure.target_registration_error_voxels(found[name], true[name], points, affine)
    return scores


def _bias(known: _Truth, store: SubjectStore) -> dict[str, float]:
    """Correlation of the logarithms of found and true field inside the true brain, by sequence."""
    inside = known.volume("brain").data
    names = [name for name in store.names(known.study) if name.startswith(FIELD)]
    return {
        f"log_field_correlation_{name.removeprefix(FIELD)}": measure.bias_correlation(
            store.volume(known.study, name).data,
            np.log(known.volume(f"bias_{name.removeprefix(FIELD)}").data),
            inside,
        )
        for name in names
    }


def _atlas(known: _Truth, gridded: SubjectStore, atlases: SubjectStore) -> dict[str, float]:
    """Correlation of the aligned template with the left-out subject's images, where its brain has no lesion."""
    images, template = sequences(gridded, known.study), sequences(atlases, known.study)
    normal = resample_like(known.normal, next(iter(images.values())), interpolation="nearest")
    return {
        f"correlation_{name}": measure.image_correlation(template[name].data, image.data, normal.data)
        for name, image in images.items()
        if name in template
    }


def _tissues(known: _Truth, gridded: SubjectStore, store: SubjectStore) -> dict[str, float]:
    """Dice of each tissue where the true brain has no lesion and the found brain mask agrees."""
    found = sequences(store, known.study)
    if not found:
        return {}
    brain = gridded.volume(known.study, BRAIN)
    normal = resample_like(known.normal, brain, interpolation="nearest")
    true = {name: resample_like(volume, brain).data for name, volume in known.tissues.items()}
    inside = (normal.data > 0) & (brain.data > 0)
    dice = measure.tissue_dice({name: found[name].data for name in TISSUES}, true, inside)
    return {f"dice_{name}": value for name, value in dice.items()}


def _spread(truths: dict[str, _Truth], before: SubjectStore, after: SubjectStore) -> Iterator[tuple[str, float]]:
    """The spread of white matter's mean between subjects, after standardization over before, by sequence."""
    if len(truths) < 2:
        return
    some = next(iter(truths))
    for name in sequences(after, some):
        means: dict[str, list[float]] = {"before": [], "after": []}
        ranges: dict[str, list[float]] = {"before": [], "after": []}
        for study, known in truths.items():
            brain = after.volume(study, BRAIN).data
            white = np.where(brain > 0, known.tissues["WM"].data, 0)
            for when, store in (("before", before), ("after", after)):
                image = store.volume(study, name).data
                means[when].append(measure.white_matter_mean(image, white))
                ranges[when].append(measure.intensity_range(image, brain))
        ratio = measure.spread_ratio(means["before"], means["after"], ranges["before"], ranges["after"])
        yield f"wm_spread_ratio_{name}", ratio
