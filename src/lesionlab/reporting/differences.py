"""What synthetic slices changed: each protocol against the baseline, on the same patients."""

from __future__ import annotations

import pandas as pd

from lesionlab.metrics.statistics import RESAMPLES, bootstrap_ci

DIFFERENCE_COLUMNS = (
    "method",
    "protocol",
    "class",
    "metric",
    "difference",
    "ci_low",
    "ci_high",
    "p_value",
    "n",
)
_LINE = ["method", "protocol", "class", "metric"]


def differences(
    scores: pd.DataFrame, table: pd.DataFrame, *, baseline: str = "real", seed: int = 0, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """Mean difference to the baseline protocol with its bootstrap interval over patients.

    Args:
        scores: long form, columns ``method, protocol, class, metric, subject, value`` at least; several values of one
            subject (seeds) are averaged first.
        table: the summary of the same scores; its p-values (paired, corrected) are taken over.
        baseline: the protocol compared with.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Returns:
        Columns ``DIFFERENCE_COLUMNS``, one row per method, protocol other than the baseline, class and metric; ``n``
        counts the patients that both protocols have. Positive means more than the baseline, which is worse for HD95.
    """
    values = {
        line: rows.groupby("subject", sort=False)["value"].mean() for line, rows in scores.groupby(_LINE, sort=False)
    }
    p_values = table.drop_duplicates(_LINE).set_index(_LINE)["p_value"].to_dict()
    rows = []
    for line, own in values.items():
        method, protocol, name, metric = line
        reference = values.get((method, baseline, name, metric))
        if protocol == baseline or reference is None:
            continue
        change = (own - reference).dropna()
        low, high = bootstrap_ci(change.to_numpy(), seed, resamples=resamples)
        rows.append((*line, float(change.mean()), low, high, p_values.get(line, float("nan")), len(change)))
    return pd.DataFrame(rows, columns=list(DIFFERENCE_COLUMNS))
