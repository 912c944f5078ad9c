"""The papers' tables rebuilt: SAMR's Table 2, CG-SAMR's Tables I, II and V, ours beside theirs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pandas as pd

from lesionlab.evaluation.scoring import ALL, PAIRED
from lesionlab.evaluation.sections import PaperCell, PaperSection, PaperTable, Section
from lesionlab.figures import formats
from lesionlab.figures.charts import METRIC_WORDS
from lesionlab.metrics.segmentation import WHOLE_LESION
from lesionlab.metrics.synthesis import WHOLE_IMAGE
from lesionlab.trials.plan import NO_SYNTHESIZER, Recipe, TrialPlan
from lesionlab.trials.published import AS_PUBLISHED, PAPERS, PublishedScore, paper_of

AVERAGE = "Avg."
_SEGMENTER = "unet"  # of the papers' tables of Dice
_KEY = ["method", "protocol", "synthesizer", "sequence", "class", "metric"]
_SCORES = {"dice": "Dice", "hd95": "HD95, mm", "sensitivity": "sensitivity", "specificity": "specificity"}
_ARMS = {
    "real+50% longer": "Experiment 1: real+50%, as many epochs as on real slices alone",
    "real+50%": "Experiment 1: real+50%",
    "real+25%": "Experiment 2: real+25%",
    "real": "Experiment 3: real alone",
}
_STEPS = "The papers train for as many epochs in each experiment; ours for as many steps, where nothing else is said."
_DECIMALS, _OTHER_DECIMALS = {"hd95": 2, "psnr": 1}, 3
_ABLATED = "real+50%"  # the arm of the ablation studies

Key = tuple[str, ...]  # the values of _KEY
Figures = Mapping[Key, float]


class Line(NamedTuple):
    """A line of a table: whose slices, in which arm; and the sequences, where the columns are for all."""

    title: str
    synthesizer: str
    arm: str = ""
    sequences: tuple[str, ...] = ()


class Column(NamedTuple):
    """A column of a table; with several sequences the mean over them, with none the line's."""

    group: str
    title: str
    metric: str
    lesion_class: str
    sequences: tuple[str, ...] = ()


class Layout(NamedTuple):
    """A table without its figures: ``sections`` are headings with their lines."""

    source: str
    about: str
    sections: list[tuple[str, list[Line]]]
    columns: list[Column]

    @property
    def synthesized(self) -> list[Line]:
        """The lines of a synthesizer."""
        return [line for _, lines in self.sections for line in lines if line.synthesizer != NO_SYNTHESIZER]


class Known(NamedTuple):
    """What the rows and columns are made of.

    Attributes:
        plan: of the trial.
        published: the papers' figures.
        sequences, classes: those of the trial.
        recipes: every synthesizer that could be trained, variants among them.
        titles: methods' names to titles.
    """

    plan: TrialPlan
    published: Sequence[PublishedScore]
    sequences: Sequence[str]
    classes: Sequence[str]
    recipes: Mapping[str, Recipe]
    titles: Mapping[str, str]

    def rows(self, source: str) -> dict[str, str]:
        """Methods to titles, of a table: those that it has, then the trial's others."""
        theirs = self.theirs(source)
        ours = {name: title for name, title in self.plan.titles().items() if self.plan.methods()[name] == name}
        return {name: self.titles[name] for name in theirs} | {n: t for n, t in ours.items() if n not in theirs}

    def theirs(self, source: str) -> list[str]:
        """The methods that a table of a paper has figures of, in its order; no variants."""
        own = (one for one in self.published if one.source == source)
        names = dict.fromkeys(one.method if one.protocol == PAIRED else one.synthesizer for one in own)
        return [name for name in names if name in self.titles]


def section(known: Known, synthesis: pd.DataFrame, augmentation: pd.DataFrame) -> Section:
    """The papers' tables, rebuilt."""
    lead = (
        "In the papers' own order: ours in bold, what the paper reports in grey beside it, of other patients. A line "
        "without a bold figure is the paper's alone."
    )
    return Section("papers", "The papers' tables", lead, tables=rebuilt(known, synthesis, augmentation))


def rebuilt(known: Known, synthesis: pd.DataFrame, augmentation: pd.DataFrame) -> list[PaperTable]:
    """The papers' tables that the trial has figures of its own for; ours of the largest set of training subjects.

    Args:
        known: what rows and columns are made of.
        synthesis, augmentation: the trial's tables, columns ``metrics.statistics.TABLE_COLUMNS``.
    """
    scored = [table for table in (synthesis, augmentation) if len(table)]
    if not scored:
        return []
    size = max(int(table["training_subjects"].max()) for table in scored)
    ours = {key: mean for table in scored for key, mean in _means(table, size)}
    tables = []
    for layout in _layouts(known):
        if any(_value(line, column, ours) is not None for line in layout.synthesized for column in layout.columns):
            tables.append(_table(layout, size, ours, _published(known.published, paper_of(layout.source))))
    return tables


def _table(layout: Layout, size: int, ours: Figures, published: Figures) -> PaperTable:
    sections = [_section(heading, lines, layout.columns, ours, published) for heading, lines in layout.sections]
    return PaperTable(
        title=layout.source,
        note=f"{layout.about} Ours: trained on {size} subjects, mean over test subjects.",
        groups=[(name, len(list(own))) for name, own in groupby(column.group for column in layout.columns)],
        columns=[column.title for column in layout.columns],
        sections=[section for section in sections if section.lines],
    )


def _layouts(known: Known) -> Iterator[Layout]:
    """The tables that have a method of the trial, or one it has variants of, whether or not there are figures."""
    sequences, trained = tuple(known.sequences), set(known.plan.methods().values())
    augmented = f"What synthetic slices did to the U-Net. {_STEPS}"
    older, newer = PAPERS["samr"], PAPERS["cgsamr"]
    first, second = f"{newer}, Table I", f"{newer}, Table II"
    if trained & set(known.theirs(source := f"{older}, Table 2")):
        scores = [Column(title, name, metric, name) for metric, title in _SCORES.items() for name in known.classes]
        sections = _experiments(known, source) + _ablation(known, "samr", "Experiment 4: ablation")
        yield Layout(source, augmented, sections, scores)
    about = f"Closeness of synthetic images to real ones; {AVERAGE}: mean over these sequences, of theirs too."
    accuracy = [Column("pixel accuracy", name, "pixel_accuracy", name) for name in known.classes]
    whole = [Column("whole image", METRIC_WORDS[metric], metric, WHOLE_IMAGE) for metric in ("ssim", "psnr")]
    dice = [Column("Dice", name, "dice", name) for name in known.classes]
    if trained & set(known.theirs(first)):
        yield Layout(first, about, _by_sequence(known.rows(first), sequences), [*accuracy, *whole])
    if trained & set(known.theirs(second)):
        yield Layout(second, augmented, _experiments(known, second), dice)
    lesion = [
        Column("pixel accuracy", name, "pixel_accuracy", WHOLE_LESION, own)
        for name, own in _with_average(sequences).items()
    ]
    about = f"Parts taken away: Dice at real+50%, and pixel accuracy in the whole lesion. {AVERAGE} as above. {_STEPS}"
    yield Layout(f"{newer}, Table V", about, _ablation(known, "cgsamr", "Ablation"), [*dice, *lesion])


def _with_average(sequences: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {**{name: (name,) for name in sequences}, AVERAGE: sequences}


def _experiments(known: Known, source: str) -> list[tuple[str, list[Line]]]:
    return [
        (heading, [Line(title, name, arm) for name, title in known.rows(source).items()])
        if arm != "real"
        else (heading, [Line("U-Net", NO_SYNTHESIZER, arm)])
        for arm, heading in _ARMS.items()
        if arm in known.plan.options.arms
    ]


def _by_sequence(titles: Mapping[str, str], sequences: tuple[str, ...]) -> list[tuple[str, list[Line]]]:
    rows = _with_average(sequences)
    return [(title, [Line(row, name, sequences=own) for row, own in rows.items()]) for name, title in titles.items()]


def _ablation(known: Known, method: str, heading: str) -> list[tuple[str, list[Line]]]:
    """The variants of a method and the method itself, where the trial has any of them."""
    variants = {name: one.title for name, one in known.recipes.items() if one.method == method and name != method}
    if not set(variants) & set(known.plan.methods()):
        return []
    lines = [*variants.items(), (method, known.titles[method])]
    return [(heading, [Line(title, name, _ABLATED) for name, title in lines])]


def _section(
    heading: str, lines: Iterable[Line], columns: Sequence[Column], ours: Figures, published: Figures
) -> PaperSection:
    """The lines that have any figure."""
    shown = [
        (line.title, [PaperCell(_text(line, one, ours), _text(_published_as(line), one, published)) for one in columns])
        for line in lines
    ]
    return PaperSection(heading, [(name, cells) for name, cells in shown if any(map(any, cells))])


def _published_as(line: Line) -> Line:
    return line._replace(arm=AS_PUBLISHED.get(line.arm, line.arm))


def _text(line: Line, column: Column, figures: Figures) -> str:
    value = _value(line, column, figures)
    return "" if value is None else formats.number(value, _DECIMALS.get(column.metric, _OTHER_DECIMALS))


def _value(line: Line, column: Column, figures: Figures) -> float | None:
    """A cell's figure, the mean over its sequences; None where one of them has none."""
    values = [figures.get(key, math.nan) for key in _keys(line, column)]
    return None if any(map(math.isnan, values)) else float(np.mean(values))


def _keys(line: Line, column: Column) -> list[Key]:
    sequences = column.sequences or line.sequences
    if sequences:
        about = (line.synthesizer, PAIRED, NO_SYNTHESIZER)
        return [(*about, sequence, column.lesion_class, column.metric) for sequence in sequences]
    return [(_SEGMENTER, line.arm, line.synthesizer, ALL, column.lesion_class, column.metric)]


def _means(table: pd.DataFrame, size: int) -> Iterable[tuple[Key, float]]:
    rows = table[table["training_subjects"] == size]
    return zip(rows[_KEY].itertuples(index=False, name=None), rows["mean"].astype(float), strict=True)


def _published(published: Sequence[PublishedScore], paper: str) -> dict[Key, float]:
    return {
        (one.method, one.protocol, one.synthesizer, one.sequence, one.lesion_class, one.metric): one.value
        for one in published
        if paper_of(one.source) == paper
    }
