"""The page of a leave-one-out experiment: what its folds say together, and pictures of those who were left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from lesionlab.datasets.folders import Folders
from lesionlab.parameters import Parameters
from lesionlab.pipelines.pool_folds.folds import Fold, folds_of
from lesionlab.pipelines.report import pictures, words
from lesionlab.pipelines.report.findings import findings
from lesionlab.pipelines.report.results import Results
from lesionlab.reporting import panels
from lesionlab.reporting.content import Picture, Step
from lesionlab.reporting.report import render_report
from lesionlab.trials.plan import TrialPlan

_SHOWN = 6  # folds in pictures


def make_page(
    folders: Folders,
    plan: TrialPlan,
    claims: pd.DataFrame,
    leakage: pd.DataFrame,
    segmentation_scores: pd.DataFrame,
    synthesis_table: pd.DataFrame,
    segmentation_table: pd.DataFrame,
    augmentation_table: pd.DataFrame,
    parameters: dict[str, Any],
    trial: str,
) -> str:
    """The page as HTML: figures over the test subjects of all folds, what was done as it was done in the first one."""
    options = Parameters.model_validate(parameters)
    folds = folds_of(folders, trial)
    facts = _facts(folds, plan, options)
    results = Results(plan, segmentation_scores, augmentation_table, segmentation_table)
    told = findings(facts, results, mean_counts(folds, plan), synthesis_table, claims, leakage)
    content = replace(
        told,
        facts=_figures(folds, segmentation_scores, options),
        steps=[_folds_step(folds), *told.steps],
        folds={fold.name: f"../../{fold.name}/08_reporting/{trial}/report.html" for fold in folds},
        result_pictures=[*told.result_pictures, *_segmentations(folds)],
        synthesis_pictures=_synthesis(folds, synthesis_table),
    )
    return render_report(content)


def mean_counts(folds: list[Fold], plan: TrialPlan) -> dict[str, tuple[int, int]]:
    """Real and synthetic training slices of each of the plan's segmenters, by key: the mean over the folds.

    Folds train the same segmenters in the same order, each from subjects of its own.
    """
    each = [list(words.slice_counts(fold.plan, fold.slices).values()) for fold in folds]
    means = np.mean(each, axis=0).round().astype(int).tolist()
    return {case.key: (real, made) for case, (real, made) in zip(plan.segmenters, means, strict=True)}


def _facts(folds: list[Fold], plan: TrialPlan, options: Parameters) -> words.Facts:
    first = folds[0]
    return words.Facts(options, plan, first.cohort(), first.split(), first.slices, first.synthetic(), folds=len(folds))


def _figures(folds: list[Fold], scores: pd.DataFrame, options: Parameters) -> dict[str, str]:
    return {
        "folds": str(len(folds)),
        "subjects tested": str(scores["subject"].nunique()),
        "sequences": ", ".join(options.sequences),
    }


def _folds_step(folds: list[Fold]) -> Step:
    told = (
        "Each fold leaves out other subjects to be tested on, and learns everything that learns (intensity scale, "
        "atlas, networks) anew from its own training subjects. The numbers below are the first fold's."
    )
    return Step("Folds", told, f"{len(folds)} folds")


def _segmentations(folds: list[Fold]) -> list[Picture]:
    """What each segmenter found in the first subject that each fold left out, in as many folds as there is room for."""
    rows = []
    for fold in folds[: pictures.at_a_time(folds[0].plan.shown())]:
        places = pictures.shown_test_slices(fold.slices)[:1]
        rows += pictures.segmented(fold.plan.shown(), fold.slices, places, fold.segmenters())
    data = panels.labelled_montage(rows, folds[0].slices.sequences, folds[0].slices.classes)
    return [Picture(data, pictures.FOUND, "Left-out subjects: the true lesion, then each segmenter's.")]


def _synthesis(folds: list[Fold], table: pd.DataFrame) -> list[Picture]:
    if table.empty:
        return []
    rows = []
    for fold in folds[:_SHOWN]:
        places = pictures.shown_test_slices(fold.slices)[:1]
        rows += pictures.drawn(fold.plan.shown(), fold.slices, places, fold.synthesizers())
    data = panels.labelled_montage(rows, folds[0].slices.sequences, folds[0].slices.classes)
    told = "Left-out subjects, where their lesion is largest: real, then as each synthesizer draws their label map."
    return [Picture(data, "Left out and drawn", told), *pictures.of_accuracy(folds[0].slices, table)]
