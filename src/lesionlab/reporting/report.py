"""The report: one HTML page that tells what was done and what came of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pandas as pd
import yaml

from lesionlab.figures import formats
from lesionlab.metrics.truth import EVERYBODY
from lesionlab.reporting import claim_words, pages, wording
from lesionlab.reporting.content import ReportContent
from lesionlab.reporting.tables import WORDS, readable

FLOOR_METRICS = ("pixel_accuracy", "dice")
TRUTH_FIGURES = ("mean", "median", "smallest", "largest", "subjects")
TABLE_NOTES = {
    "augmentation": "What synthetic training slices did to the segmenter: every protocol, class and measure.",
    "synthesis": "How close the synthetic images are to the real ones, and how close the floors come.",
    "segmentation": "The segmenter trained on real slices alone, and its floors.",
}


def render_report(content: ReportContent) -> str:
    """The page as one HTML text: pictures and style inside, nothing fetched.

    The same content gives the same text.

    Raises:
        InputError: a result table has other columns than ``tables.COLUMNS``.
        ValueError: the differences lack a column, or a picture is neither PNG, JPEG nor WebP.
    """
    seeds = [one for seed in content.augmentation["seed"].unique() for one in str(seed).split(",")]
    return (
        pages.environment()
        .get_template("report.html.j2")
        .render(
            content=content,
            headline=wording.headline(content.differences, {line.protocol for line in content.lines if line.adds}),
            comparisons=wording.comparisons(content.differences),
            summary_table=summary_table(content),
            tables=[
                {"name": name, "note": note, "rows": len(getattr(content, name)), "cells": _result_cells(content, name)}
                for name, note in TABLE_NOTES.items()
            ],
            split=None if content.split is None else pages.cells(content.split),
            claims=claim_words.sentences(content.claims),
            claim_counts=_figures(content.claim_counts),
            parts=_words(claim_words.parts_table(content.ablations), claim_words.FIGURES),
            sample_quality=_figures(content.sample_quality),
            diversity=_figures(content.diversity),
            copies=_figures(content.copies),
            membership=_figures(content.membership),
            leakage=None if content.leakage is None else pages.cells(content.leakage, ("subjects", "test")),
            floors=floor_rows(content),
            truth=None
            if content.truth is None or content.truth.empty
            else pages.cells(truth_summary(content.truth), TRUTH_FIGURES),
            quarantined=None if content.quarantined is None else pages.cells(content.quarantined),
            parameters=yaml.safe_dump(_plain(content.parameters), sort_keys=False, allow_unicode=True, width=110),
            durations=[(name, formats.duration(seconds)) for name, seconds in content.durations.items()],
            limits=[*wording.limits(content.differences, seeds, content.cohort), *content.limits],
            glossary=wording.GLOSSARY,
        )
    )


def summary_table(content: ReportContent, metric: str = "dice") -> dict[str, list]:
    """The augmentation in small: a line per segmenter with its slices; a cell per class: mean, interval, published."""
    rows = content.compared[content.compared["metric"] == metric]
    lines = []
    for line in content.lines:
        mine = (rows["protocol"] == line.protocol) & (rows["training_subjects"] == line.subjects)
        own = rows[mine].drop_duplicates("class").set_index("class")
        if own.empty:
            continue
        lines.append(
            {
                "protocol": line.protocol,
                "subjects": formats.whole(line.subjects),
                "real": formats.whole(line.real),
                "synthetic": formats.whole(line.synthetic),
                "cells": [
                    _summary_cell(own.loc[name]) if name in own.index else None for name in content.lesion_classes
                ],
            }
        )
    return {"classes": list(content.lesion_classes), "rows": lines}


def floor_rows(content: ReportContent) -> list[dict[str, str]]:
    """What each floor is and reaches, beside ours: means over lesion classes (and sequences), by table and measure.

    Of the largest set of training subjects; ours are named where several methods stand beside a floor.
    """
    found = []
    for name, text in content.floors.items():
        for table in (content.synthesis, content.segmentation):
            rows = table[table["class"].isin(content.lesion_classes) & table["metric"].isin(FLOOR_METRICS)]
            rows = rows[rows["training_subjects"] == rows["training_subjects"].max()]
            for metric, reached in rows.groupby("metric", sort=False):
                means = reached.groupby("method", sort=False)["mean"].mean()
                if name in means.index:
                    line = {"name": name, "text": text, "metric": str(metric).replace("_", " ")}
                    ours = _named(means.drop(list(content.floors), errors="ignore"))
                    found.append({**line, "floor": formats.number(means[name]), "ours": ours})
    return found


def _named(means: pd.Series) -> str:
    """Figures as text, with their names where there are several."""
    if len(means) < 2:
        return formats.number(means.iloc[0]) if len(means) else formats.MISSING
    return ", ".join(f"{name} {formats.number(mean)}" for name, mean in means.items())


def truth_summary(truth: pd.DataFrame) -> pd.DataFrame:
    """The scores against the truth by stage and measure, as text: mean, median, smallest, largest, subjects."""
    rows = []
    for (stage, measure), own in truth.groupby(["stage", "measure"], sort=False):
        values = own["value"]
        decimals = formats.decimals_for([values.min(), values.max()])
        figures = {"mean": values.mean(), "median": values.median(), "smallest": values.min(), "largest": values.max()}
        shown = {name: formats.number(value, decimals) for name, value in figures.items()}
        rows.append({"stage": stage, "measure": measure, **shown, "subjects": _counted(own["subject"])})
    return pd.DataFrame(rows)


def _counted(subjects: pd.Series) -> str:
    """How many subjects; of a measure of the cohort as a whole, that it is of all."""
    return EVERYBODY if set(subjects) == {EVERYBODY} else str(len(subjects))


def _summary_cell(row: Any) -> dict[str, str]:
    return {
        "mean": formats.number(row["mean"]),
        "std": formats.number(row["std"]),
        "interval": formats.interval(row["ci_low"], row["ci_high"], formats.number),
        "published": formats.number(row["published"]),
        "p": formats.p_value(row["p_value"]),
    }


def _result_cells(content: ReportContent, name: str) -> tuple[list[tuple[str, bool]], list[list[str]]]:
    text = readable(getattr(content, name))
    return pages.cells(text, [column for column in text.columns if column not in WORDS])


def _figures(table: pd.DataFrame | None) -> tuple[list[tuple[str, bool]], list[list[str]]] | None:
    """A table of words and numbers as cells; None where it is missing or empty."""
    if table is None or table.empty:
        return None
    return pages.cells(table.rename(columns=lambda name: str(name).replace("_", " ")))


def _words(
    table: pd.DataFrame | None, numeric: Collection[str]
) -> tuple[list[tuple[str, bool]], list[list[str]]] | None:
    """A table of text as cells, these columns set as numbers; None where it is missing."""
    return None if table is None else pages.cells(table, numeric)


def _plain(value: object) -> object:
    # YAML's safe dumper knows only Python's own types.
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): _plain(inner) for key, inner in value.items()}  # type: ignore[union-attr]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(inner) for inner in value]
    if hasattr(value, "item"):
        return value.item()  # a NumPy number
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
