"""The papers' tables rebuilt: SAMR's Table 2, CG-SAMR's Tables I, II and V, ours beside theirs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pandas as pd

from lesionlab.figures import formats
from lesionlab.figures.charts import METRIC_WORDS
from lesionlab.metrics.segmentation import WHOLE_LESION
from lesionlab.metrics.synthesis import WHOLE_IMAGE
from lesionlab.parameters import Parameters
from lesionlab.pipelines.evaluation.nodes import ALL, PAIRED
from lesionlab.reporting.content import PaperCell, PaperSection, PaperTable
from lesionlab.trials.options import METHOD_TITLES
from lesionlab.trials.plan import NO_SYNTHESIZER, TrialPlan
from lesionlab.trials.published import AS_PUBLISHED, PAPERS, paper_of

COMPETITORS = {"pix2pix": "pix2pix", "pix2pixHD": "pix2pixHD", "shin": "Shin et al."}  # of whom we have figures alone
_TITLES = {str(name): title for name, title in METHOD_TITLES.items()}
AVERAGE = "Avg."
_SEGMENTER = "unet"
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
        """The lines that tell of a synthesizer."""
        return [line for _, lines in self.sections for line in lines if line.synthesizer != NO_SYNTHESIZER]


def rebuilt(
    plan: TrialPlan, options: Parameters, synthesis: pd.DataFrame, augmentation: pd.DataFrame
) -> list[PaperTable]:
    """The papers' tables that the trial has figures of its own for; ours of the largest set of training subjects.

    Args:
        plan: of the trial.
        options: all parameters, with the published figures.
        synthesis, augmentation: the trial's tables, columns ``metrics.statistics.TABLE_COLUMNS``.
    """
    size = int(augmentation["training_subjects"].max())
    ours = {key: mean for table in (synthesis, augmentation) for key, mean in _means(table, size)}
    tables = []
    for layout in _layouts(plan, options):
        if any(_value(line, column, ours) is not None for line in layout.synthesized for column in layout.columns):
            tables.append(_table(layout, size, ours, _published(options, paper_of(layout.source))))
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


def _layouts(plan: TrialPlan, options: Parameters) -> Iterator[Layout]:
    """Each table's lines and columns, whether or not there are figures for them."""
    classes, sequences = options.lesion_classes, tuple(options.sequences)
    augmented = f"What synthetic slices did to the U-Net. {_STEPS}"
    if "samr" in plan.methods().values():
        scores = [Column(title, name, metric, name) for metric, title in _SCORES.items() for name in classes]
        methods = ["samr", *(name for name in plan.methods() if name == "cgsamr")]
        sections = _experiments(plan, methods) + _ablation(plan, options, "samr", "Experiment 4: ablation")
        yield Layout(f"{PAPERS['samr']}, Table 2", augmented, sections, scores)
    newer = PAPERS["cgsamr"]
    about = f"Closeness of synthetic images to real ones; {AVERAGE}: mean over these sequences, of theirs too."
    accuracy = [Column("pixel accuracy", name, "pixel_accuracy", name) for name in classes]
    whole = [Column("whole image", METRIC_WORDS[metric], metric, WHOLE_IMAGE) for metric in ("ssim", "psnr")]
    yield Layout(f"{newer}, Table I", about, _by_sequence(sequences), [*accuracy, *whole])
    dice = [Column("Dice", name, "dice", name) for name in classes]
    yield Layout(f"{newer}, Table II", augmented, _experiments(plan, list(_TITLES)), dice)
    lesion = [
        Column("pixel accuracy", name, "pixel_accuracy", WHOLE_LESION, own)
        for name, own in _with_average(sequences).items()
    ]
    about = f"Parts taken away: Dice at real+50%, and pixel accuracy in the whole lesion. {AVERAGE} as above. {_STEPS}"
    yield Layout(f"{newer}, Table V", about, _ablation(plan, options, "cgsamr", "Ablation"), [*dice, *lesion])


def _with_average(sequences: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {**{name: (name,) for name in sequences}, AVERAGE: sequences}


def _experiments(plan: TrialPlan, methods: Sequence[str]) -> list[tuple[str, list[Line]]]:
    titles = COMPETITORS | {name: title for name, title in _TITLES.items() if name in methods}
    return [
        (heading, [Line(title, name, arm) for name, title in titles.items()])
        if arm != "real"
        else (heading, [Line("U-Net", NO_SYNTHESIZER, arm)])
        for arm, heading in _ARMS.items()
        if arm in plan.options.arms
    ]


def _by_sequence(sequences: tuple[str, ...]) -> list[tuple[str, list[Line]]]:
    titles = COMPETITORS | _TITLES
    rows = _with_average(sequences)
    return [(title, [Line(row, name, sequences=own) for row, own in rows.items()]) for name, title in titles.items()]


def _ablation(plan: TrialPlan, options: Parameters, method: str, heading: str) -> list[tuple[str, list[Line]]]:
    """The variants of a method and the method itself, where the trial has any of them."""
    titles = {name: one.title for name, one in options.recipes().items() if one.method == method and name != method}
    if not set(titles) & set(plan.methods()):
        return []
    lines = [*titles.items(), (method, _TITLES[method])]
    return [(heading, [Line(title, name, _ABLATED) for name, title in lines])]


def _section(
    heading: str, lines: Iterable[Line], columns: Sequence[Column], ours: Figures, published: Figures
) -> PaperSection:
    """The lines that have any figure."""
    told = [
        (line.title, [PaperCell(_text(line, one, ours), _text(_published_as(line), one, published)) for one in columns])
        for line in lines
    ]
    return PaperSection(heading, [(name, cells) for name, cells in told if any(map(any, cells))])


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


def _published(options: Parameters, paper: str) -> dict[Key, float]:
    return {
        (one.method, one.protocol, one.synthesizer, one.sequence, one.lesion_class, one.metric): one.value
        for one in options.published
        if paper_of(one.source) == paper
    }
