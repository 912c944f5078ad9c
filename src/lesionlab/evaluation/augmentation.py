"""Augmentation: what each arm's slices changed in the segmenters, size by size of the training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from lesionlab.augmentation.synthetic import synthetic_count
from lesionlab.evaluation import wording
from lesionlab.evaluation.scoring import FLOOR, baseline_of, seeds_of
from lesionlab.evaluation.sections import PaperCell, PaperSection, PaperTable, Picture, Section, Table
from lesionlab.figures import charts, formats
from lesionlab.metrics.statistics import StatisticsOptions, differences
from lesionlab.slices.store import SliceStore
from lesionlab.trials.plan import NO_SYNTHESIZER, SegmenterCase, TrialPlan

SIZE = "training_subjects"
Counts = Mapping[str, tuple[int, int]]  # a segmenter's key to its real and synthetic training slices
_NOTE = "What synthetic training slices did to the segmenters: every protocol, class and measure."
_CLEAR = (
    "Against the baseline, on the same patients. Clear: the interval leaves out zero and p, corrected for several "
    "comparisons, is below 0.05. “lesion” is all classes together."
)
_SMALL = (
    "Mean over the test patients, its 95 % bootstrap interval over patients and, with several seeds, over trainings; "
    "in grey what the paper reports of other patients."
)
_COLUMNS = {"subjects": "training subjects", "difference": "Dice", "interval": "95 % interval", "n": "patients"}
_NUMERIC = ("training subjects", "Dice", "95 % interval", "p", "patients")


class Line(NamedTuple):
    """One way to train a segmenter.

    Attributes:
        subjects: training subjects.
        protocol: what the segmenter is called.
        real, synthetic: training slices.
        adds: whether it differs from the baseline by synthetic slices alone.
    """

    subjects: int
    protocol: str
    real: int
    synthetic: int
    adds: bool = False


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
        """Synthesizer's title (empty where there is at most one) to its arms, and those without: arm to its name."""
        titles = self.plan.titles() or {NO_SYNTHESIZER: ""}
        several = len({case.method for case in self.plan.segmenters}) > 1
        return {
            title if len(titles) > 1 else "": {
                self.plan.label(case) if several else case.arm_name: self.plan.label(case)
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
        return self._named(differences(trained, {"protocol": baseline_of(self.plan)}, seed=seed, resamples=resamples))

    def lines(self, counts: Counts) -> list[Line]:
        """Each segmenter but for its seed, in the plan's order."""
        found = {
            (len(case.subjects), self.plan.label(case)): Line(
                len(case.subjects), self.plan.label(case), *counts[case.key], self._adds(case)
            )
            for case in self.plan.segmenters
        }
        return list(found.values())

    def _adds(self, case: SegmenterCase) -> bool:
        """Whether a segmenter differs from the baseline by synthetic slices alone."""
        baseline = next(one.arm for one in self.plan.segmenters if one.arm_name == baseline_of(self.plan))
        return case.arm.synthetic > 0 and case.arm.model_copy(update={"synthetic": baseline.synthetic}) == baseline

    def _named(self, rows: pd.DataFrame) -> pd.DataFrame:
        names = {
            (case.method, case.arm_name, case.synthesizer_name): self.plan.label(case) for case in self.plan.segmenters
        }
        keys = zip(rows["method"], rows["protocol"], rows["synthesizer"].fillna(NO_SYNTHESIZER), strict=True)
        return rows.assign(protocol=[names.get(key, key[1]) for key in keys])


def slice_counts(plan: TrialPlan, slices: SliceStore) -> dict[str, tuple[int, int]]:
    """Real and synthetic training slices of every segmenter of a plan, by key."""
    found = {}
    for case in plan.segmenters:
        real = slices.table.iloc[slices.select("train", subject=case.subjects)]
        found[case.key] = (len(real) * case.arm.real, synthetic_count(real, case.arm.synthetic))
    return found


def section(results: Results, counts: Counts, classes: Sequence[str], options: StatisticsOptions, seed: int) -> Section:
    """What the arms changed; nothing for a trial with fewer than two of them."""
    if len(results.arms) < 2 or results.augmentation.empty:
        return Section("result", "Augmentation")
    change, lines = results.differences(seed, options.resamples), results.lines(counts)
    table = results.augmentation
    adding = {line.protocol for line in lines if line.adds}
    return Section(
        "result",
        "Augmentation",
        pictures=_pictures(results, change, counts, classes),
        tables=[
            small_table(results.table(), lines, classes),
            _comparisons(change),
            Table(table, "Augmentation", _NOTE),
        ],
        headline=wording.headline(change, adding) if results.plan.synthesizers else "",
        limits=wording.limits(change, seeds_of(table), str(table["cohort"].iloc[0])),
    )


def small_table(compared: pd.DataFrame, lines: Sequence[Line], classes: Sequence[str]) -> PaperTable:
    """Each segmenter with its slices and its Dice by class, under its number of training subjects."""
    rows = compared[compared["metric"] == "dice"]
    sections = []
    for size in dict.fromkeys(line.subjects for line in lines):
        own = rows[rows[SIZE] == size]
        named = [
            (line.protocol, _cells(line, own[own["protocol"] == line.protocol], classes))
            for line in lines
            if line.subjects == size and line.protocol in set(own["protocol"])
        ]
        sections.append(PaperSection(f"{size} training subjects", named))
    groups, columns = [("training slices", 2), ("Dice per patient", len(classes))], ["real", "synthetic", *classes]
    shown = [one for one in sections if one.lines]
    return PaperTable("Dice by what the segmenter was trained on", _SMALL, groups, columns, shown)


def _cells(line: Line, rows: pd.DataFrame, classes: Sequence[str]) -> list[PaperCell]:
    by_class = {row["class"]: row for row in rows.to_dict("records")}
    cells = [PaperCell(formats.whole(line.real)), PaperCell(formats.whole(line.synthetic))]
    for name in classes:
        row = by_class.get(name)
        if row is None:
            cells.append(PaperCell(formats.MISSING))
            continue
        interval = formats.interval(row["ci_low"], row["ci_high"], formats.number)
        published = "" if pd.isna(row["published"]) else formats.number(row["published"])
        cells.append(PaperCell(f"{formats.number(row['mean'])} ({interval})", published))
    return cells


def _comparisons(change: pd.DataFrame) -> Table:
    """Differences of Dice as a table of text, without the columns that are alike in every row."""
    frame = pd.DataFrame(wording.comparisons(change))
    alike = [name for name in ("method", "subjects") if name in frame and frame[name].nunique() < 2]
    frame = frame.drop(columns=alike).rename(columns=_COLUMNS)
    return Table(frame, "Difference to the baseline", _CLEAR, numeric=[name for name in _NUMERIC if name in frame])


def _pictures(results: Results, change: pd.DataFrame, counts: Counts, classes: Sequence[str]) -> list[Picture]:
    """Dice by training subjects, every test subject's Dice by arm, and the differences to the baseline."""
    found, largest = [], results.sizes[-1]
    if len(results.sizes) > 1:
        curve = charts.low_data_curve(results.table(), classes=classes, rows=results.by_synthesizer())
        found.append(Picture(curve, "Dice by training subjects", "Mean over test subjects, 95 % interval."))
    by_name = {results.plan.label(case): counts[case.key] for case in results.plan.shown().segmenters}
    drawn = charts.scores_by_protocol(
        results.of_size(largest), classes=classes, protocols=results.arms, counts=by_name, floors=results.floors()
    )
    caption = f"Trained on {largest} subjects. A line joins one subject's scores; dashed: floors."
    found.append(Picture(drawn, "Dice of every test subject", caption))
    baseline = baseline_of(results.plan) or ""
    for size, rows in change[change["class"].isin(classes)].groupby(SIZE):
        if (rows["metric"] == "dice").any():
            plot = charts.differences_plot(rows, baseline=baseline)
            caption = f"Trained on {size} subjects. Mean over test subjects, 95 % interval."
            found.append(Picture(plot, f"Difference to “{baseline}”", caption))
    return found
