"""Scores of the test subjects and the tables over them, as nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pandas as pd
import torch

from lesionlab.data.slice_store import SliceArrays, SliceStore
from lesionlab.data.slices import IMAGE_BACKGROUND, NORMAL_BRAIN
from lesionlab.data.synthetic import REAL
from lesionlab.errors import InputError
from lesionlab.methods.base import Synthesizer
from lesionlab.metrics import segmentation, statistics, synthesis
from lesionlab.parameters import CohortOptions, StatisticsOptions
from lesionlab.pipelines.training.nodes import segment
from lesionlab.training.runs import TrainingRun, TrainingRuns

PAIRED, FLOOR, ALL = "paired", "floor", "all"
MEAN_IMAGE, ATLAS = "mean image", "atlas"
NORMAL_FLOOR = "all normal"


def score_synthesis(slices: SliceStore, cgsamr: TrainingRun, cohort: CohortOptions, seed: int) -> pd.DataFrame:
    """Synthesis of each test subject's own label maps against its real images, beside two floors."""
    method = cgsamr.method()
    if not isinstance(method, Synthesizer):
        raise TypeError(f"{method.name} synthesizes no images")
    mean = slices.images()[slices.select(split="train")].mean(axis=0)

    def score(real: SliceArrays, _: pd.DataFrame, keys: Mapping[str, object]) -> Iterator[pd.DataFrame]:
        labels = torch.from_numpy(real.labels).long()
        made = {
            (method.name, PAIRED): method.synthesize(labels, torch.from_numpy(real.atlas)).cpu().numpy(),
            **_synthesis_floors(real, mean),
        }
        for (name, protocol), images in made.items():
            own = {"method": name, "protocol": protocol, **keys}
            yield synthesis.patient_scores(images, real.images, real.labels, slices.sequences, slices.classes, keys=own)

    return _by_subject(slices, score, {"cohort": cohort.name, "seed": seed})


def score_segmentation(slices: SliceStore, unets: TrainingRuns, cohort: CohortOptions, seed: int) -> pd.DataFrame:
    """Each test subject segmented by the U-Net of every protocol, beside two floors."""
    methods = {protocol: unets[protocol].method() for protocol in unets}

    def score(real: SliceArrays, rows: pd.DataFrame, keys: Mapping[str, object]) -> Iterator[pd.DataFrame]:
        images, first = torch.from_numpy(real.images), rows.iloc[0]
        spacing = (first["spacing_z"], first["spacing_y"], first["spacing_x"])
        found = {("unet", protocol): segment(method, images).numpy() for protocol, method in methods.items()}
        for (name, protocol), predicted in {**found, **_segmentation_floors(real.labels, slices.classes)}.items():
            own = {"method": name, "protocol": protocol, "sequence": ALL, **keys}
            planes = rows["plane"].tolist()
            yield segmentation.patient_scores(predicted, real.labels, spacing, slices.classes, planes=planes, keys=own)

    return _by_subject(slices, score, {"cohort": cohort.name, "seed": seed})


def _by_subject(
    slices: SliceStore,
    score: Callable[[SliceArrays, pd.DataFrame, Mapping[str, object]], Iterator[pd.DataFrame]],
    keys: Mapping[str, object],
) -> pd.DataFrame:
    """Scores of every test subject: of its one study, or the mean over its visits."""
    parts: list[pd.DataFrame] = []
    for subject, places in test_subjects(slices):
        for _, rows in slices.table.iloc[places].groupby("study", sort=True):
            parts.extend(score(slices.batch(rows["index"].to_numpy()), rows, {**keys, "subject": subject}))
    if not parts:
        raise InputError(
            "there is no test slice to score",
            given=f"slices of {', '.join(sorted(slices.table['split'].unique()))} subjects",
            allowed="slices of at least one test subject",
            cure="change the split, or look at why the test subjects failed",
        )
    scores: pd.DataFrame = pd.concat(parts, ignore_index=True)
    columns = [column for column in statistics.SCORE_COLUMNS if column != "value"]
    return scores.groupby(columns, sort=False)["value"].mean().reset_index()[statistics.SCORE_COLUMNS]


def test_subjects(slices: SliceStore) -> Iterator[tuple[str, np.ndarray]]:
    """Each test subject with the places of its slices."""
    table = slices.table.iloc[slices.select(split="test")]
    for subject, rows in table.groupby("subject", sort=True):
        yield str(subject), rows["index"].to_numpy()


def _synthesis_floors(real: SliceArrays, mean: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """What knows nothing of the lesion: the mean training slice, and the atlas where there is one.

    Outside the brain both are black, as synthesized slices are.
    """
    channels = real.images.shape[1]
    floors = {(MEAN_IMAGE, FLOOR): np.broadcast_to(mean, real.images.shape)}
    if real.atlas.shape[1]:  # of its adjacent planes the one at the slice itself
        floors[ATLAS, FLOOR] = real.atlas[:, channels : 2 * channels]
    outside = real.labels[:, None] < NORMAL_BRAIN
    return {name: np.where(outside, IMAGE_BACKGROUND, images) for name, images in floors.items()}


def _segmentation_floors(labels: np.ndarray, classes: list[str]) -> dict[tuple[str, str], np.ndarray]:
    """What needs no training: the whole brain as the last class, and no lesion at all."""
    brain = labels >= NORMAL_BRAIN
    last = segmentation.FIRST_LESION + len(classes) - 1
    return {
        (lesion_floor(classes), FLOOR): np.where(brain, last, 0).astype(labels.dtype),
        (NORMAL_FLOOR, FLOOR): brain.astype(labels.dtype),
    }


def lesion_floor(classes: list[str]) -> str:
    """Name of the floor that calls the whole brain the last class."""
    return f"all {classes[-1]}"


def tabulate(
    synthesis_scores: pd.DataFrame,
    segmentation_scores: pd.DataFrame,
    published: list[dict[str, object]],
    options: StatisticsOptions,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The three tables: synthesis, segmentation on real slices alone, and augmentation."""
    figures = pd.DataFrame(published).rename(columns={"value": "published"})
    real_alone = segmentation_scores["protocol"].isin([REAL, FLOOR])
    trained = segmentation_scores["protocol"] != FLOOR

    def table(scores: pd.DataFrame, reference: dict[str, str] | None = None) -> pd.DataFrame:
        return statistics.summarise(
            scores,
            reference=reference,
            published=figures,
            seed=seed,
            resamples=options.resamples,
        )

    return (
        table(synthesis_scores, {"method": ATLAS, "protocol": FLOOR}),
        table(segmentation_scores[real_alone]),
        table(segmentation_scores[trained], {"protocol": options.reference}),
    )
