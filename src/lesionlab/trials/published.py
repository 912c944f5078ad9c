"""The papers' figures, of which two papers may have one each for the same thing."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from lesionlab.trials.plan import NO_SYNTHESIZER

PAPERS = {"samr": "SAMR 2020", "cgsamr": "CG-SAMR 2020"}  # method to the paper that brought it, the newest last
#: Arms of ours to the papers' that they are like: papers count epochs, so that more slices are more steps.
AS_PUBLISHED = {"real+50% longer": "real+50%"}


class PublishedScore(BaseModel):
    """One figure of a paper."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    method: str
    protocol: str
    synthesizer: str = Field(NO_SYNTHESIZER, description="whose slices a segmenter saw")
    sequence: str
    lesion_class: str = Field(alias="class")
    metric: str
    value: float
    source: str = Field("", description="paper and table, 'SAMR 2020, Table 2'")


def paper_of(source: str) -> str:
    """The paper of a source: ``SAMR 2020`` of ``SAMR 2020, Table 2``."""
    return source.partition(",")[0]


def own_paper_first(figures: pd.DataFrame, methods: Mapping[str, str]) -> pd.DataFrame:
    """The figures, those from the paper of the line's own method before those that another paper gives for it.

    Of variants those of their own method's paper alone: another paper's "w/o stretch-out" lacks a part of its own
    method.

    Args:
        figures: columns ``method, synthesizer, source`` and others, a row per figure.
        methods: synthesizers' names, and those of their variants, to methods. A line without any of them, as of real
            slices alone, belongs to the newest of these methods.
    """
    if figures.empty:
        return figures
    newest = next((name for name in reversed(PAPERS) if name in methods.values()), "")
    owners = figures["synthesizer"].map(methods).fillna(figures["method"].map(methods)).fillna(newest)
    others = figures["source"].map(paper_of) != owners.map(PAPERS).fillna("")
    variants = [name for name, method in methods.items() if name != method]
    elsewhere = others & (figures["synthesizer"].isin(variants) | figures["method"].isin(variants))
    ordered = figures.assign(others=others)[~elsewhere].sort_values("others", kind="stable")
    return ordered.drop(columns="others")


def with_equal_epochs(figures: pd.DataFrame) -> pd.DataFrame:
    """The figures, and again those of the papers' arms for the arms of ours that are trained as these are."""
    if figures.empty:
        return figures
    again = [figures[figures["protocol"] == theirs].assign(protocol=ours) for ours, theirs in AS_PUBLISHED.items()]
    return pd.concat([figures, *again], ignore_index=True)
