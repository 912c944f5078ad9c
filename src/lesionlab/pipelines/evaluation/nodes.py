"""Scores of the test subjects and the tables over them, as nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import torch

from lesionlab.data.slice_store import SliceStore
from lesionlab.data.slices import NORMAL_BRAIN
from lesionlab.data.synthetic import REAL
from lesionlab.methods.base import Synthesizer
from lesionlab.metrics import segmentation, statistics, synthesis
from lesionlab.parameters import CohortOptions, StatisticsOptions
from lesionlab.pipelines.training.nodes import segment
from lesionlab.training.runs import TrainingRun, TrainingRuns

PAIRED, FLOOR, ALL = "paired", "floor", "all"
MEAN_IMAGE, ATLAS = "mean image", "atlas"
TUMOR_FLOOR, NORMAL_FLOOR = "all tumor", "all normal"


def score_synthesis(slices: SliceStore, cgsamr: TrainingRun, cohort: CohortOptions, seed: int) -> pd.DataFrame:
    """Synthesis of each test subject's own label maps against its real images, beside two floors."""
    method = cgsamr.method()
    if not isinstance(method, Synthesizer):
        raise TypeError(f"{method.name} synthesizes no images")
    mean = slices.images()[slices.select(split="train")].mean(axis=0)
    parts = []
    for subject, places in test_subjects(slices):
        real = slices.batch(places)
        labels = torch.from_numpy(real.labels).long()
        made = {
            (method.name, PAIRED): method.synthesize(labels, torch.from_numpy(real.atlas)).cpu().numpy(),
            (MEAN_IMAGE, FLOOR): np.broadcast_to(mean, real.images.shape),
        }
        if real.atlas.shape[1]:
            made[ATLAS, FLOOR] = _middle_planes(real.atlas, real.images.shape[1])
        for (name, protocol), images in made.items():
            keys = _keys(name, cohort.name, protocol, subject, seed)
            scored = synthesis.patient_scores(
                images, real.images, real.labels, slices.sequences, slices.classes, keys=keys
            )
            parts.append(scored)
    return pd.concat(parts, ignore_index=True)[statistics.SCORE_COLUMNS]


def score_segmentation(slices: SliceStore, unets: TrainingRuns, cohort: CohortOptions, seed: int) -> pd.DataFrame:
    """Each test subject segmented by the U-Net of every protocol, beside two floors."""
    methods = {protocol: unets[protocol].method() for protocol in unets}
    parts = []
    for subject, places in test_subjects(slices):
        real, table = slices.batch(places), slices.table.iloc[places]
        images = torch.from_numpy(real.images)
        found = {("unet", protocol): segment(method, images).numpy() for protocol, method in methods.items()}
        for (name, protocol), predicted in {**found, **_segmentation_floors(real.labels, slices.classes)}.items():
            keys = _keys(name, cohort.name, protocol, subject, seed) | {"sequence": ALL}
            parts.append(_by_study(predicted, real.labels, table, slices.classes, keys))
    return pd.concat(parts, ignore_index=True)[statistics.SCORE_COLUMNS]


def test_subjects(slices: SliceStore) -> Iterator[tuple[str, np.ndarray]]:
    """Each test subject with the places of its slices."""
    table = slices.table.iloc[slices.select(split="test")]
    for subject, rows in table.groupby("subject", sort=True):
        yield str(subject), rows["index"].to_numpy()


def _middle_planes(atlas: np.ndarray, channels: int) -> np.ndarray:
    """Of the atlas's adjacent planes the one at the slice itself."""
    return atlas[:, channels : 2 * channels]


def _segmentation_floors(labels: np.ndarray, classes: list[str]) -> dict[tuple[str, str], np.ndarray]:
    """What needs no training: the whole brain as the last class, and no lesion at all."""
    brain = labels >= NORMAL_BRAIN
    last = segmentation.FIRST_LESION + len(classes) - 1
    name = TUMOR_FLOOR if classes[-1] == "tumor" else f"all {classes[-1]}"
    return {
        (name, FLOOR): np.where(brain, last, 0).astype(labels.dtype),
        (NORMAL_FLOOR, FLOOR): brain.astype(labels.dtype),
    }


def _by_study(
    predicted: np.ndarray, truth: np.ndarray, table: pd.DataFrame, classes: list[str], keys: Mapping[str, object]
) -> pd.DataFrame:
    """Scores of a subject: of its one study, or the mean over its visits."""
    parts = []
    for _, rows in table.reset_index(drop=True).groupby("study"):
        first, own = rows.iloc[0], rows.index.to_numpy()
        spacing = (first["spacing_z"], first["spacing_y"], first["spacing_x"])
        planes = rows["plane"].tolist()
        parts.append(
            segmentation.patient_scores(predicted[own], truth[own], spacing, classes, planes=planes, keys=keys)
        )
    columns = [column for column in parts[0] if column != "value"]
    return pd.concat(parts).groupby(columns, sort=False)["value"].mean().reset_index()


def _keys(method: str, cohort: str, protocol: str, subject: str, seed: int) -> dict[str, object]:
    return {"method": method, "cohort": cohort, "protocol": protocol, "subject": subject, "seed": seed}


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
        table(synthesis_scores, {"method": ATLAS}),
        table(segmentation_scores[real_alone]),
        table(segmentation_scores[trained], {"protocol": options.reference}),
    )
