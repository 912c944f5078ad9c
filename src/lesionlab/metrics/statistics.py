"""From one row per subject to one row per table line: means, spread, bootstrap intervals, paired tests, Holm."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

#: What makes a line of a table. ``synthesizer``: whose slices the method saw; ``training_subjects``: how many it saw.
CELL = ["method", "cohort", "protocol", "synthesizer", "training_subjects", "sequence", "class", "metric"]
SCORE_COLUMNS = [*CELL, "subject", "value", "seed"]
TABLE_COLUMNS = [*CELL, "mean", "std", "median", "ci_low", "ci_high", "n", "seed", "published", "p_value"]
COMPARED = ["method", "protocol", "synthesizer"]  # what may differ between a line and its reference line
FAMILY = ["cohort", "training_subjects", "metric", "class"]  # p-values of these are corrected together
LEVEL = 0.95
RESAMPLES = 2000  # of the bootstrap
EXACT_UP_TO = 12  # subjects: 2^12 sign patterns are enumerated, beyond that they are sampled
PERMUTATIONS = 20_000


def bootstrap_ci(
    values: np.ndarray, seed: int, level: float = LEVEL, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean; subjects are resampled with replacement.

    Args:
        values: one value per subject, ``(n,)``.
        seed: of the resampling.
        level: coverage, for example 0.95.
        resamples: number of resamples.

    Returns:
        Lower and upper bound; NaN for fewer than two subjects, which tell nothing about the spread.
    """
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return float("nan"), float("nan")
    draws = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(values[draws].mean(axis=1), [tail, 100 - tail])
    return float(low), float(high)


def paired_p_value(one: np.ndarray, other: np.ndarray, seed: int = 0) -> float:
    """Two-sided p-value of a paired permutation test: signs of the differences flipped, statistic |mean|.

    Exact (all sign patterns) up to 12 subjects, beyond that 20,000 random patterns and ``(k + 1) / (m + 1)``. Unlike
    Wilcoxon's test it needs no symmetric ranks, no rule for ties and none for zeros, all of which Dice scores of missed
    lesions bring. With n subjects no p-value below ``2 / 2^n`` can come out.

    Args:
        one: ``(n,)`` values, one per subject.
        other: ``(n,)`` values of the same subjects in the same order.
        seed: of the random patterns.

    Returns:
        p in (0, 1]; NaN for fewer than two subjects.

    Raises:
        ValueError: the lengths differ.
    """
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if one.shape != other.shape or one.ndim != 1:
        raise ValueError(f"paired values must have one length, got {one.shape} and {other.shape}")
    difference = one - other
    n = len(difference)
    if n < 2:
        return float("nan")
    # Flipping all signs changes nothing, and rounding must not tell equal sums apart.
    slack = 1e-12 * max(1.0, float(np.abs(difference).sum()))
    observed = abs(difference.sum()) - slack
    if n <= EXACT_UP_TO:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float(np.mean(np.abs(signs @ difference) >= observed))
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(PERMUTATIONS, n))
    as_extreme = int(np.count_nonzero(np.abs(signs @ difference) >= observed))
    return (as_extreme + 1) / (PERMUTATIONS + 1)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down correction of several p-values ``(m,)``; NaN stays NaN and does not count."""
    p_values = np.asarray(p_values, np.float64)
    corrected = p_values.copy()
    places = np.flatnonzero(~np.isnan(p_values))
    order = places[np.argsort(p_values[places], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(factors * p_values[order]))
    return corrected


def summarise(
    scores: pd.DataFrame,
    *,
    reference: Mapping[str, str] | None = None,
    published: pd.DataFrame | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """One table line per cell (see ``CELL``).

    Subjects are the unit: several seeds of one subject are averaged first.

    Args:
        scores: long form, columns `SCORE_COLUMNS`, one row per subject (and seed).
        reference: what every line is tested against, for example ``{"protocol": "real"}`` or
            ``{"method": "mean image"}``: the line with these values and otherwise the same method and protocol (where
            no line has the same method, the only one that has these values). Lines that share one of the values are
            not tested: they are the reference, or stand beside it, as one floor beside another. None: no tests.
        published: figures of the paper: some of the columns of a line, and `published`.
        seed: of bootstrap and permutations.
        resamples: of the bootstrap.

    Returns:
        Columns `TABLE_COLUMNS`. `std` (n - 1) and the interval are NaN for one subject, `published` where the paper
        has no figure. `p_value`: `paired_p_value` over the subjects of both lines, Holm-corrected over all lines of
        the same cohort, metric and class; NaN for what is not tested and for fewer than two common subjects.

    Raises:
        ValueError: a column is missing, or a value is not finite.
    """
    _check(scores)
    cells = _by_subject(scores)
    rows = [
        {**_line(cell, values, seed, resamples), "p_value": _against_reference(cell, cells, reference, seed)}
        for cell, values in cells.items()
    ]
    table = pd.DataFrame(rows).merge(_seeds(scores), on=CELL, how="left", validate="1:1")
    if len(table):
        table["p_value"] = table.groupby(FAMILY)["p_value"].transform(lambda p: holm(p.to_numpy()))
    return _with_published(table, published)[TABLE_COLUMNS]


def _line(cell: tuple[str, ...], values: pd.Series, seed: int, resamples: int) -> dict[str, object]:
    """A table line without its test: one value per subject, summarised."""
    low, high = bootstrap_ci(values.to_numpy(), seed, resamples=resamples)
    return {
        **dict(zip(CELL, cell, strict=True)),
        "mean": float(values.mean()),
        "std": float(values.std(ddof=1)),
        "median": float(values.median()),
        "ci_low": low,
        "ci_high": high,
        "n": len(values),
    }


def _check(scores: pd.DataFrame) -> None:
    missing = [column for column in SCORE_COLUMNS if column not in scores]
    if missing:
        raise ValueError(f"scores lack the columns {missing}; needed: {SCORE_COLUMNS}")
    if scores.empty:
        raise ValueError("there are no scores to summarise")
    bad = scores[~np.isfinite(scores["value"].to_numpy(np.float64))]
    if len(bad):
        raise ValueError(f"{len(bad)} scores are not finite, the first: {bad.iloc[0].to_dict()}")


def _by_subject(scores: pd.DataFrame) -> dict[tuple[str, ...], pd.Series]:
    """Values by subject, for each cell, cells in the order of their first appearance."""
    means = scores.groupby([*CELL, "subject"], sort=False)["value"].mean().reset_index()
    groups = means.groupby(CELL, sort=False)
    return {tuple(cell): rows.set_index("subject")["value"] for cell, rows in groups}  # type: ignore[call-overload]


def _seeds(scores: pd.DataFrame) -> pd.DataFrame:
    seeds = scores.groupby(CELL, sort=False)["seed"].unique()
    return seeds.map(lambda s: int(s[0]) if len(s) == 1 else ",".join(str(x) for x in sorted(s))).reset_index()


def _against_reference(
    cell: tuple[str, ...],
    cells: Mapping[tuple[str, ...], pd.Series],
    reference: Mapping[str, str] | None,
    seed: int,
) -> float:
    other = _reference_cell(cell, cells, reference or {})
    if other is None:
        return float("nan")
    common = cells[cell].index.intersection(cells[other].index)
    return paired_p_value(cells[cell].loc[common].to_numpy(), cells[other].loc[common].to_numpy(), seed)


def _reference_cell(
    cell: tuple[str, ...], cells: Mapping[tuple[str, ...], pd.Series], reference: Mapping[str, str]
) -> tuple[str, ...] | None:
    """The cell to compare with; None where there is none, or where the cell shares a value with the reference."""
    own = dict(zip(CELL, cell, strict=True))
    if not reference or any(own[key] == value for key, value in reference.items()):
        return None
    fixed = {key: value for key, value in own.items() if key not in COMPARED} | dict(reference)
    named = [dict(zip(CELL, c, strict=True)) for c in cells]
    candidates = [c for c in named if all(c[key] == value for key, value in fixed.items())]
    alike = [c for c in candidates if all(c[key] == own[key] for key in COMPARED if key not in reference)]
    chosen = alike or candidates
    return tuple(chosen[0][key] for key in CELL) if len(chosen) == 1 else None


def _with_published(table: pd.DataFrame, published: pd.DataFrame | None) -> pd.DataFrame:
    if published is None or published.empty:
        return table.assign(published=np.nan)
    keys = [key for key in CELL if key in published]
    return table.merge(published[[*keys, "published"]], on=keys, how="left", validate="m:1")
