"""What a sample of subjects tells: bootstrap intervals, the paired Wilcoxon test, effect sizes, Holm's correction.

Every array holds one value per subject, seeds of one subject averaged; for an interval it may hold one per seed too.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

LEVEL = 0.95
RESAMPLES = 2000  # of the bootstrap
EXACT_UP_TO = 200  # subjects: the exact distribution of the rank sum up to there, its normal limit beyond
DECIMALS = 12  # differences are rounded to so many, so that rounding errors do not tell equal ones apart


def bootstrap_ci(
    values: np.ndarray, seed: int, level: float = LEVEL, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean; subjects are resampled with replacement, and so are trainings.

    Subjects and trainings are crossed, and drawn independently of each other (Owen 2007, the pigeonhole bootstrap): the
    interval covers other subjects and other trainings, where there are several. Of few trainings it covers too
    little: three resampled vary by 2/3 of what three new ones would. Where each subject has trainings of its own, as in
    the folds of a leave-one-out experiment, it is wider than need be. Given paired differences it is the interval of
    the mean difference.

    Args:
        values: one value per subject, ``(n,)``, or per subject and training, ``(n, k)``.
        seed: of the resampling.
        level: coverage, for example 0.95.
        resamples: number of resamples.

    Returns:
        Lower and upper bound; NaN for fewer than two subjects, which tell nothing about the spread.
    """
    if len(values) < 2:
        return float("nan"), float("nan")
    values = np.asarray(values, np.float64).reshape(len(values), -1)
    rng = np.random.default_rng(seed)
    of_trainings = values[rng.integers(len(values), size=(resamples, len(values)))].mean(axis=1)
    trainings = rng.integers(values.shape[1], size=of_trainings.shape)
    means = np.take_along_axis(of_trainings, trainings, axis=1).mean(axis=1)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def paired_differences(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """``one - other`` of the same subjects in the same order, ``(n,)`` or ``(n, k)`` float64, rounded to 12 decimals.

    Raises:
        ValueError: the shapes differ.
    """
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if one.shape != other.shape:
        raise ValueError(f"paired values must have one shape, got {one.shape} and {other.shape}")
    return np.round(one - other, DECIMALS)


def wilcoxon_p_value(differences: np.ndarray) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test of paired differences ``(n,)``.

    Zeros are ranked and then dropped (Pratt 1959): subjects whom nothing changed, such as those without a class, then
    speak against an effect, whereas dropping them first would leave a few subjects the whole say. Exact up to 200
    subjects, ties and zeros included; SciPy's is so up to 13 where there are any, and beyond that, at the sizes of our
    test sets, its normal approximation errs by up to a factor of 1.8. With n subjects no p-value below ``2 / 2^n`` can
    come out.

    Returns:
        p in (0, 1]; 1 where all differences are zero, NaN for fewer than two subjects.
    """
    if len(differences) < 2:
        return float("nan")
    if not np.any(differences):
        return 1.0
    if len(differences) > EXACT_UP_TO:
        return float(stats.wilcoxon(differences, zero_method="pratt", method="asymptotic").pvalue)
    doubled = np.rint(2 * stats.rankdata(np.abs(differences))).astype(int)  # ranks of ties end in a half
    chances = _rank_sum_chances(doubled[differences != 0])
    observed = int(doubled[differences > 0].sum())
    return float(min(1.0, 2 * min(chances[: observed + 1].sum(), chances[observed:].sum())))


def _rank_sum_chances(ranks: np.ndarray) -> np.ndarray:
    """Probability of each sum 0, 1, .. of whole-numbered ranks, each of them positive with probability 1/2.

    The shift algorithm of Streitberg and Roehmel 1986: one rank after the other, present or absent.
    """
    chances = np.ones(1)
    for rank in ranks:
        absent, present = np.pad(chances, (0, rank)), np.pad(chances, (rank, 0))
        chances = (absent + present) / 2
    return chances


def rank_biserial(differences: np.ndarray) -> float:
    """Matched-pairs rank-biserial correlation: the effect size that goes with Wilcoxon's test (Kerby 2014).

    The ranks of the positive differences minus those of the negative ones, over all ranks: 1 where every subject
    gained, -1 where every one lost, 0 where gains and losses balance. Zeros count in the sum of all ranks, so that
    subjects whom nothing changed draw it towards 0.

    Returns:
        A value in [-1, 1]; NaN without a subject.
    """
    if not len(differences):
        return float("nan")
    ranks = stats.rankdata(np.abs(differences))
    return float((ranks * np.sign(differences)).sum() / ranks.sum())


def cohens_dz(differences: np.ndarray) -> float:
    """Cohen's d_z: the mean difference over the standard deviation (n - 1) of the differences.

    Returns:
        Any number; NaN for fewer than two subjects, and where all differences are one value other than 0.
    """
    if len(differences) < 2:
        return float("nan")
    if not np.any(differences):
        return 0.0
    spread = float(np.std(differences, ddof=1)) if np.ptp(differences) > 0 else 0.0
    return float(np.mean(differences)) / spread if spread > 0 else float("nan")


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down correction of several p-values ``(m,)``; NaN stays NaN and does not count."""
    p_values = np.asarray(p_values, np.float64)
    corrected = p_values.copy()
    places = np.flatnonzero(~np.isnan(p_values))
    order = places[np.argsort(p_values[places], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(factors * p_values[order]))
    return corrected
