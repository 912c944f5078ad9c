"""What a run will do, said before its first stage computes anything."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from lesionlab.cohort.layout import find_layout
from lesionlab.datasets.folders import Folders
from lesionlab.imaging.anatomy.atlas import AtlasOptions
from lesionlab.imaging.anatomy.brain import BrainOptions
from lesionlab.imaging.anatomy.tissue import TissueOptions
from lesionlab.imaging.grid import GridOptions
from lesionlab.imaging.intensity.bias import BiasOptions
from lesionlab.imaging.intensity.standardize import StandardizeOptions
from lesionlab.imaging.registration.coregistration import CoregisterOptions
from lesionlab.imaging.registration.template_space import TemplateOptions
from lesionlab.parameters import CohortOptions
from lesionlab.pipelines.preprocess.recipes import (
    RECIPES,
    Keys,
    beside,
    landmarks_key,
    root_of,
    scan_keys,
    template_key,
    training_in,
    whole_in,
)
from lesionlab.pipelines.running import link
from lesionlab.stages.fingerprints import file_fingerprint
from lesionlab.stages.plan import Link, Plan, plan_chain

PLAN_COLUMNS = ["stage", "study", "cause"]

_log = logging.getLogger(__name__)


def log_plan(
    cohort: pd.DataFrame,
    folders: Folders,
    coregister: CoregisterOptions,
    brain: BrainOptions,
    bias: BiasOptions,
    standardize: StandardizeOptions,
    grid: GridOptions,
    space: TemplateOptions,
    atlas: AtlasOptions,
    tissues: TissueOptions,
    cohort_options: CohortOptions,
    layouts: dict[str, Any],
    sequences: list[str],
    reference: str,
    lesion_classes: list[str],
) -> pd.DataFrame:
    """Columns ``stage, study, cause``: what each stage will do about each study, if none fails; also logged."""
    layout = find_layout(layouts, cohort_options.layout)
    scans = scan_keys(cohort, layout, lesion_classes)

    def stage(name: str, inputs: Callable[[Mapping[str, Keys]], Keys], options: object) -> Link:
        recipe = RECIPES[name]
        return link(root_of(folders, name), recipe.work, recipe.science, inputs, options)

    plans = plan_chain(
        [
            stage("coregister", lambda keys: scans, [coregister, reference]),
            stage("brain", lambda keys: keys["coregister"], brain),
            stage("bias", lambda keys: keys["brain"], bias),
            stage(
                "landmarks",
                lambda keys: landmarks_key(keys["bias"], training_in(cohort, keys["bias"]), standardize),
                standardize,
            ),
            stage("standardize", lambda keys: beside(keys["bias"], keys["landmarks"]), standardize),
            stage("grid", lambda keys: keys["standardize"], [grid, space, file_fingerprint(space.space)]),
            stage(
                "template",
                lambda keys: template_key(
                    keys["grid"], whole_in(cohort, training_in(cohort, keys["grid"]), sequences), sequences, atlas
                ),
                atlas,
            ),
            stage("atlas", lambda keys: beside(keys["grid"], keys["template"]), atlas),
            stage("tissues", lambda keys: keys["grid"], tissues),
        ]
    )
    return _told(plans)


def _told(plans: list[Plan]) -> pd.DataFrame:
    for plan in plans:
        _log.info("planned: %s", plan)
    rows = [(plan.stage, study, cause) for plan in plans for study, cause in plan.causes.items()]
    return pd.DataFrame(rows, columns=PLAN_COLUMNS)
