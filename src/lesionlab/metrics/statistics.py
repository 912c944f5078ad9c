"""From one row per subject to one row per table line: means, spread, intervals, paired tests, effect sizes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from lesionlab.metrics.inference import (
    DECIMALS,
    RESAMPLES,
    bootstrap_ci,
    cohens_dz,
    holm,
    paired_differences,
    rank_biserial,
    wilcoxon_p_value,
)

# What makes a line of a table; `synthesizer`: whose slices the method saw, `training_subjects`: of how many people. A
# key put in here is carried through every function below; one whose values may differ between a line and its reference
# line belongs into COMPARED too, one that parts families of p-values into FAMILY.
CELL = ["method", "cohort", "protocol", "synthesizer", "training_subjects", "sequence", "class", "metric"]
COMPARED = ["method", "protocol", "synthesizer"]  # what may differ between a line and its reference line
FAMILY = ["cohort", "training_subjects", "metric", "class"]  # p-values of these are corrected together
SCORE_COLUMNS = [*CELL, "subject", "value", "seed"]
_SUMMARY = ["mean", "std", "median", "ci_low", "ci_high", "n", "seed", "seed_std", "published"]
TABLE_COLUMNS = [*CELL, *_SUMMARY, "p_value", "rank_biserial"]
_CHANGE = ["difference", "ci_low", "ci_high", "p_raw", "p_value", "rank_biserial", "cohens_dz", "n"]
_BY_SEED = ["seed_low", "seed_high"]
DIFFERENCE_COLUMNS = [*CELL, "reference", *_CHANGE, *_BY_SEED]

ALPHA = 0.05  # a difference is told from chance by p below it, and an interval that leaves out 0

Line = tuple[Any, ...]  # the values of CELL


class StatisticsOptions(BaseModel):
    """Confidence intervals and tests."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    resamples: int = Field(2000, ge=100, description="of the bootstrap over subjects")


def summarise(
    scores: pd.DataFrame,
    *,
    reference: Mapping[str, object] | None = None,
    published: pd.DataFrame | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """One table line per method, cohort, protocol, sequence, class and metric.

    Subjects are the unit: several seeds of one subject are averaged first, so that neither more seeds nor more slices
    pass for more subjects. What chance does to a training is in the interval, which draws trainings anew as well as
    subjects, and apart in `seed_std`; tests know nothing of it.

    Args:
        scores: long form, columns `SCORE_COLUMNS`, one row per subject (and seed).
        reference: what every line is tested against, for example ``{"protocol": "real"}`` or
            ``{"method": "mean image"}``: the line with these values and otherwise the same method and protocol (where
            there is none, the only one of the same method, or the only one that has these values). Lines that share
            one of the values are not tested: they are the reference, or stand beside it, as one floor beside another.
            None: no tests.
        published: figures of the paper: some of the columns of a line, and `published`.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Returns:
        Columns `TABLE_COLUMNS`. `std` (n - 1) and the interval are NaN for one subject, `published` where the paper
        has no figure. `seed_std`: standard deviation over seeds of the mean over subjects, of the subjects that every
        seed has; NaN for one seed. `p_value`: `wilcoxon_p_value` over the subjects of both lines, Holm-corrected over
        all lines of the same cohort, training subjects, metric and class; NaN for what is not tested and for fewer
        than two common subjects. `rank_biserial`: the effect size of that test, positive where the line lies above its
        reference.

    Raises:
        ValueError: a column is missing, a key of a line is, or a value is not finite.
    """
    lines = _by_subject(scores)
    references = _references(lines, reference or {})
    rows = []
    for line, values in lines.items():
        change = _change(values, lines[references[line]]) if line in references else np.empty((0, 1))
        rows.append({**_summary(line, values, seed, resamples), **_test(_over_seeds(change))})
    table = corrected(pd.DataFrame(rows))
    table = table.merge(_seeds(scores), on=CELL, how="left", validate="1:1")
    return _with_published(table, published)[TABLE_COLUMNS]


def differences(
    scores: pd.DataFrame, reference: Mapping[str, object], *, seed: int = 0, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """How far each line lies from its reference line, over the subjects that both have.

    Args:
        scores: long form, columns `SCORE_COLUMNS`.
        reference: what a line is compared with, as in `summarise`.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Returns:
        Columns `DIFFERENCE_COLUMNS`, one row per line that has a reference line and a subject in common with it.
        `reference`: method, protocol and synthesizer of that line. `difference`: mean over subjects, positive where
        the line lies above, which is worse for distances, of trainings with the same seed where there are any;
        `ci_low`, `ci_high`: its bootstrap interval, over subjects and trainings. `p_raw`: Wilcoxon's test over
        subjects, given these trainings, `p_value`: Holm-corrected as in `summarise`. Effect sizes: `rank_biserial` (of
        ranks, in [-1, 1]) and `cohens_dz` (of values, in standard deviations of the difference). `seed_low`,
        `seed_high`: the least and the greatest mean difference of one seed.

    Raises:
        ValueError: as for `summarise`.
    """
    lines = _by_subject(scores)
    rows = []
    for line, other in _references(lines, reference).items():
        change = _change(lines[line], lines[other])
        if not len(change):
            continue
        low, high = bootstrap_ci(change, seed, resamples=resamples)
        of_subjects, of_seeds = _over_seeds(change), change.mean(axis=0)
        named = dict(zip(CELL, other, strict=True))
        rows.append(
            {
                **dict(zip(CELL, line, strict=True)),
                "reference": ", ".join(str(named[key]) for key in COMPARED),
                "difference": float(of_subjects.mean()),
                "ci_low": low,
                "ci_high": high,
                **_test(of_subjects),
                "cohens_dz": cohens_dz(of_subjects),
                "n": len(change),
                "seed_low": of_seeds.min(),
                "seed_high": of_seeds.max(),
            }
        )
    table = pd.DataFrame(rows, columns=[name for name in DIFFERENCE_COLUMNS if name != "p_raw"])
    return corrected(table.assign(p_raw=table["p_value"]))[DIFFERENCE_COLUMNS]


def _summary(line: Line, values: pd.DataFrame, seed: int, resamples: int) -> dict[str, object]:
    """A table line without its test: its values by subject and seed, summarised."""
    of_subjects = values.mean(axis=1)
    low, high = bootstrap_ci(_complete(values), seed, resamples=resamples)
    return {
        **dict(zip(CELL, line, strict=True)),
        "mean": float(of_subjects.mean()),
        "std": float(of_subjects.std(ddof=1)),
        "median": float(of_subjects.median()),
        "ci_low": low,
        "ci_high": high,
        "n": len(values),
    }


def _test(change: np.ndarray) -> dict[str, float]:
    effect = rank_biserial(change) if len(change) > 1 else float("nan")
    return {"p_value": wilcoxon_p_value(change), "rank_biserial": effect}


def is_clear(row: Mapping[Hashable, Any] | pd.Series) -> bool:
    """Whether a row of :func:`differences` stands out from chance: p is small, and 0 lies outside the interval."""
    excludes_zero = row["ci_low"] > 0 or row["ci_high"] < 0
    return bool(excludes_zero and row["p_value"] < ALPHA)


def corrected(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the p-values of ``p_value`` corrected by Holm within their families, see ``FAMILY``."""
    if table.empty:
        return table
    p_values = table.groupby(FAMILY, sort=False)["p_value"].transform(lambda p: holm(p.to_numpy()))
    return table.assign(p_value=p_values)


def _check(scores: pd.DataFrame) -> None:
    missing = [column for column in SCORE_COLUMNS if column not in scores]
    if missing:
        raise ValueError(f"scores lack the columns {missing}; needed: {SCORE_COLUMNS}")
    if scores.empty:
        raise ValueError("there are no scores to summarise")
    nameless = [key for key in [*CELL, "subject", "seed"] if scores[key].isna().any()]
    if nameless:
        raise ValueError(f"some scores have no value in the columns {nameless}; they would be lost without a word")
    bad = scores[~np.isfinite(scores["value"].to_numpy(np.float64))]
    if len(bad):
        raise ValueError(f"{len(bad)} scores are not finite, the first: {bad.iloc[0].to_dict()}")


def _by_subject(scores: pd.DataFrame) -> dict[Line, pd.DataFrame]:
    """Values by subject (rows) and seed (columns), for each line, lines in the order of their first appearance."""
    _check(scores)
    means = scores.groupby([*CELL, "subject", "seed"], sort=False)["value"].mean().reset_index()
    groups = means.groupby(CELL, sort=False)
    return {tuple(line): rows.pivot(index="subject", columns="seed", values="value") for line, rows in groups}  # type: ignore[arg-type]


def _seeds(scores: pd.DataFrame) -> pd.DataFrame:
    """Columns of `CELL`, `seed` (one, or several as a text) and `seed_std`."""
    once = scores.groupby([*CELL, "subject", "seed"], sort=False)["value"].mean().reset_index()
    # A subject that lacks a seed would make that seed's mean differ by who is in it.
    all_seeds = once.groupby(CELL)["seed"].transform("nunique")
    complete = once[once.groupby([*CELL, "subject"])["seed"].transform("nunique") == all_seeds]
    means = complete.groupby([*CELL, "seed"], sort=False)["value"].mean()
    spread = means.groupby(level=CELL, sort=False).std(ddof=1).rename("seed_std").reset_index()
    named = once.groupby(CELL, sort=False)["seed"].unique().map(_seed_name).reset_index()
    return named.merge(spread, on=CELL, how="left", validate="1:1")


def _seed_name(seeds: np.ndarray) -> int | str:
    return int(seeds[0]) if len(seeds) == 1 else ",".join(str(seed) for seed in sorted(seeds))


def _change(values: pd.DataFrame, reference: pd.DataFrame) -> np.ndarray:
    """Differences to the reference line ``(n, k)``: of the n subjects that both have, by the k seeds that both have.

    Where they have no seed in common ``(n, 1)``, the means over their seeds.
    """
    one, other = values.align(reference, join="inner", axis=0)
    common = one.columns.intersection(other.columns)
    pairs = (one[common], other[common]) if len(common) else (one.mean(axis=1), other.mean(axis=1))
    return _complete(pd.DataFrame(paired_differences(*pairs), index=one.index))


def _complete(values: pd.DataFrame) -> np.ndarray:
    """The values as an array; a seed that a subject lacks counts as the mean of the subject's others."""
    known = values.dropna(how="all")
    return np.where(known.isna(), known.mean(axis=1).to_numpy()[:, None], known)


def _over_seeds(change: np.ndarray) -> np.ndarray:
    """One value per subject, free of rounding errors."""
    return np.round(change.mean(axis=1), DECIMALS)


def _references(lines: Mapping[Line, pd.DataFrame], reference: Mapping[str, object]) -> dict[Line, Line]:
    """The line each line is compared with; lines that share a value with the reference have none."""
    if not reference:
        return {}
    fixed = [key for key in CELL if key not in COMPARED and key not in reference]
    free = [key for key in COMPARED if key not in reference]
    named = {line: dict(zip(CELL, line, strict=True)) for line in lines}
    pools: dict[Line, list[Line]] = defaultdict(list)
    for line, own in named.items():
        if all(own[key] == value for key, value in reference.items()):
            pools[tuple(own[key] for key in fixed)].append(line)
    found = {}
    for line, own in named.items():
        if any(own[key] == value for key, value in reference.items()):
            continue
        candidates = pools[tuple(own[key] for key in fixed)]
        alike = [one for one in candidates if all(named[one][key] == own[key] for key in free)]
        akin = [one for one in candidates if "method" in free and named[one]["method"] == own["method"]]
        chosen = alike or akin or candidates
        if len(chosen) == 1:
            found[line] = chosen[0]
    return found


def _with_published(table: pd.DataFrame, published: pd.DataFrame | None) -> pd.DataFrame:
    if published is None or published.empty:
        return table.assign(published=np.nan)
    keys = [key for key in CELL if key in published]
    return table.merge(published[[*keys, "published"]], on=keys, how="left", validate="m:1")
