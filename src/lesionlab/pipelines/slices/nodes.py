"""Labelled slices, as a node."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pandas as pd

from lesionlab.cohort.table import lacking
from lesionlab.datasets.folders import Folders
from lesionlab.errors import InputError
from lesionlab.imaging.quality.limits import held_back
from lesionlab.parameters import RunOptions
from lesionlab.pipelines.preprocess.jobs import BRAIN, LESION, sequences
from lesionlab.slices.coverage import share_in_slices
from lesionlab.slices.cutting import StudySlices, study_slices
from lesionlab.slices.rules import SliceRules
from lesionlab.slices.store import SliceStore
from lesionlab.stages.artifact import is_current, writing
from lesionlab.stages.code import code_of
from lesionlab.stages.fingerprints import fingerprint_of
from lesionlab.stages.subject_store import SubjectStore

_ENOUGH = 0.6  # of the lesions' volume, times the step between planes: below it planes or grid are hardly as meant

_log = logging.getLogger(__name__)


def make_slices(
    cohort: pd.DataFrame,
    gridded: SubjectStore,
    atlases: SubjectStore,
    tissues: SubjectStore,
    qc_flags: pd.DataFrame,
    folders: Folders,
    rules: SliceRules,
    sequences: list[str],
    lesion_classes: list[str],
    run_options: RunOptions,
) -> SliceStore:
    """The slices of every study that passed all stages, and that quality control does not hold back.

    Raises:
        InputError: studies could not be cut and that is not allowed, or none could.
    """
    root = folders.features("slices")
    done = set(gridded.studies()) & set(atlases.studies()) & set(tissues.studies())
    for study in sorted(done & set(held_back(qc_flags))):
        _log.warning("slices: quality control holds %s back, which gives none", study)
    done -= set(held_back(qc_flags))
    studies = whole(labelled(cohort[cohort["study"].isin(done)]), cohort, sequences)
    about = cohort.drop_duplicates("study").set_index("study").loc[studies, ["subject", "split"]]
    stores = [store.fingerprints() for store in (gridded, atlases, tissues)]
    code = code_of(study_slices, SliceStore)
    decisive = (about.reset_index(), rules, sequences, lesion_classes, run_options.allow_failures)
    key = fingerprint_of(stores, decisive, code)
    if is_current(root, key):
        _log.info("slices: unchanged")
        return _looked_at(SliceStore(root), cohort, rules)
    failed: dict[str, str] = {}
    with writing(root, key) as aside:
        parts = _parts(about, gridded, atlases, tissues, rules, sequences, lesion_classes, failed)
        SliceStore.write(aside, parts, sequences, lesion_classes)
        _report(failed, len(about), run_options.allow_failures)
    return _looked_at(SliceStore(root), cohort, rules)


def _looked_at(slices: SliceStore, cohort: pd.DataFrame, rules: SliceRules) -> SliceStore:
    """The slices, with a warning where few planes or a small grid leave out much of the lesions."""
    share = share_in_slices(slices.table, cohort)
    if share * rules.step < _ENOUGH:
        planes = rules.model_dump(include={"planes", "count", "first", "last", "step"}, exclude_none=True)
        _log.warning(
            "the slices hold %.0f %% of the lesions' volume: look at `slices` (%s) and at grid.size",
            100 * share,
            ", ".join(f"{name}: {value}" for name, value in planes.items()),
        )
    return slices


def labelled(cohort: pd.DataFrame) -> list[str]:
    """The studies to make slices of, sorted: all of them where none has a lesion mask, else those that have one.

    Without its mask a lesion would pass for normal brain, in training and in the scores.
    """
    studies = cohort.drop_duplicates("study").sort_values("study")
    has_mask = studies["lesion_path"] != ""
    if not has_mask.any():
        return studies["study"].tolist()
    for study in studies.loc[~has_mask, "study"]:
        _log.warning("slices: %s has no lesion mask and gives none", study)
    return studies.loc[has_mask, "study"].tolist()


def whole(studies: list[str], cohort: pd.DataFrame, sequences: list[str]) -> list[str]:
    """The studies that have every sequence, in their order: a slice has a channel for each."""
    lacks = lacking(cohort, sequences)
    for study in studies:
        if study in lacks:
            _log.warning("slices: %s has no %s and gives none", study, ", ".join(lacks[study]))
    return [study for study in studies if study not in lacks]


def _report(failed: dict[str, str], count: int, allowed: bool) -> None:
    for study, reason in failed.items():
        _log.error("slices: study %s failed: %s", study, reason)
    if failed and (not allowed or len(failed) == count):
        reasons = "".join(f"\n  {study}: {reason}" for study, reason in failed.items())
        raise InputError(
            "studies could not be cut into slices",
            given=f"{len(failed)} of {count}:{reasons}\n",
            allowed="none, or some with run.allow_failures: true",
            cure="mend what each reason says, change the rules under `slices`, or leave the studies out",
        )


def _parts(
    about: pd.DataFrame,
    gridded: SubjectStore,
    atlases: SubjectStore,
    tissues: SubjectStore,
    rules: SliceRules,
    names: list[str],
    lesion_classes: list[str],
    failed: dict[str, str],
) -> Iterator[StudySlices]:
    """Study by study, one in memory at a time; a study that cannot be cut is noted in ``failed``."""
    for study, row in about.iterrows():
        key = str(study)
        lesion = gridded.volume(key, LESION) if LESION in gridded.names(key) else None
        try:
            yield study_slices(
                sequences(gridded, key),
                lesion,
                gridded.volume(key, BRAIN),
                atlases.volumes(key),
                tissues.volumes(key),
                rules,
                names,
                lesion_classes,
                subject=row["subject"],
                study=key,
                split=row["split"],
            )
        except InputError as error:
            failed[key] = str(error)
