"""Does a synthesizer's confidence tell its error? As a node."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from lesionlab.losses.confidence import shrink
from lesionlab.methods.applying import draw
from lesionlab.methods.base import Method
from lesionlab.methods.samr import SAMR
from lesionlab.metrics import calibration
from lesionlab.networks.decoder import Synthesis
from lesionlab.parameters import StatisticsOptions
from lesionlab.pipelines.evaluation.samples import about, parts_of
from lesionlab.slices.store import SliceArrays, SliceStore
from lesionlab.training.runs import TrainingRun
from lesionlab.trials.plan import TrialPlan


def measure_reliability(
    plan: TrialPlan,
    slices: SliceStore,
    synthesizers: Mapping[str, TrainingRun],
    options: StatisticsOptions,
    seed: int,
) -> pd.DataFrame:
    """Mean error by confidence on the test slices, of every synthesizer that has confidence maps.

    Returns:
        ``synthesizer, training_subjects, seed`` and the columns of
        :func:`lesionlab.metrics.calibration.reliability`; empty where none has.
    """
    places = slices.select("test")
    parts = []
    for case in plan.synthesizers:
        run = synthesizers[case.key]
        method = run.method()
        trust = coarse_error(method, slices, places)
        if trust is None:
            continue
        confidence, error, labels = trust
        table = calibration.reliability(
            confidence,
            error,
            slices.table.iloc[places]["subject"].tolist(),
            slices.sequences,
            _lambda_learnt_with(method, run.history()),
            mask=labels > 0,
            seed=seed,
            resamples=options.resamples,
        )
        parts.append(table.assign(**about(case)))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["synthesizer", "sequence"])


def _lambda_learnt_with(method: Method, history: pd.DataFrame) -> float:
    """lambda_cm as the confidence maps have learnt it, which decides the confidence that Eq. 1 asks for.

    The rule goes to and fro between its two values, step by step: what it comes to is the mean over the last half of
    the training, each step counting as its rate. Of a checkpoint chosen as the best of earlier steps it is only about
    right. NaN where Eq. 1 was no part of the loss.
    """
    assert isinstance(method, SAMR)
    if not dict(method.options.weights).get("confidence"):
        return float("nan")
    table = history.pivot_table(index="step", columns="name", values="value")[["lambda_cm", "rate/G"]].dropna()
    late = table[table.index > table.index.max() / 2]
    return float(np.average(late["lambda_cm"], weights=late["rate/G"]))


def coarse_error(
    method: Method, slices: SliceStore, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Confidence and error ``(N, C, h, w)`` of the coarse images, and label maps ``(N, h, w)`` of that size.

    None for a synthesizer without confidence maps.
    """
    parts = []
    for part in parts_of(places):
        real = slices.batch(part)
        found = error_of(draw(method, real.labels, real.atlas, real.tissues), real)
        if found is None:
            return None
        parts.append(found)
    confidence, error, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return confidence, error, labels


def error_of(made: Synthesis, real: SliceArrays) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """:func:`coarse_error` of these slices."""
    if made.coarse is None or made.confidence is None:
        return None
    error = (made.coarse - shrink(torch.from_numpy(real.images), made.coarse)).abs()
    step = real.labels.shape[-1] // made.coarse.shape[-1]
    return made.confidence.numpy(), error.numpy(), real.labels[:, ::step, ::step]
