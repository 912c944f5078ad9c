"""Pages of the trials whose scores are kept in docs/reports: tables over every patient's scores, and their plots.

Command: make pages, or python docs/report_pages.py [FOLDER]
    FOLDER  for the pages; default data/08_reporting/kept

A run's own page has pictures of slices too; those are made by the trial's pipeline alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from lesionlab.evaluation.sections import Picture, Section, Table
from lesionlab.figures.charts import accuracy_bars, scores_by_protocol
from lesionlab.metrics.statistics import summarise
from lesionlab.reporting.report import Page, render_report

KEPT = Path(__file__).with_name("reports")
FLOOR, REAL, NONE = "floor", "real", "none"


def main(folder: Path) -> None:
    """Write a page for each folder of scores."""
    folder.mkdir(parents=True, exist_ok=True)
    for trial in sorted(path.parent for path in KEPT.glob("*/segmentation_scores.parquet")):
        page = folder / f"{trial.name}.html"
        page.write_text(render_report(page_of(trial)), encoding="utf-8")
        print(page)


def page_of(trial: Path) -> Page:
    """The page of a trial's scores."""
    segmentation, synthesis = (
        pd.read_parquet(trial / f"{kind}_scores.parquet") for kind in ("segmentation", "synthesis")
    )
    facts = {
        "subjects tested": str(segmentation["subject"].nunique()),
        "training subjects": ", ".join(map(str, sorted(segmentation["training_subjects"].unique()))),
        "seeds": ", ".join(map(str, sorted(segmentation["seed"].unique()))),
    }
    sections = [of_segmenters(segmentation), of_synthesizers(synthesis)]
    return Page(trial.name.replace("_", " "), str(segmentation["cohort"].iloc[0]), "", facts, sections)


def of_segmenters(scores: pd.DataFrame) -> Section:
    """Dice of every patient by arm at the largest size, and the table of every measure."""
    table = summarise(scores[scores["protocol"] != FLOOR], reference={"protocol": REAL})
    most = scores[(scores["training_subjects"] == scores["training_subjects"].max()) & (scores["protocol"] != FLOOR)]
    drawn_by = most["synthesizer"].where(most["synthesizer"] != NONE, "").radd(", ").replace(", ", "")
    most = most.assign(protocol=most["protocol"] + drawn_by).groupby(
        ["protocol", "class", "metric", "subject"], sort=False
    )
    most = most["value"].mean().reset_index()
    classes = [name for name in dict.fromkeys(most["class"]) if name != "lesion"]
    drawn = scores_by_protocol(most, classes=classes, protocols=list(dict.fromkeys(most["protocol"])))
    picture = Picture(
        drawn, "Dice of every test subject", "Largest training set; mean over seeds; a line joins a subject."
    )
    return Section("augmentation", "Segmentation", pictures=[picture], tables=[Table(table)])


def of_synthesizers(scores: pd.DataFrame) -> Section:
    """Pixel accuracy by sequence at the largest size, and the table of every measure."""
    table = summarise(scores, reference={"method": "atlas", "protocol": FLOOR})
    most = table[table["training_subjects"] == table["training_subjects"].max()]
    sequences = [name for name in dict.fromkeys(most["sequence"]) if name != "all"]
    accuracy = most[most["metric"] == "pixel_accuracy"]
    classes = list(dict.fromkeys(accuracy["class"]))
    drawn = accuracy_bars(accuracy, methods=list(dict.fromkeys(most["method"])), sequences=sequences, classes=classes)
    picture = Picture(drawn, "Pixel accuracy", "Within 16 of 255 grey levels; mean over test subjects, 95 % interval.")
    return Section("synthesis", "Synthesis", pictures=[picture], tables=[Table(table)])


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data/08_reporting/kept"))
