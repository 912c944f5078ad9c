"""Synthesis: the test subjects' own label maps drawn, against their real images and beside floors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from lesionlab.evaluation import floors as beside
from lesionlab.evaluation.reliability import error_of
from lesionlab.evaluation.scoring import FLOOR, PAIRED, Score, by_subject, drawn_as, seeds_of
from lesionlab.evaluation.sections import Picture, Section, Table
from lesionlab.evaluation.wording import limits
from lesionlab.figures import charts
from lesionlab.methods.base import Method
from lesionlab.metrics import calibration, synthesis
from lesionlab.metrics.distances import chunks
from lesionlab.slices.cutting import IMAGE_BACKGROUND, NORMAL_BRAIN
from lesionlab.slices.store import SliceArrays, SliceStore
from lesionlab.training.runs import TrainingRun
from lesionlab.trials.plan import NO_SYNTHESIZER, SynthesizerCase, TrialPlan

MEAN_IMAGE, ATLAS = "mean image", "atlas"
FLOORS: Mapping[str, str] = {
    MEAN_IMAGE: "the mean of all training slices, whatever the label map says",
    ATLAS: "the atlas aligned with the subject, without any lesion",
}
_METRIC = "pixel_accuracy"
_NOTE = "How close the synthetic images are to the real ones, and how close the floors come."


def score(plan: TrialPlan, slices: SliceStore, synthesizers: Mapping[str, TrainingRun], cohort: str) -> pd.DataFrame:
    """Synthesis of each test subject's own label maps against its real images, beside two floors; ``SCORE_COLUMNS``."""

    def scorers() -> Iterator[Score]:
        floors: set[str] = set()
        for case in plan.synthesizers:
            own_set = case.key.partition("/")[2]  # floors are the same whatever the synthesizer
            mean = None if own_set in floors else _mean_image(slices, case.subjects)
            floors.add(own_set)
            method = synthesizers[case.key].method()
            yield partial(_scores, case=case, method=method, mean=mean, slices=slices)
            del method

    return by_subject(slices, scorers(), {"cohort": cohort})


def _scores(
    real: SliceArrays,
    _: pd.DataFrame,
    keys: Mapping[str, object],
    *,
    case: SynthesizerCase,
    method: Method,
    mean: np.ndarray | None,
    slices: SliceStore,
) -> Iterator[pd.DataFrame]:
    """One synthesizer's scores of one study; those of the floors too where a mean image is given."""
    own = {"synthesizer": NO_SYNTHESIZER, "training_subjects": len(case.subjects), "seed": case.seed, **keys}
    drawn = drawn_as(method, real)
    if (trust := error_of(drawn, real)) is not None:
        about = {"method": case.name, "protocol": PAIRED, **own}
        yield calibration.patient_scores(*trust, slices.sequences, keys=about)
    made = {(case.name, PAIRED): drawn.images.numpy()} | ({} if mean is None else _floors(real, mean))
    for (name, protocol), images in made.items():
        yield synthesis.patient_scores(
            images,
            real.images,
            real.labels,
            slices.sequences,
            slices.classes,
            keys={"method": name, "protocol": protocol, **own},
        )


def _mean_image(slices: SliceStore, subjects: Sequence[str]) -> np.ndarray:
    """The mean training slice ``(C, H, W)`` float32, read some slices at a time."""
    images = slices.rows("images", slices.select("train", subject=subjects))
    total = sum(images[rows].sum(axis=0, dtype=np.float64) for rows in chunks(len(images)))
    return np.asarray(total / len(images), np.float32)


def _floors(real: SliceArrays, mean: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """What knows nothing of the lesion: the mean training slice, and the atlas where there is one.

    Outside the brain both are black, as synthesized slices are.
    """
    channels = real.images.shape[1]
    floors = {(MEAN_IMAGE, FLOOR): np.broadcast_to(mean, real.images.shape)}
    if real.atlas.shape[1]:  # of its adjacent planes the one at the slice itself
        floors[ATLAS, FLOOR] = real.atlas[:, channels : 2 * channels]
    outside = real.labels[:, None] < NORMAL_BRAIN
    return {name: np.where(outside, IMAGE_BACKGROUND, images) for name, images in floors.items()}


def section(
    table: pd.DataFrame, slices: SliceStore, titles: Mapping[str, str], pictures: Sequence[Picture] = ()
) -> Section:
    """The table of synthesis with its floors, pixel accuracy by method (``titles`` by name), and these pictures."""
    if table.empty:
        return Section("synthesis", "Synthesis")
    return Section(
        "synthesis",
        "Synthesis",
        pictures=[_accuracy(table, slices), *pictures],
        tables=[beside.table(table, FLOORS, slices.classes, _METRIC), Table(table, "Synthesis", _NOTE)],
        headline=beside.headline(table, FLOORS, slices.classes, _METRIC, "Pixel accuracy", titles),
        limits=limits(None, seeds_of(table), str(table["cohort"].iloc[0])),
    )


def _accuracy(table: pd.DataFrame, slices: SliceStore) -> Picture:
    """Pixel accuracy of every synthesizer and of the floors, at the largest set of training subjects."""
    rows = table[table["training_subjects"] == table["training_subjects"].max()]
    methods = list(dict.fromkeys(rows["method"]))
    bars = charts.accuracy_bars(rows, methods=methods, sequences=slices.sequences, classes=slices.classes)
    caption = "Within 16 of 255 grey levels; mean over test subjects."
    return Picture(bars, "Pixel accuracy against the floors", caption)
