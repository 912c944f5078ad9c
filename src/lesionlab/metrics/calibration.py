"""Does CG-SAMR's confidence predict the error? Rank correlation, reliability by bins, sparsification.

Confidence maps are ``(N, C, h, w)`` in (0, 1], errors the absolute differences ``|synthetic - real|`` of the coarse
images at that size (what Eq. 1 trains on), or of the final ones averaged over the same blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from lesionlab.metrics.inference import LEVEL, RESAMPLES
from lesionlab.metrics.synthesis import BRAIN, FIRST_LESION, WHOLE_IMAGE, WHOLE_LESION

BINS = 10
POINTS = 101  # of a sparsification curve, from nothing removed to (almost) all
CORRELATION, AUSE = "confidence_correlation", "confidence_ause"


def expected_confidence(error: np.ndarray | float, weight: float) -> np.ndarray:
    """The confidence that minimises Eq. 1 where the mean absolute error is ``error``: ``min(1, lambda_cm / error)``.

    Args:
        error: >= 0, in units of the images (range 2).
        weight: lambda_cm by which the confidence was learnt: 0.1, 0.03 where the mean confidence exceeded 0.7, or a
            mean over steps of both; NaN gives NaN.
    """
    with np.errstate(divide="ignore"):
        return np.minimum(1.0, weight / np.asarray(error, np.float64))


def rank_correlation(confidence: np.ndarray, error: np.ndarray) -> float:
    """Spearman's correlation of doubt (1 - confidence) and error, any one shape; 1: doubt ranks the errors perfectly.

    Returns:
        A value in [-1, 1]; NaN where one of them is constant.
    """
    doubt, wrong = 1 - np.asarray(confidence, np.float64).ravel(), np.asarray(error, np.float64).ravel()
    if len(doubt) < 2 or np.ptp(doubt) == 0 or np.ptp(wrong) == 0:
        return float("nan")
    return float(stats.spearmanr(doubt, wrong).statistic)


class Sparsification(NamedTuple):
    """What is left of the error when pixels are removed, the least trusted first (Ilg et al. 2018).

    Attributes:
        removed: ``(P,)`` share of pixels removed, 0 to below 1.
        by_confidence: ``(P,)`` mean error of the rest over the mean error of all, least confident removed first.
        oracle: ``(P,)`` the same, largest error removed first.
        ause: area between both curves, 0 at best.
        ause_chance: that area for pixels removed at random.
    """

    removed: np.ndarray
    by_confidence: np.ndarray
    oracle: np.ndarray
    ause: float
    ause_chance: float


def sparsification(confidence: np.ndarray, error: np.ndarray, points: int = POINTS) -> Sparsification:
    """The sparsification curves of confidence maps and errors of one shape.

    Pixels of equal confidence are removed in random order, that is with their mean error.

    Raises:
        ValueError: there is no error anywhere, or no pixel.
    """
    wrong = np.asarray(error, np.float64).ravel()
    if not len(wrong) or not wrong.any():
        raise ValueError("sparsification needs at least one pixel with an error above 0")
    levels, place = np.unique(np.asarray(confidence).ravel(), return_inverse=True)
    counts = np.bincount(place, minlength=len(levels))
    level_means = np.bincount(place, weights=wrong, minlength=len(levels)) / counts
    trusted = np.repeat(level_means[::-1], counts[::-1])  # the most trusted first
    removed = np.arange(points) / points
    left = np.maximum(1, np.round((1 - removed) * len(wrong)).astype(int))
    curve, oracle = (np.cumsum(values)[left - 1] / left / wrong.mean() for values in (trusted, np.sort(wrong)))
    area = float(np.trapezoid(curve - oracle, removed))
    return Sparsification(removed, curve, oracle, area, float(np.trapezoid(1 - oracle, removed)))


def patient_scores(
    confidence: np.ndarray,
    error: np.ndarray,
    labels: np.ndarray,
    sequences: Sequence[str],
    *,
    keys: Mapping[str, object] | None = None,
) -> pd.DataFrame:
    """Calibration of one patient's confidence maps, for each sequence: rank correlation and AUSE.

    Args:
        confidence: ``(N, C, h, w)`` in (0, 1].
        error: ``(N, C, h, w)`` >= 0.
        labels: ``(N, h, w)`` label maps at that size.
        sequences: names of the channels.
        keys: further columns of every row, for example method, cohort, protocol, subject, seed.

    Returns:
        Long form: the keys, then sequence, class (``image``, ``brain``, ``lesion``), metric
        (``confidence_correlation``, ``confidence_ause``), value. What is not defined, as in a region without pixels or
        without any error, has no row.

    Raises:
        ValueError: shapes or numbers of channels differ.
    """
    _check(confidence, error, sequences)
    if labels.shape != (len(confidence), *confidence.shape[2:]):
        raise ValueError(f"labels {labels.shape} do not fit confidence maps {confidence.shape}")
    everywhere = np.ones(labels.shape, bool)
    regions = {WHOLE_IMAGE: everywhere, BRAIN: labels > 0, WHOLE_LESION: labels >= FIRST_LESION}
    rows = []
    for channel, sequence in enumerate(sequences):
        for name, region in regions.items():
            trust, wrong = confidence[:, channel][region], error[:, channel][region]
            scores = {CORRELATION: rank_correlation(trust, wrong)}
            if wrong.any():
                scores[AUSE] = sparsification(trust, wrong).ause
            for metric, value in scores.items():
                if np.isfinite(value):
                    own = {"sequence": sequence, "class": name, "metric": metric, "value": value}
                    rows.append({**(keys or {}), **own})
    return pd.DataFrame(rows)


def reliability(
    confidence: np.ndarray,
    error: np.ndarray,
    subjects: Sequence[str],
    sequences: Sequence[str],
    weight: float,
    *,
    mask: np.ndarray | None = None,
    bins: int = BINS,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Mean error by confidence, for each sequence.

    Args:
        confidence: ``(N, C, h, w)`` in (0, 1].
        error: ``(N, C, h, w)`` >= 0.
        subjects: of each slice, ``(N,)``: pixels and slices of one person are not independent, so the interval
            resamples people.
        sequences: names of the channels.
        weight: lambda_cm of Eq. 1, see :func:`expected_confidence`; NaN where nothing was learnt by it.
        mask: ``(N, h, w)`` bool, which pixels count; default: all.
        bins: equal parts of the confidence's range 0 to 1.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Returns:
        Columns sequence, low, high (the bin, ``low < c <= high``), pixels, confidence and error (means), ci_low and
        ci_high (95 % bootstrap interval of the mean error; NaN for one subject), expected_confidence (of that mean
        error). Bins without pixels are left out.

    Raises:
        ValueError: shapes or numbers of channels differ.
    """
    _check(confidence, error, sequences)
    persons, person = np.unique(np.asarray(subjects), return_inverse=True)
    inside = np.ones((len(confidence), *confidence.shape[2:]), bool) if mask is None else np.asarray(mask, bool)
    person = np.broadcast_to(person[:, None, None], inside.shape)[inside]
    draws = np.random.default_rng(seed).multinomial(len(persons), np.full(len(persons), 1 / len(persons)), resamples)
    tables = []
    for channel, sequence in enumerate(sequences):
        trust, wrong = (np.asarray(x[:, channel][inside], np.float64) for x in (confidence, error))
        place = np.clip(np.ceil(trust * bins).astype(int) - 1, 0, bins - 1)
        cell = place * len(persons) + person
        count, trusts, errors = (
            np.bincount(cell, weights=w, minlength=bins * len(persons)).reshape(bins, -1)
            for w in (np.ones(len(cell)), trust, wrong)
        )
        tables.append(_bins(count, trusts, errors, draws, weight).assign(sequence=sequence))
    table = pd.concat(tables, ignore_index=True)
    return table[["sequence", *(name for name in table if name != "sequence")]]


def _bins(count: np.ndarray, trusts: np.ndarray, errors: np.ndarray, draws: np.ndarray, weight: float) -> pd.DataFrame:
    """Rows of one sequence from counts and sums ``(bins, subjects)`` and the bootstrap's draws ``(B, subjects)``."""
    full = np.flatnonzero(count.sum(axis=1))
    pixels = count[full].sum(axis=1)
    mean_error = errors[full].sum(axis=1) / pixels
    low, high = _interval(count[full], errors[full], draws)
    return pd.DataFrame(
        {
            "low": full / len(count),
            "high": (full + 1) / len(count),
            "pixels": pixels.astype(np.int64),
            "confidence": trusts[full].sum(axis=1) / pixels,
            "error": mean_error,
            "ci_low": low,
            "ci_high": high,
            "expected_confidence": expected_confidence(mean_error, weight),
        }
    )


def _interval(count: np.ndarray, errors: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap interval of each bin's mean error; draws that leave a bin empty say nothing about it."""
    if count.shape[1] < 2:
        return (np.full(len(count), np.nan),) * 2
    drawn = draws @ count.T
    means = np.divide(draws @ errors.T, drawn, out=np.full(drawn.shape, np.nan), where=drawn > 0)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.nanpercentile(means, [tail, 100 - tail], axis=0)
    return low, high


def _check(confidence: np.ndarray, error: np.ndarray, sequences: Sequence[str]) -> None:
    if confidence.shape != error.shape or confidence.ndim != 4 or confidence.shape[1] != len(sequences):
        raise ValueError(f"confidence {confidence.shape} and error {error.shape} of sequences {list(sequences)}")
