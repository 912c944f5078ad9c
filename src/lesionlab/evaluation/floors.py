"""Floors: simple stand-ins that need no learning, beside what methods reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from lesionlab.evaluation.sections import Table
from lesionlab.figures import formats

_NOTE = (
    "A floor needs no learning: a method that does not beat it has learnt nothing of use. Means over lesion classes "
    "and sequences, at the largest set of training subjects."
)


def table(results: pd.DataFrame, floors: Mapping[str, str], classes: Sequence[str], metric: str) -> Table:
    """What each floor is and reaches, beside ours, which are named where there are several.

    Args:
        results: a result table, in which floors stand beside methods.
        floors: floor's name -> what it is.
        classes: lesion classes.
        metric: the metric shown.
    """
    means = means_of(results, classes, metric)
    ours = means.drop(list(floors), errors="ignore")
    rows = [
        {"floor": name, "what it is": text, "reaches": formats.number(means[name]), "ours": _named(ours)}
        for name, text in floors.items()
        if name in means.index
    ]
    title = f"Floors, {metric.replace('_', ' ')}"
    return Table(pd.DataFrame(rows), title, _NOTE, numeric=("reaches", "ours"))


def means_of(results: pd.DataFrame, classes: Sequence[str], metric: str) -> pd.Series:
    """Method or floor to its mean over lesion classes and sequences, at the largest set of training subjects."""
    rows = results[results["class"].isin(classes) & results["metric"].eq(metric)]
    rows = rows[rows["training_subjects"] == rows["training_subjects"].max()]
    return rows.groupby("method", sort=False)["mean"].mean()


def headline(
    results: pd.DataFrame,
    floors: Mapping[str, str],
    classes: Sequence[str],
    metric: str,
    words: str,
    titles: Mapping[str, str],
) -> str:
    """Ours, by their titles, and the floors in one sentence: see :func:`table`; ``words`` name the metric."""
    means = means_of(results, classes, metric).rename(index=dict(titles))
    ours, theirs = means.drop(list(floors), errors="ignore"), means[[name for name in floors if name in means.index]]
    if ours.empty:
        return ""
    beside = f"; floors: {_listed(theirs)}" if len(theirs) else ""
    return f"{words}, mean over lesion classes: {_listed(ours)}{beside}."


def _named(means: pd.Series) -> str:
    """Figures as text, with their names where there are several."""
    return _listed(means) if len(means) > 1 else formats.number(means.iloc[0]) if len(means) else formats.MISSING


def _listed(means: pd.Series) -> str:
    return ", ".join(f"{name} {formats.number(mean)}" for name, mean in means.items())
