"""The page of an experiment in folds: what its folds say together, and pictures of those who were left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pandas as pd

from lesionlab.datasets.folders import Folders
from lesionlab.evaluation import augmentation, leakage, paper_tables, pictures, segmentation, synthesis
from lesionlab.evaluation import claims as held
from lesionlab.evaluation.folds import mean_counts
from lesionlab.evaluation.sections import Picture
from lesionlab.parameters import Parameters
from lesionlab.pipelines.pool_folds.folds import Fold, folds_of, largest
from lesionlab.pipelines.report.nodes import facts_of, known_of, page_of, references
from lesionlab.pipelines.report.provenance import provenance
from lesionlab.reporting import run_facts
from lesionlab.reporting.report import render_report
from lesionlab.trials.plan import TrialPlan

Row = TypeVar("Row")


def make_page(
    folders: Folders,
    plan: TrialPlan,
    claims: pd.DataFrame,
    seen: pd.DataFrame,
    segmentation_scores: pd.DataFrame,
    synthesis_table: pd.DataFrame,
    segmentation_table: pd.DataFrame,
    augmentation_table: pd.DataFrame,
    parameters: dict[str, Any],
    trial: str,
) -> str:
    """The page as HTML: figures over the test subjects of all folds, how it was made as in one of them."""
    options, folds = Parameters.model_validate(parameters), folds_of(folders, trial)
    one = largest(folds)
    slices, results = (
        one.slices,
        augmentation.Results(plan, segmentation_scores, augmentation_table, segmentation_table),
    )
    counts = mean_counts([(fold.plan, fold.slices) for fold in folds], plan)
    facts = facts_of(options, plan, one.cohort(), one.split(), slices, one.synthetic(), len(folds))
    sections = [
        augmentation.section(results, counts, slices.classes, options.statistics, options.seed),
        held.section(plan, claims),
        paper_tables.section(known_of(plan, options), synthesis_table, augmentation_table),
        segmentation.section(segmentation_table, slices.classes, facts.titles, _segmentations(folds)),
        synthesis.section(synthesis_table, slices, plan.titles(), _drawings(folds)),
        run_facts.made_section(facts, _pages(folds, trial)),
        leakage.section(seen),
        run_facts.provenance_section(_of_this_page(provenance(facts.cohort, options)), {}),
        references(plan),
    ]
    figures = {
        "folds": str(len(folds)),
        "subjects tested": str(segmentation_scores["subject"].nunique()),
        "sequences": ", ".join(options.sequences),
    }
    return render_report(page_of(facts, sections, figures))


def _pages(folds: list[Fold], trial: str) -> dict[str, str]:
    """Each fold's own page, as seen from this one; without those that are not there."""
    places = {fold.name: f"08_reporting/{trial}/report.html" for fold in folds}
    there = {fold.name for fold in folds if (fold.folders.results / places[fold.name]).is_file()}
    return {name: f"../../{name}/{place}" for name, place in places.items() if name in there}


def _of_this_page(provenance: Mapping[str, str]) -> dict[str, str]:
    """The pooling's own provenance by name: the folds may be of another commit, which their pages say."""
    return {f"{name}, of this page" if name == "commit" else name: text for name, text in provenance.items()}


def _segmentations(folds: list[Fold]) -> list[Picture]:
    """What each segmenter found in the first subject that each fold left out."""

    def rows(fold: Fold, places: list[int]) -> list[pictures.LabelledSlice]:
        return pictures.segmented(fold.plan.shown(), fold.slices, places, fold.segmenters())

    found = _left_out(folds, len(folds[0].plan.shown().segmenters), rows)
    return [pictures.of_segmentations(found, folds[0].slices)] if found else []


def _drawings(folds: list[Fold]) -> list[Picture]:
    """The first subject that each fold left out, as each synthesizer draws its label map."""

    def rows(fold: Fold, places: list[int]) -> list[pictures.ComparedSlice]:
        return pictures.compared(fold.plan.shown(), fold.slices, places, fold.synthesizers())

    found = _left_out(folds, len(folds[0].plan.shown().synthesizers), rows)
    return [pictures.of_comparison(found, folds[0].slices)] if found else []


def _left_out(folds: list[Fold], others: int, rows: Callable[[Fold, list[int]], list[Row]]) -> list[Row]:
    """A slice of the first subject left out, of as many folds as there is room for with so many others below it."""
    shown = folds[: pictures.at_a_time(others)] if others else []
    return [row for fold in shown for row in rows(fold, pictures.shown_test_slices(fold.slices)[:1])]
