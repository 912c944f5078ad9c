"""Nodes that load what evaluators need, and call them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from lesionlab.evaluation import leakage, segmentation, settings, synthesis
from lesionlab.imaging.intensity.landmarks import read_landmark_set
from lesionlab.parameters import CohortOptions, Parameters
from lesionlab.pipelines.preprocess.jobs import LANDMARKS, STANDARD, TEMPLATE
from lesionlab.slices.store import SliceStore
from lesionlab.stages.subject_store import SubjectStore
from lesionlab.training.runs import TrainingRun
from lesionlab.trials.plan import TrialPlan


def check_leakage(
    plan: TrialPlan,
    cohort: pd.DataFrame,
    landmarks: SubjectStore,
    template: SubjectStore,
    slices: SliceStore,
    synthesizers: Mapping[str, TrainingRun],
    synthetic: Mapping[str, SliceStore],
    segmenters: Mapping[str, TrainingRun],
) -> tuple[pd.DataFrame, TrialPlan]:
    """The audit of :func:`lesionlab.evaluation.leakage.audit`, and the plan, cleared for scoring."""
    path = landmarks.root / STANDARD / LANDMARKS
    prepared: dict[str, Iterable[str]] = {
        "intensity landmarks": read_landmark_set(path).studies if path.is_file() else (),
        _atlas(template): template.record(TEMPLATE).get("studies", ()),
    }
    return leakage.audit(plan, cohort, slices, prepared, synthesizers, synthetic, segmenters), plan


def _atlas(template: SubjectStore) -> str:
    """What the atlas is called in the table: one that was given without a record may be of anybody."""
    unknown = template.names(TEMPLATE) and "studies" not in template.record(TEMPLATE)
    return "atlas, given, without a record of its people" if unknown else "atlas"


def score_synthesis(
    plan: TrialPlan, slices: SliceStore, synthesizers: Mapping[str, TrainingRun], cohort: CohortOptions
) -> pd.DataFrame:
    """Long-form scores of every synthesizer and floor."""
    return synthesis.score(plan, slices, synthesizers, cohort.name)


def score_segmentation(
    plan: TrialPlan, slices: SliceStore, segmenters: Mapping[str, TrainingRun], cohort: CohortOptions
) -> pd.DataFrame:
    """Long-form scores of every segmenter and floor."""
    return segmentation.score(plan, slices, segmenters, cohort.name)


def note_settings(parameters: dict[str, Any]) -> dict[str, str]:
    """What this run's scores are made with."""
    return settings.of_run(Parameters.model_validate(parameters).model_dump(mode="json"))
