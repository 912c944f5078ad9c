"""The page of an experiment in folds: what its folds say together, and pictures of those who were left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from lesionlab.datasets.folders import Folders
from lesionlab.parameters import Parameters
from lesionlab.pipelines.pool_folds.folds import Fold, folds_of, largest
from lesionlab.pipelines.report import pictures, words
from lesionlab.pipelines.report.findings import findings
from lesionlab.pipelines.report.results import Results
from lesionlab.reporting import panels
from lesionlab.reporting.content import Picture, Step
from lesionlab.reporting.panels import LabelledSlice
from lesionlab.reporting.report import render_report
from lesionlab.trials.plan import TrialPlan


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
    """The page as HTML: figures over the test subjects of all folds, what was done as it was done in one of them."""
    options = Parameters.model_validate(parameters)
    folds = folds_of(folders, trial)
    results = Results(plan, segmentation_scores, augmentation_table, segmentation_table)
    told = findings(_facts(folds, plan, options), results, mean_counts(folds, plan), synthesis_table, claims, leakage)
    content = replace(
        told,
        facts=_figures(folds, segmentation_scores, options),
        steps=[_folds_step(folds), *told.steps],
        folds=_pages(folds, trial),
        result_pictures=[*told.result_pictures, *_segmentations(folds)],
        synthesis_pictures=_synthesis(folds, synthesis_table),
        provenance=_of_this_page(told.provenance),
        durations={},  # those of the trainings stand in the folds' own pages
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
    one = largest(folds)
    return words.Facts(options, plan, one.cohort(), one.split(), one.slices, one.synthetic(), folds=len(folds))


def _figures(folds: list[Fold], scores: pd.DataFrame, options: Parameters) -> dict[str, str]:
    return {
        "folds": str(len(folds)),
        "subjects tested": str(scores["subject"].nunique()),
        "sequences": ", ".join(options.sequences),
    }


def _folds_step(folds: list[Fold]) -> Step:
    told = (
        f"Each fold was a run of its own, that learnt everything anew. The numbers below are {largest(folds).name}'s."
    )
    return Step("Folds", told, f"{len(folds)} folds")


def _pages(folds: list[Fold], trial: str) -> dict[str, str]:
    """Each fold's own page, as seen from this one; without those that are not there."""
    places = {fold.name: f"08_reporting/{trial}/report.html" for fold in folds}
    there = {fold.name for fold in folds if (fold.folders.results / places[fold.name]).is_file()}
    return {name: f"../../{name}/{place}" for name, place in places.items() if name in there}


def _of_this_page(provenance: Mapping[str, str]) -> dict[str, str]:
    """The pooling's own provenance by name: the folds may be of another commit, which their pages tell."""
    return {f"{name}, of this page" if name == "commit" else name: text for name, text in provenance.items()}


def _segmentations(folds: list[Fold]) -> list[Picture]:
    """What each segmenter found in the first subject that each fold left out."""

    def rows(fold: Fold, places: list[int]) -> list[LabelledSlice]:
        return pictures.segmented(fold.plan.shown(), fold.slices, places, fold.segmenters())

    data = _left_out(folds, len(folds[0].plan.shown().segmenters), rows)
    return [Picture(data, pictures.FOUND, "Left-out subjects: the true lesion, then each segmenter's.")]


def _synthesis(folds: list[Fold], table: pd.DataFrame) -> list[Picture]:
    def rows(fold: Fold, places: list[int]) -> list[LabelledSlice]:
        return pictures.drawn(fold.plan.shown(), fold.slices, places, fold.synthesizers())

    data = _left_out(folds, len(folds[0].plan.shown().synthesizers), rows)
    told = "Left-out subjects, where their lesion is largest: real, then as each synthesizer draws their label map."
    return [Picture(data, "Left out and drawn", told), *pictures.of_accuracy(folds[0].slices, table)]


def _left_out(folds: list[Fold], others: int, rows: Callable[[Fold, list[int]], list[LabelledSlice]]) -> bytes:
    """A slice of the first subject left out, with so many others below it, of as many folds as there is room for."""
    shown = folds[: pictures.at_a_time(others)]
    every = [row for fold in shown for row in rows(fold, pictures.shown_test_slices(fold.slices)[:1])]
    return panels.labelled_montage(every, folds[0].slices.sequences, folds[0].slices.classes)
