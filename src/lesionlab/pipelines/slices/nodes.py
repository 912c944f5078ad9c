"""Labelled slices, as a node."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pandas as pd

from lesionlab.data.artifact import is_current, writing
from lesionlab.data.fingerprints import fingerprint_of
from lesionlab.data.slice_rules import SliceRules
from lesionlab.data.slice_store import SliceStore
from lesionlab.data.slices import StudySlices, study_slices
from lesionlab.data.subject_store import SubjectStore
from lesionlab.datasets.folders import Folders
from lesionlab.pipelines.preprocess.stages import BRAIN, LESION, sequences
from lesionlab.pipelines.running import code_of

_log = logging.getLogger(__name__)


def make_slices(
    cohort: pd.DataFrame,
    gridded: SubjectStore,
    atlases: SubjectStore,
    tissues: SubjectStore,
    folders: Folders,
    rules: SliceRules,
    sequences: list[str],
    lesion_classes: list[str],
) -> SliceStore:
    """The slices of every study that passed all stages."""
    root = folders.features("slices")
    studies = [study for study in gridded.studies() if study in set(atlases.studies()) & set(tissues.studies())]
    about = cohort.drop_duplicates("study").set_index("study").loc[studies, ["subject", "split"]]
    stores = [store.fingerprints() for store in (gridded, atlases, tissues)]
    code = code_of(study_slices, SliceStore)
    key = fingerprint_of(stores, about.reset_index(), rules, sequences, lesion_classes, code)
    if is_current(root, key):
        _log.info("slices: unchanged")
        return SliceStore(root)
    with writing(root, key) as aside:
        parts = _parts(about, gridded, atlases, tissues, rules, sequences, lesion_classes)
        SliceStore.write(aside, parts, sequences, lesion_classes)
    return SliceStore(root)


def _parts(
    about: pd.DataFrame,
    gridded: SubjectStore,
    atlases: SubjectStore,
    tissues: SubjectStore,
    rules: SliceRules,
    names: list[str],
    lesion_classes: list[str],
) -> Iterator[StudySlices]:
    """Study by study, one in memory at a time."""
    for study, row in about.iterrows():
        key = str(study)
        lesion = gridded.volume(key, LESION) if LESION in gridded.names(key) else None
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
