"""What synthetic slices changed: each protocol against the baseline, on the same patients."""

from __future__ import annotations

import pandas as pd

from lesionlab.metrics import statistics

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
    scores: pd.DataFrame,
    table: pd.DataFrame,
    *,
    baseline: str = "real",
    seed: int = 0,
    resamples: int = statistics.RESAMPLES,
) -> pd.DataFrame:
    """Mean difference to the baseline protocol with its bootstrap interval over patients.

    Args:
        scores: long form, see :func:`lesionlab.metrics.statistics.differences`.
        table: the summary of the same scores; its p-values (paired, corrected) are taken over.
        baseline: the protocol compared with.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Returns:
        Columns ``DIFFERENCE_COLUMNS``, one row per method, protocol other than the baseline, class and metric; ``n``
        counts the patients that both protocols have. Positive means more than the baseline, which is worse for HD95.
    """
    found = statistics.differences(scores, {"protocol": baseline}, seed=seed, resamples=resamples)
    p_values = table.drop_duplicates(_LINE)[[*_LINE, "p_value"]]
    return found.drop(columns="p_value").merge(p_values, on=_LINE, how="left")[list(DIFFERENCE_COLUMNS)]
