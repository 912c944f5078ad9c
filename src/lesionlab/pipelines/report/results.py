"""A trial's segmentation scores as the report tells them: a name for each arm, and what it changed, size by size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from lesionlab.metrics.statistics import differences
from lesionlab.pipelines.evaluation.nodes import FLOOR
from lesionlab.reporting.content import Line
from lesionlab.trials.plan import NO_SYNTHESIZER, SegmenterCase, TrialPlan

SIZE = "training_subjects"


class Results(NamedTuple):
    """Scores of the test subjects and the tables over them."""

    plan: TrialPlan
    scores: pd.DataFrame
    augmentation: pd.DataFrame
    segmentation: pd.DataFrame

    @property
    def sizes(self) -> list[int]:
        """Sizes of the training set, ascending."""
        return sorted(int(size) for size in self.augmentation[SIZE].unique())

    @property
    def arms(self) -> list[str]:
        """What the segmenters are called, the baseline first."""
        return list(dict.fromkeys(self.plan.label(case) for case in self.plan.segmenters))

    def by_synthesizer(self) -> dict[str, dict[str, str]]:
        """Synthesizer's title (empty where there is one alone) to its arms, and those without any: arm to its name."""
        titles = self.plan.titles()
        return {
            title if len(titles) > 1 else "": {
                case.arm_name: self.plan.label(case)
                for case in self.plan.segmenters
                if case.synthesizer_name in (name, NO_SYNTHESIZER)
            }
            for name, title in titles.items()
        }

    def of_size(self, size: int) -> pd.DataFrame:
        """The trained segmenters' scores at one size, ``protocol`` being what the segmenter is called."""
        return self._named(self.scores[(self.scores[SIZE] == size) & (self.scores["protocol"] != FLOOR)])

    def table(self) -> pd.DataFrame:
        """The augmentation table, ``protocol`` being what the segmenter is called."""
        return self._named(self.augmentation)

    def floors(self, metric: str = "dice") -> dict[str, dict[str, float]]:
        """Floor to class to its mean."""
        rows = self.segmentation[(self.segmentation["protocol"] == FLOOR) & (self.segmentation["metric"] == metric)]
        return {
            str(name): dict(zip(own["class"], own["mean"], strict=True))
            for name, own in rows.drop_duplicates(["method", "class"]).groupby("method")
        }

    def differences(self, seed: int, resamples: int) -> pd.DataFrame:
        """Each arm against the baseline, for each size of the training set."""
        trained = self.scores[self.scores["protocol"] != FLOOR]
        reference = {"protocol": self.plan.options.baseline}
        return self._named(differences(trained, reference, seed=seed, resamples=resamples))

    def lines(self, counts: Mapping[str, tuple[int, int]]) -> list[Line]:
        """The small table's lines, in the plan's order."""
        found = {
            (len(case.subjects), self.plan.label(case)): Line(
                len(case.subjects), self.plan.label(case), *counts[case.key], self._adds(case)
            )
            for case in self.plan.segmenters
        }
        return list(found.values())

    def _adds(self, case: SegmenterCase) -> bool:
        """Whether a segmenter differs from the baseline by synthetic slices alone."""
        baseline = next(one.arm for one in self.plan.segmenters if one.arm_name == self.plan.options.baseline)
        return case.arm.synthetic > 0 and case.arm.model_copy(update={"synthetic": baseline.synthetic}) == baseline

    def _named(self, rows: pd.DataFrame) -> pd.DataFrame:
        names = {(case.arm_name, case.synthesizer_name): self.plan.label(case) for case in self.plan.segmenters}
        pairs = zip(rows["protocol"], rows["synthesizer"].fillna(NO_SYNTHESIZER), strict=True)
        return rows.assign(protocol=[names.get(pair, pair[0]) for pair in pairs])
