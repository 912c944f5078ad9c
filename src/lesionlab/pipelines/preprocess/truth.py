"""How close each stage came to the phantom's truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lesionlab.datasets.folders import Folders
from lesionlab.imaging.anatomy.tissue import TISSUES
from lesionlab.imaging.formats.nifti import read_header
from lesionlab.imaging.resample import resample_like
from lesionlab.imaging.volume import Volume
from lesionlab.metrics import truth as measure
from lesionlab.parameters import RunOptions
from lesionlab.pipelines.preprocess.jobs import BRAIN, FIELD, in_reference_space, reference_of, sequences
from lesionlab.pipelines.preprocess.quality_stages import by_stage
from lesionlab.pipelines.running import run
from lesionlab.stages.fingerprints import fingerprint_of
from lesionlab.stages.subject_store import StudyResult, SubjectStore

LESION_LABEL = 2
WHITE_MATTER = "white_matter"  # in a study's record: what the spread between studies is made of


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


@dataclass(frozen=True)
class TruthJob:
    """One study's scores: what the stages made of it, and where its truth lies."""

    phantom: SubjectStore
    stores: Mapping[str, SubjectStore]
    study: str
    scans: Mapping[str, str]  # sequence to file
    reference: str
    left_out: bool  # of the atlas

    @property
    def known(self) -> _Truth:
        """The truth about the study."""
        return _Truth(self.phantom, self.study)


def score_truth(
    scans: dict[str, Any],
    cohort: pd.DataFrame,
    folders: Folders,
    coregistered: SubjectStore,
    brains: SubjectStore,
    unbiased: SubjectStore,
    standardized: SubjectStore,
    gridded: SubjectStore,
    atlases: SubjectStore,
    tissues: SubjectStore,
    reference: str,
    run_options: RunOptions,
) -> pd.DataFrame:
    """Columns ``stage, subject, measure, value``; no row for scans whose truth nobody knows.

    The truth lies on the grid of the cohort's reference: a study that another sequence served as reference has no row.
    """
    if scans["source"] != "phantom":
        return pd.DataFrame(columns=measure.TRUTH_COLUMNS)
    stores = by_stage(coregistered, brains, unbiased, standardized, gridded, atlases, tissues)
    phantom = SubjectStore(Path(scans["root"]))
    jobs = _jobs(phantom, cohort, stores, reference)
    keys = [store.fingerprints() for store in (phantom, *stores.values())]
    inputs = {study: fingerprint_of([own[study] for own in keys], job.left_out) for study, job in jobs.items()}
    how, science = run_options.lenient, [measure.truth_rows]
    scored = run(folders.stage("truth"), jobs, truth_study, science, inputs, reference, how)
    spread = measure.truth_rows("standardize", measure.EVERYBODY, dict(_spread(scored)))
    return pd.concat([_table(scored.qc()), spread], ignore_index=True)


def _table(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of truth.csv from measures named ``<stage>/<measure>``."""
    names = rows["measure"].str.partition("/")
    return rows.assign(stage=names[0], subject=rows["study"], measure=names[2])[measure.TRUTH_COLUMNS]


def _jobs(
    phantom: SubjectStore, cohort: pd.DataFrame, stores: Mapping[str, SubjectStore], reference: str
) -> dict[str, TruthJob]:
    left_out = set(cohort.loc[cohort["split"] == "test", "study"])
    scans = {study: dict(zip(rows["sequence"], rows["path"], strict=True)) for study, rows in cohort.groupby("study")}
    return {
        study: TruthJob(phantom, stores, study, scans[study], reference, study in left_out)
        for study in sorted(set.intersection(*(set(store.studies()) for store in stores.values())))
        if reference_of(stores["coregister"], study) == reference
    }


def truth_study(job: TruthJob) -> StudyResult:
    """Each stage's measures of one study, named ``<stage>/<measure>``, and its white matter's intensities."""
    known = job.known
    brain = measure.brain_dice(job.stores["brain"].volume(job.study, BRAIN).data, known.volume("brain").data)
    measures = {
        "coregister": _coregister(job, known),
        "brain": {"dice": brain},
        "bias": _bias(known, job.stores["bias"]),
        "atlas": _atlas(known, job.stores["grid"], job.stores["atlas"]) if job.left_out else {},
        "tissues": _tissues(known, job.stores["grid"], job.stores["tissues"]),
    }
    qc = {f"{stage}/{name}": value for stage, scores in measures.items() for name, value in scores.items()}
    white = _white_matter(known, job.stores["bias"], job.stores["standardize"])
    return StudyResult(qc=qc, record={WHITE_MATTER: white})


def _coregister(job: TruthJob, known: _Truth) -> dict[str, float]:
    """Target registration error over the brain, by moving sequence, in mm and in voxels of its scan."""
    brain = known.volume("brain")
    points = measure.voxel_centres(brain.data > 0, brain.affine)
    true, found = (
        {name: np.array(matrix) for name, matrix in store.record(job.study)["transforms"].items()}
        for store in (job.phantom, job.stores["coregister"])
    )
    scores = {}
    for name in sorted(set(job.scans) - {job.reference}):
        _, affine = read_header(job.scans[name])
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
    way = in_reference_space(gridded, known.study)
    normal = resample_like(known.normal, next(iter(images.values())), matrix=way, interpolation="nearest")
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
    way = in_reference_space(gridded, known.study)
    normal = resample_like(known.normal, brain, matrix=way, interpolation="nearest")
    true = {name: resample_like(volume, brain, matrix=way).data for name, volume in known.tissues.items()}
    inside = (normal.data > 0) & (brain.data > 0)
    dice = measure.tissue_dice({name: found[name].data for name in TISSUES}, true, inside)
    return {f"dice_{name}": value for name, value in dice.items()}


def _white_matter(known: _Truth, before: SubjectStore, after: SubjectStore) -> dict[str, dict[str, list[float]]]:
    """By sequence: white matter's mean and the brain's intensity range, before and after standardization."""
    brain = after.volume(known.study, BRAIN).data
    white = np.where(brain > 0, known.tissues["WM"].data, 0)
    result = {}
    for name in sequences(after, known.study):
        images = {when: store.volume(known.study, name).data for when, store in (("before", before), ("after", after))}
        result[name] = {
            when: [measure.white_matter_mean(image, white), measure.intensity_range(image, brain)]
            for when, image in images.items()
        }
    return result


def _spread(scored: SubjectStore) -> Iterator[tuple[str, float]]:
    """The spread of white matter's mean between subjects, after standardization over before, by sequence."""
    white = [scored.record(study)[WHITE_MATTER] for study in scored.studies()]
    for name in dict.fromkeys(name for study in white for name in study):
        own = [study[name] for study in white if name in study]
        if len(own) > 1:
            before, after = (np.array([study[when] for study in own]).T for when in ("before", "after"))
            yield f"wm_spread_ratio_{name}", measure.spread_ratio(before[0], after[0], before[1], after[1])
