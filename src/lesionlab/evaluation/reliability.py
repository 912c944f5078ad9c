"""Does a synthesizer's confidence tell its error?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch

from lesionlab.evaluation.samples import about, of_case, parts_of
from lesionlab.evaluation.scoring import drawn_as
from lesionlab.evaluation.sections import Picture
from lesionlab.figures import sample_charts
from lesionlab.losses.confidence import shrink
from lesionlab.methods.base import Method
from lesionlab.metrics import calibration
from lesionlab.metrics.statistics import StatisticsOptions
from lesionlab.networks.decoder import Synthesis
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
            _lambda_learnt_with(method, run),
            mask=labels > 0,
            seed=seed,
            resamples=options.resamples,
        )
        parts.append(table.assign(**about(case)))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["synthesizer", "sequence"])


def _lambda_learnt_with(method: Method, run: TrainingRun) -> float:
    """lambda_cm of Eq. 1 of CG-SAMR, which decides the confidence that it asks for; NaN where a method says nothing."""
    learnt: Callable[[pd.DataFrame], float] | None = getattr(method, "learnt_lambda", None)
    return float("nan") if learnt is None else learnt(run.history())


def coarse_error(
    method: Method, slices: SliceStore, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Confidence and error ``(N, C, h, w)`` of the coarse images, and label maps ``(N, h, w)`` of that size.

    None for a synthesizer without confidence maps.
    """
    parts = []
    for part in parts_of(places):
        real = slices.batch(part)
        found = error_of(drawn_as(method, real), real)
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


def pictures(plan: TrialPlan, slices: SliceStore, reliability: pd.DataFrame) -> list[Picture]:
    """Mean error by confidence of each synthesizer that has confidence maps."""
    found = []
    for case in plan.synthesizers:
        rows = of_case(case, reliability)
        if len(rows):
            drawn = sample_charts.reliability_plot(rows, sequences=slices.sequences)
            caption = (
                "Mean error of the coarse image by confidence, over the test subjects' brains; bars: 95 % intervals."
            )
            found.append(Picture(drawn, f"Does {case.recipe.title}'s confidence foretell its error?", caption))
    return found
