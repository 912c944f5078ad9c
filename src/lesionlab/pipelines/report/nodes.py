"""The report as a node: everything the run knows, put into one page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from lesionlab.parameters import Parameters
from lesionlab.pipelines.report import pictures, words
from lesionlab.pipelines.report.findings import findings
from lesionlab.pipelines.report.results import Results
from lesionlab.reporting.content import Picture
from lesionlab.reporting.qc_page import QCSummary
from lesionlab.reporting.report import render_report
from lesionlab.slices.store import SliceStore
from lesionlab.training.runs import TrainingRun
from lesionlab.trials.plan import TrialPlan


def make_report(
    cohort: pd.DataFrame,
    quarantine: pd.DataFrame,
    split_record: pd.DataFrame,
    qc_summary: dict[str, Any],
    truth: pd.DataFrame,
    plan: TrialPlan,
    slices: SliceStore,
    synthesizers: Mapping[str, TrainingRun],
    synthetic: Mapping[str, SliceStore],
    segmenters: Mapping[str, TrainingRun],
    leakage: pd.DataFrame,
    sample_quality: pd.DataFrame,
    diversity: pd.DataFrame,
    copies: pd.DataFrame,
    discriminator_scores: pd.DataFrame,
    membership: pd.DataFrame,
    reliability: pd.DataFrame,
    claims: pd.DataFrame,
    segmentation_scores: pd.DataFrame,
    synthesis_table: pd.DataFrame,
    segmentation_table: pd.DataFrame,
    augmentation_table: pd.DataFrame,
    parameters: dict[str, Any],
) -> str:
    """The page as HTML."""
    options = Parameters.model_validate(parameters)
    facts = words.Facts(options, plan, cohort, split_record, slices, synthetic)
    results = Results(plan, segmentation_scores, augmentation_table, segmentation_table)
    told = findings(facts, results, facts.counts, synthesis_table, claims, leakage)
    shown = plan.shown()
    content = replace(
        told,
        facts=words.figures(facts),
        split=words.split_table(facts),
        sample_quality=sample_quality,
        diversity=diversity,
        copies=copies,
        membership=membership,
        cohort_pictures=pictures.of_cohort(slices),
        result_pictures=[*told.result_pictures, *pictures.of_segmentations(shown, slices, segmenters)],
        synthesis_pictures=_of_synthesis(shown, slices, synthesizers, synthetic, synthesis_table)
        + pictures.of_confidence(shown, slices, reliability),
        copy_pictures=pictures.of_copies(shown, slices, synthetic),
        membership_pictures=pictures.of_membership(shown, discriminator_scores),
        training_pictures=pictures.of_training(shown, synthesizers, segmenters),
        moments=[pictures.of_moments(case, slices, synthesizers[case.key]) for case in shown.synthesizers],
        truth=truth,
        truth_notes=words.TRUTH_NOTES,
        qc=QCSummary(qc_summary["studies"], tuple(qc_summary["outliers"]), qc_summary["failed"]),
        quarantined=quarantine[["study", "reason"]] if len(quarantine) else None,
    )
    return render_report(content)


def _of_synthesis(
    shown: TrialPlan,
    slices: SliceStore,
    synthesizers: Mapping[str, TrainingRun],
    synthetic: Mapping[str, SliceStore],
    table: pd.DataFrame,
) -> list[Picture]:
    found = pictures.of_accuracy(slices, table)
    for case in shown.synthesizers:
        found += pictures.of_synthesis(case, slices, synthetic[case.key], synthesizers[case.key])
    for case in shown.synthesizers[:1]:  # all draw the same label maps
        found += pictures.of_manipulations(slices, synthetic[case.key])
    return found
