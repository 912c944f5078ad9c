"""The stages as data: what each does to a study, and what its results depend on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from lesionlab.cohort.layout import Layout
from lesionlab.cohort.lesions import read_lesion
from lesionlab.cohort.table import lacking
from lesionlab.datasets.folders import Folders
from lesionlab.imaging import grid
from lesionlab.imaging.anatomy import atlas, brain, group_template, tissue
from lesionlab.imaging.formats.nifti import read_volume
from lesionlab.imaging.intensity import bias, standardize
from lesionlab.imaging.raw_to_grid import image_on_grid
from lesionlab.imaging.registration import coregistration
from lesionlab.imaging.registration.template_space import to_template
from lesionlab.imaging.study import pick_reference
from lesionlab.pipelines.preprocess import stages
from lesionlab.pipelines.preprocess.jobs import STANDARD, TEMPLATE
from lesionlab.stages.fingerprints import file_fingerprint, fingerprint_of, study_fingerprints
from lesionlab.stages.subject_store import StudyResult

Keys = Mapping[str, str]  # study to fingerprint


class Recipe(NamedTuple):
    """One stage.

    Attributes:
        work: what it does to one study.
        science: the functions behind it: their code is part of what a result depends on.
        shared: whether all folds share it, since it has not seen the split.
    """

    work: Callable[[Any], StudyResult]
    science: Sequence[Callable[..., Any]]
    shared: bool = False


RECIPES = {
    "coregister": Recipe(
        stages.coregister_study, [coregistration.coregister, pick_reference, read_lesion, read_volume], shared=True
    ),
    "brain": Recipe(stages.brain_study, [brain.extract_brain], shared=True),
    "bias": Recipe(stages.bias_study, [bias.correct_study], shared=True),
    "landmarks": Recipe(stages.landmarks_study, [standardize.fit_landmarks]),
    "standardize": Recipe(stages.standardize_study, [standardize.standardize]),
    "grid": Recipe(stages.grid_study, [grid.make_grid, image_on_grid, read_lesion, to_template]),
    "template": Recipe(stages.template_study, [group_template.build_template, atlas.load_template]),
    "atlas": Recipe(stages.atlas_study, [atlas.align_template]),
    "tissues": Recipe(stages.tissue_study, [tissue.segment_tissues]),
}


def root_of(folders: Folders, stage: str) -> Path:
    """The stage's folder."""
    return folders.shared_stage(stage) if RECIPES[stage].shared else folders.stage(stage)


def training_in(cohort: pd.DataFrame, studies: Iterable[str]) -> list[str]:
    """Those of the studies that are in the training split, in their order."""
    training = set(cohort.loc[cohort["split"] == "train", "study"])
    return [study for study in studies if study in training]


def whole_in(cohort: pd.DataFrame, studies: Iterable[str], sequences: Sequence[str]) -> list[str]:
    """Those of the studies that lack none of the sequences, in their order."""
    lacks = lacking(cohort, sequences)
    return [study for study in studies if study not in lacks]


def scan_keys(cohort: pd.DataFrame, layout: Layout, lesion_classes: Sequence[str]) -> Keys:
    """What co-registration depends on: the files' content, and what the codes of their masks mean."""
    codes = None if layout.lesion is None else (layout.lesion.codes, layout.lesion.ignore, tuple(lesion_classes))
    return {study: fingerprint_of(key, codes) for study, key in study_fingerprints(cohort).items()}


def set_key(keys: Keys, studies: Iterable[str]) -> str:
    """A fingerprint of a set of studies."""
    return fingerprint_of({study: keys[study] for study in studies})


def beside(keys: Keys, learnt: Keys) -> Keys:
    """What a study's result depends on where something learnt from others comes in as well."""
    return {study: fingerprint_of(key, learnt) for study, key in keys.items()}


def landmarks_learn(options: standardize.StandardizeOptions) -> bool:
    """Whether landmarks are learnt from this run's training studies."""
    return options.rule == "nyul" and options.landmarks is None


def landmarks_key(keys: Keys, training: Sequence[str], options: standardize.StandardizeOptions) -> Keys:
    """What the landmarks depend on: training studies, or the file they are taken from."""
    key = set_key(keys, training if landmarks_learn(options) else [])
    return {STANDARD: key if options.landmarks is None else file_fingerprint(options.landmarks)}


def template_learns(options: atlas.AtlasOptions) -> bool:
    """Whether the template is built from this run's training studies."""
    return options.enabled and options.template is None


def template_key(keys: Keys, training: Sequence[str], sequences: Sequence[str], options: atlas.AtlasOptions) -> Keys:
    """What the template depends on beside its options: the sequences, and training studies unless it is given."""
    learnt = set_key(keys, training if template_learns(options) else [])
    return {TEMPLATE: fingerprint_of(learnt, sorted(sequences))}
