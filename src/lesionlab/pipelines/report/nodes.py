"""The sections of a trial's report and the page of them, as nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lesionlab.evaluation import (
    augmentation,
    leakage,
    paper_tables,
    pictures,
    reliability,
    segmentation,
    synthesis,
    trainings,
)
from lesionlab.evaluation import truth as known_truth
from lesionlab.evaluation.sections import Section
from lesionlab.methods import registry
from lesionlab.metrics.statistics import StatisticsOptions
from lesionlab.parameters import Parameters
from lesionlab.pipelines.report.provenance import durations, provenance
from lesionlab.pipelines.training.nodes import preview_places
from lesionlab.reporting import run_facts
from lesionlab.reporting.qc_page import QCSummary
from lesionlab.reporting.report import Page, render_report
from lesionlab.reporting.run_facts import Facts
from lesionlab.slices.store import SliceStore
from lesionlab.training.runs import TrainingRun
from lesionlab.trials.plan import TrialPlan


def augmentation_section(
    plan: TrialPlan,
    slices: SliceStore,
    scores: pd.DataFrame,
    augmentation_table: pd.DataFrame,
    segmentation_table: pd.DataFrame,
    options: StatisticsOptions,
    seed: int,
) -> Section:
    """What the arms changed."""
    results = augmentation.Results(plan, scores, augmentation_table, segmentation_table)
    counts = augmentation.slice_counts(plan, slices)
    return augmentation.section(results, counts, slices.classes, options, seed)


def paper_section(
    plan: TrialPlan, synthesis_table: pd.DataFrame, augmentation_table: pd.DataFrame, parameters: dict[str, Any]
) -> Section:
    """The papers' tables, rebuilt."""
    known = known_of(plan, Parameters.model_validate(parameters))
    return paper_tables.section(known, synthesis_table, augmentation_table)


def known_of(plan: TrialPlan, options: Parameters) -> paper_tables.Known:
    """What the papers' tables are made of."""
    return paper_tables.Known(
        plan, options.published, options.sequences, options.lesion_classes, options.recipes(), registry.titles()
    )


def segmentation_section(
    plan: TrialPlan, slices: SliceStore, segmenters: Mapping[str, TrainingRun], table: pd.DataFrame
) -> Section:
    """Segmenters of real slices alone beside their floors, and pictures of what each segmenter found."""
    shown, found = plan.shown(), []
    if shown.segmenters:
        places = pictures.shown_test_slices(slices)[: pictures.at_a_time(len(shown.segmenters))]
        found = [pictures.of_segmentations(pictures.segmented(shown, slices, places, segmenters), slices)]
    return segmentation.section(table, slices.classes, registry.titles(), found)


def synthesis_section(
    plan: TrialPlan,
    slices: SliceStore,
    synthesizers: Mapping[str, TrainingRun],
    synthetic: Mapping[str, SliceStore],
    table: pd.DataFrame,
    trust: pd.DataFrame,
) -> Section:
    """Synthesizers beside their floors, their slices, and whether their confidence foretells their error."""
    shown = plan.shown()
    found = pictures.of_synthesis(shown, slices, synthesizers, synthetic) + reliability.pictures(shown, slices, trust)
    return synthesis.section(table, slices, plan.titles(), found)


def training_section(
    plan: TrialPlan,
    slices: SliceStore,
    synthesizers: Mapping[str, TrainingRun],
    segmenters: Mapping[str, TrainingRun],
) -> Section:
    """Curves and moments of the trainings."""
    return trainings.section(plan, slices, synthesizers, segmenters, preview_places(slices), registry.titles())


def make_report(
    cohort: pd.DataFrame,
    quarantine: pd.DataFrame,
    split_record: pd.DataFrame,
    qc_summary: dict[str, Any],
    truth: pd.DataFrame,
    seen: pd.DataFrame,
    plan: TrialPlan,
    slices: SliceStore,
    synthetic: Mapping[str, SliceStore],
    parameters: dict[str, Any],
    *sections: Section,
) -> str:
    """The page as HTML: the evaluators' sections, then how the run was made."""
    options = Parameters.model_validate(parameters)
    facts = facts_of(options, plan, cohort, split_record, slices, synthetic)
    quality = QCSummary(qc_summary["studies"], tuple(qc_summary["outliers"]), qc_summary["failed"])
    after = [
        run_facts.made_section(facts),
        run_facts.cohort_section(facts),
        run_facts.qc_section(quality, quarantine),
        known_truth.section(truth),
        leakage.section(seen),
        run_facts.provenance_section(provenance(cohort, options), durations()),
        references(plan),
    ]
    return render_report(page_of(facts, [*sections, *after], run_facts.figures(facts)))


def facts_of(
    options: Parameters,
    plan: TrialPlan,
    cohort: pd.DataFrame,
    split: pd.DataFrame,
    slices: SliceStore,
    synthetic: Mapping[str, SliceStore],
    folds: int = 1,
) -> Facts:
    """What the page says of its run."""
    plain = options.model_dump(mode="json", by_alias=True, exclude={"layouts", "published"})
    return Facts(plain, plan, registry.titles(), cohort, split, slices, synthetic, folds)


def references(plan: TrialPlan) -> Section:
    """The papers of the trial's methods and of the preprocessing."""
    methods = [*plan.methods().values(), *(case.method for case in plan.segmenters)]
    return run_facts.reference_section(registry.papers(dict.fromkeys(methods)))


def page_of(facts: Facts, sections: list[Section], figures: Mapping[str, str]) -> Page:
    """The page of these sections."""
    return Page(
        run_facts.title(facts), run_facts.about(facts), run_facts.summary(facts), figures, sections, facts.parameters
    )
