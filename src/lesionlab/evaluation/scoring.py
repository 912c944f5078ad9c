"""Scores of the test subjects in long form: one scorer after the other, each over every subject."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import pandas as pd

from lesionlab.errors import InputError
from lesionlab.methods.applying import draw
from lesionlab.methods.base import Method
from lesionlab.metrics.statistics import SCORE_COLUMNS
from lesionlab.networks.decoder import Synthesis
from lesionlab.slices.store import SliceArrays, SliceStore
from lesionlab.trials.plan import TrialPlan

PAIRED, FLOOR, ALL = "paired", "floor", "all"
_NUMBERS = {"training_subjects": "int64", "value": "float64", "seed": "int64"}

#: Scores of one study: its slices, their rows of the table, and the keys that every score has.
Score = Callable[[SliceArrays, pd.DataFrame, Mapping[str, object]], Iterator[pd.DataFrame]]


def by_subject(slices: SliceStore, scorers: Iterable[Score], keys: Mapping[str, object]) -> pd.DataFrame:
    """Scores of every test subject, columns ``SCORE_COLUMNS``: of its one study, or the mean over its visits.

    One scorer goes through all subjects before the next is made, so that one network is in memory at a time. Without
    scorers there are no scores.

    Raises:
        InputError: there is no test slice.
    """
    of_studies: list[list[pd.DataFrame]] = [[] for _ in _test_studies(slices)]
    scored = False
    for score in scorers:
        scored = True
        for (subject, rows), found in zip(_test_studies(slices), of_studies, strict=True):
            found.extend(score(slices.batch(rows["index"].to_numpy()), rows, {**keys, "subject": subject}))
        del score  # and its network, before the next one's is loaded
    parts = [table for found in of_studies for table in found]
    if not parts and not scored:
        return pd.DataFrame({name: pd.Series(dtype=_NUMBERS.get(name, "str")) for name in SCORE_COLUMNS})
    if not parts:
        raise InputError(
            "there is no test slice to score",
            given=f"slices of {', '.join(sorted(slices.table['split'].unique()))} subjects",
            allowed="slices of at least one test subject",
            cure="change the split, or look at why the test subjects failed",
        )
    scores: pd.DataFrame = pd.concat(parts, ignore_index=True)
    columns = [column for column in SCORE_COLUMNS if column != "value"]
    return scores.groupby(columns, sort=False)["value"].mean().reset_index()[SCORE_COLUMNS]


def _test_studies(slices: SliceStore) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each study of the test subjects: the subject, and the rows of its slices."""
    for subject, places in test_subjects(slices):
        for _, rows in slices.table.iloc[places].groupby("study", sort=True):
            yield subject, rows


def test_subjects(slices: SliceStore) -> Iterator[tuple[str, np.ndarray]]:
    """Each test subject with the places of its slices."""
    table = slices.table.iloc[slices.select(split="test")]
    for subject, rows in table.groupby("subject", sort=True):
        yield str(subject), rows["index"].to_numpy()


def drawn_as(method: Method, real: SliceArrays) -> Synthesis:
    """What a synthesizer makes of slices' label maps and prior."""
    return draw(method, real.labels, real.atlas, real.tissues)


def baseline_of(plan: TrialPlan) -> str | None:
    """The arm that the others are compared with; None in a trial without arms."""
    return next(iter(plan.options.arms), None)


def seeds_of(table: pd.DataFrame) -> list[str]:
    """The seeds that a result table's lines are of."""
    return [one for seed in table["seed"].unique() for one in str(seed).split(",")]
