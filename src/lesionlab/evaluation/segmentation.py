"""Segmentation: each test subject segmented by every segmenter of a trial, beside floors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from lesionlab.evaluation import floors as beside
from lesionlab.evaluation.scoring import ALL, FLOOR, Score, by_subject, seeds_of
from lesionlab.evaluation.sections import Picture, Section, Table
from lesionlab.evaluation.wording import limits
from lesionlab.methods.applying import segment
from lesionlab.methods.base import Method
from lesionlab.metrics import segmentation
from lesionlab.metrics.distances import chunks
from lesionlab.names import listed
from lesionlab.slices.cutting import NORMAL_BRAIN
from lesionlab.slices.store import SliceArrays, SliceStore
from lesionlab.training.runs import TrainingRun
from lesionlab.trials.plan import NO_SYNTHESIZER, SegmenterCase, TrialPlan

NORMAL_FLOOR = "all normal"

_log = logging.getLogger(__name__)
_NOTE = "The segmenters trained on real slices alone, and their floors."

_Found = list[tuple[dict[str, object], np.ndarray]]  # whose it is, and the label maps


def score(plan: TrialPlan, slices: SliceStore, segmenters: Mapping[str, TrainingRun], cohort: str) -> pd.DataFrame:
    """Each test subject segmented by every segmenter of the trial, beside two floors; columns ``SCORE_COLUMNS``.

    A class that no test subject has in the slices is left out: its Dice would only count false alarms.
    """

    def scorers() -> Iterator[Score]:
        for case in plan.segmenters:
            yield _scorer(_found_by(case, segmenters[case.key].method()), slices.classes)
        if plan.segmenters:
            yield _scorer(lambda real: _floors(real.labels, slices.classes, plan), slices.classes)

    scores = by_subject(slices, scorers(), {"cohort": cohort})
    absent = _absent_classes(slices)
    if absent:
        _log.warning("no test subject has %s in the slices: left out of the segmentation scores", listed(absent))
    return scores[~scores["class"].isin(absent)].reset_index(drop=True)


def _absent_classes(slices: SliceStore) -> list[str]:
    """The classes that no test subject has, where there is a lesion of another class at all."""
    labels = slices.rows("labels", slices.select("test"))
    codes = {int(code) for part in chunks(len(labels)) for code in np.unique(labels[part])}
    has = {name: code in codes for code, name in enumerate(slices.classes, start=segmentation.FIRST_LESION)}
    return [name for name in has if not has[name]] if any(has.values()) else []


def _found_by(case: SegmenterCase, method: Method) -> Callable[[SliceArrays], _Found]:
    return lambda real: [(_keys_of(case), segment(method, real.images).numpy())]


def _scorer(find: Callable[[SliceArrays], _Found], classes: list[str]) -> Score:
    def scored(real: SliceArrays, rows: pd.DataFrame, keys: Mapping[str, object]) -> Iterator[pd.DataFrame]:
        first, planes = rows.iloc[0], rows["plane"].tolist()
        spacing = (first["spacing_z"], first["spacing_y"], first["spacing_x"])
        for own, predicted in find(real):
            yield segmentation.patient_scores(
                predicted, real.labels, spacing, classes, planes=planes, keys={**own, "sequence": ALL, **keys}
            )

    return scored


def _keys_of(case: SegmenterCase) -> dict[str, object]:
    return {
        "method": case.method,
        "protocol": case.arm_name,
        "synthesizer": case.synthesizer_name,
        "training_subjects": len(case.subjects),
        "seed": case.seed,
    }


def _floors(labels: np.ndarray, classes: list[str], plan: TrialPlan) -> _Found:
    """What needs no training, once for each size of the training set: the brain as the last class, and no lesion."""
    brain = labels >= NORMAL_BRAIN
    last = segmentation.FIRST_LESION + len(classes) - 1
    floors = {
        lesion_floor(classes): np.where(brain, last, 0).astype(labels.dtype),
        NORMAL_FLOOR: brain.astype(labels.dtype),
    }
    about = {"protocol": FLOOR, "synthesizer": NO_SYNTHESIZER, "seed": min(case.seed for case in plan.segmenters)}
    return [
        ({"method": name, "training_subjects": size, **about}, found)
        for size in sorted({len(case.subjects) for case in plan.segmenters})
        for name, found in floors.items()
    ]


def lesion_floor(classes: Sequence[str]) -> str:
    """Name of the floor that calls the whole brain the last class."""
    return f"all {classes[-1]}"


def floors_of(classes: Sequence[str]) -> dict[str, str]:
    """Each floor's name and what it is."""
    return {lesion_floor(classes): f"every brain pixel called {classes[-1]}", NORMAL_FLOOR: "no lesion found anywhere"}


def section(
    table: pd.DataFrame, classes: Sequence[str], titles: Mapping[str, str], pictures: Sequence[Picture] = ()
) -> Section:
    """The table of the segmenters (``titles`` by name) trained on real slices alone, floors, and these pictures."""
    if table.empty:
        return Section("segmentation", "Segmentation")
    floors = floors_of(classes)
    return Section(
        "segmentation",
        "Segmentation",
        pictures=pictures,
        tables=[beside.table(table, floors, classes, "dice"), Table(table, "Segmentation", _NOTE)],
        headline=beside.headline(table, floors, classes, "dice", "Dice on real slices alone", titles),
        limits=limits(None, seeds_of(table), str(table["cohort"].iloc[0])),
    )
