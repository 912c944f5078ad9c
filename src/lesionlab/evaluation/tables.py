"""The three result tables over the scores, with the papers' figures beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from lesionlab.evaluation.scoring import FLOOR, baseline_of
from lesionlab.evaluation.synthesis import ATLAS
from lesionlab.metrics import statistics
from lesionlab.metrics.statistics import StatisticsOptions
from lesionlab.trials.plan import TrialPlan
from lesionlab.trials.published import PublishedScore, own_paper_first, with_equal_epochs


def tabulate(
    synthesis_scores: pd.DataFrame,
    segmentation_scores: pd.DataFrame,
    plan: TrialPlan,
    published: Sequence[Mapping[str, object]],
    options: StatisticsOptions,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The three tables: synthesis, segmentation on real slices alone, and augmentation; empty where nothing was scored.

    Where two papers have a figure for one line, `published` is that of the method's own paper.
    """
    figures = figures_of(published, plan)
    figures = figures.drop_duplicates([key for key in statistics.CELL if key in figures])
    baseline, protocols = baseline_of(plan), segmentation_scores["protocol"]

    def table(scores: pd.DataFrame, reference: dict[str, object] | None = None) -> pd.DataFrame:
        if scores.empty:
            return pd.DataFrame(columns=statistics.TABLE_COLUMNS)
        return statistics.summarise(
            scores, reference=reference, published=figures, seed=seed, resamples=options.resamples
        )

    return (
        table(synthesis_scores, {"method": ATLAS, "protocol": FLOOR}),
        table(segmentation_scores[protocols.isin([baseline, FLOOR])]),
        table(segmentation_scores[protocols != FLOOR], {"protocol": baseline}),
    )


def figures_of(published: Sequence[Mapping[str, object]], plan: TrialPlan) -> pd.DataFrame:
    """The papers' figures; of two for one line, that of the method's own paper first."""
    figures = pd.DataFrame([PublishedScore.model_validate(one).model_dump(by_alias=True) for one in published])
    return with_equal_epochs(own_paper_first(figures.rename(columns={"value": "published"}), plan.methods()))
