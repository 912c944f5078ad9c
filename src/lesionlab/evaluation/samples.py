"""Sets of synthetic slices: how they lie among real ones, by the features of a segmenter of real slices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from lesionlab.augmentation.synthetic import synthetic_count
from lesionlab.evaluation.scoring import baseline_of
from lesionlab.evaluation.sections import Section, Table
from lesionlab.methods.applying import segment
from lesionlab.methods.base import Method
from lesionlab.metrics import memorisation, sample_quality
from lesionlab.metrics.segmentation import FIRST_LESION, dice
from lesionlab.slices.store import Rows, SliceStore
from lesionlab.training.runs import TrainingRun
from lesionlab.trials.plan import SynthesizerCase, TrialPlan

_BATCH = 32
ABOUT = ["synthesizer", "training_subjects", "seed"]
_LEAD = (
    "Features of the segmenter that was trained on the same subjects' real slices alone, averaged over each slice; "
    "there is no network of ImageNet, and the figures compare with no published FID. Real slices of test subjects, as"
    " many, stand beside: what a perfect synthesizer would reach. dice: does that segmenter find the lesion where the"
    " label map has it?"
)
_KINDS = (
    "Mean distance between two synthetic slices of a kind, in those features, and its ratio to that between two real "
    "training slices: 1 is as diverse as they are."
)


def measure_samples(
    plan: TrialPlan, slices: SliceStore, synthetic: Mapping[str, SliceStore], segmenters: Mapping[str, TrainingRun]
) -> pd.DataFrame:
    """Each synthesizer's slices, and real test slices for comparison, against real training slices.

    All by a segmenter that was trained on the same subjects' real slices alone and gives features; synthesizers without
    one are left out. Sets are of equal size, drawn by chance, since the measures depend on it.

    Returns:
        ``synthesizer, training_subjects, seed, compared`` (synthetic, test), ``n``, ``frechet``, ``kernel``,
        ``precision``, ``recall``, ``diversity``, and ``dice_<class>``: what that segmenter finds of the label map.
    """
    rows = []
    for case in drawing(plan, synthetic):
        segmenter = _baseline(plan, case, segmenters)
        if segmenter is None:
            continue
        real = pictures_of(slices, slices.select("train", "pathological", case.subjects))
        sets = {
            "synthetic": made_for(plan, case, slices, synthetic[case.key]),
            "test": pictures_of(slices, slices.select("test", "pathological")),
        }
        size = min(len(real.images), *(len(one.images) for one in sets.values()))
        rng = np.random.default_rng(case.seed)
        base = _features(segmenter, real.images.take(rng.permutation(len(real.images))[:size]))
        for name, one in sets.items():
            chosen = rng.permutation(len(one.images))[:size]
            images, labels = one.images.take(chosen), one.labels.take(chosen)
            found = _compared(base, _features(segmenter, images))
            rows.append({**about(case), "compared": name, "n": size, **found, **_found(segmenter, images, labels)})
    return pd.DataFrame(rows, columns=None if rows else [*ABOUT, "compared", "n"])


def measure_diversity(
    plan: TrialPlan, slices: SliceStore, synthetic: Mapping[str, SliceStore], segmenters: Mapping[str, TrainingRun]
) -> pd.DataFrame:
    """Spread of each synthesizer's slices over that of the real training slices, by kind of manipulation.

    Features are those of :func:`measure_samples`.

    Returns:
        ``synthesizer, training_subjects, seed`` and the columns of
        :func:`lesionlab.metrics.sample_quality.diversity`.
    """
    parts = []
    for case in drawing(plan, synthetic):
        segmenter = _baseline(plan, case, segmenters)
        if segmenter is None:
            continue
        made = made_for(plan, case, slices, synthetic[case.key])
        real = pictures_of(slices, slices.select("train", "pathological", case.subjects))
        one, two = sample_quality.standardised(_features(segmenter, real.images), _features(segmenter, made.images))
        table = sample_quality.diversity(one, two, made.table["manipulation"].tolist())
        parts.append(pd.DataFrame([about(case)] * len(table)).join(table))
    columns = [*ABOUT, "kind", "n", "distance", "ratio"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def about(case: SynthesizerCase) -> dict[str, Any]:
    """The columns that say whose rows they are."""
    return dict(zip(ABOUT, (case.name, len(case.subjects), case.seed), strict=True))


def of_case(case: SynthesizerCase, table: pd.DataFrame) -> pd.DataFrame:
    """A synthesizer's own rows of a table of all."""
    if table.empty:
        return table
    return table[(table[ABOUT] == about(case)).all(axis=1)]


def drawing(plan: TrialPlan, synthetic: Mapping[str, SliceStore]) -> list[SynthesizerCase]:
    """The synthesizers that have drawn slices for the trial's segmenters."""
    return [case for case in plan.synthesizers if case.key in synthetic and plan.segmenters]


def _baseline(plan: TrialPlan, case: SynthesizerCase, segmenters: Mapping[str, TrainingRun]) -> Method | None:
    """A segmenter with features that saw the same subjects' real slices alone; None where there is none."""
    for one in plan.segmenters:
        alike = one.subjects == case.subjects and one.seed == case.seed
        if one.arm_name == baseline_of(plan) and alike:
            method = segmenters[one.key].method()
            if hasattr(method, "features"):
                return method
    return None


def _features(segmenter: Method, images: Rows) -> np.ndarray:
    """``(N, F)`` float32."""
    features: Callable[[torch.Tensor], torch.Tensor] = segmenter.features  # type: ignore[assignment]
    device = next(segmenter.parameters()).device
    parts = [images[at : at + _BATCH] for at in range(0, len(images), _BATCH)]
    return torch.cat([features(torch.as_tensor(part).to(device)).cpu() for part in parts]).numpy()


def _compared(real: np.ndarray, other: np.ndarray) -> dict[str, float]:
    one, two = sample_quality.standardised(real, other)
    enough = len(one) > sample_quality.NEIGHBOURS
    covered = sample_quality.precision_recall(one, two) if enough else (float("nan"), float("nan"))
    spread = sample_quality.mean_pairwise_distance(one)
    return {
        "frechet": sample_quality.frechet_distance(one, two),
        "kernel": sample_quality.kernel_distance(one, two),
        "precision": covered[0],
        "recall": covered[1],
        "diversity": sample_quality.mean_pairwise_distance(two) / spread if spread else float("nan"),
    }


def _found(segmenter: Method, images: Rows, labels: Rows) -> dict[str, float]:
    """Dice of what the segmenter finds, over all pixels of these slices."""
    predicted, true = segment(segmenter, images).numpy(), labels[:]
    codes = enumerate(segmenter.task.lesion_classes, start=FIRST_LESION)
    return {f"dice_{name}": dice(predicted == code, true == code) for code, name in codes}


def made_for(
    plan: TrialPlan, case: SynthesizerCase, slices: SliceStore, synthetic: SliceStore
) -> memorisation.Pictures:
    """The first of a synthesizer's slices, as many as the trial has use for: another trial may have drawn more."""
    own = slices.table.iloc[slices.select("train", subject=case.subjects)]
    return pictures_of(synthetic, synthetic.select()[: synthetic_count(own, plan.ratio(case.key))])


def pictures_of(slices: SliceStore, places: np.ndarray) -> memorisation.Pictures:
    """Slices that stay on disk: a cohort may be larger than memory."""
    images, labels = (slices.rows(name, places) for name in ("images", "labels"))
    return memorisation.Pictures(images, labels, slices.table.iloc[places].reset_index(drop=True))


def parts_of(places: np.ndarray) -> list[np.ndarray]:
    """Places of slices in parts, each few enough for a network at once."""
    return np.array_split(places, max(1, -(-len(places) // _BATCH)))


def section(quality: pd.DataFrame, diversity: pd.DataFrame) -> Section:
    """Both tables."""
    tables = [Table(spaced(quality)), Table(spaced(diversity), "Diversity by kind of manipulation", _KINDS)]
    return Section("samples", "The synthetic slices as a set", _LEAD, tables=tables)


def spaced(table: pd.DataFrame) -> pd.DataFrame:
    """The table with spaces in the names of its columns."""
    return table.rename(columns=lambda name: str(name).replace("_", " "))
