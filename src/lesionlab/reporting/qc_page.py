"""The quality-control page: every study's strip and figures, the odd ones first."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from lesionlab.reporting import formats, pages
from lesionlab.reporting.strips import strip_legend

# 1.4826 makes the median absolute deviation, 1.2533 the mean absolute deviation, estimate a normal distribution's
# standard deviation; beyond 3.5 a value is an outlier (Iglewicz and Hoaglin, How to detect and handle outliers, 1993).
MAD_TO_SD = 1.4826
MEAN_AD_TO_SD = 1.2533
OUTLIER = 3.5
FEWEST = 5  # values: among fewer, a median absolute deviation says nothing of a spread
FARTHEST = 1e9  # stands for an infinite distance where the page sorts


_MEASURE_COLUMNS = ["study", "stage", "measure", "value", "median", "z", "decimals"]


@dataclass(frozen=True)
class StudyQC:
    """What the page shows of one study.

    Attributes:
        study: its key.
        subject: its subject.
        split: train, validation, test, or "" where it has none.
        rows: columns ``stage, measure, value``.
        strip: PNG, JPEG or WebP bytes; empty where there is no picture.
        status: ``ok``, ``failed`` or ``quarantined``.
        reasons: why, where it is not ok.
    """

    study: str
    subject: str
    split: str
    rows: pd.DataFrame
    strip: bytes = b""
    status: str = "ok"
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class QCSummary:
    """The figures of the page that the report repeats."""

    studies: int
    outliers: tuple[str, ...]
    failed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def robust_z(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """How far each value lies from the median, in robust standard deviations: |x - median| / (1.4826 MAD).

    Where more than half of the values are equal (MAD 0), 1.2533 times the mean absolute deviation takes its place;
    where all are equal, or fewer than five, every distance is 0. A value that is NaN or infinite is infinitely far.
    """
    numbers = np.asarray(values, dtype=float)
    finite = np.isfinite(numbers)
    distances = np.full(numbers.shape, math.inf)
    if finite.any():
        away = np.abs(numbers[finite] - np.median(numbers[finite]))
        scale = MAD_TO_SD * np.median(away) or MEAN_AD_TO_SD * away.mean()
        distances[finite] = away / scale if scale > 0 and finite.sum() >= FEWEST else 0.0
    return distances


def measures(studies: Sequence[StudyQC]) -> pd.DataFrame:
    """All measures with their distance: columns ``study, stage, measure, value, median, z, decimals``."""
    parts = [study.rows.loc[:, ["stage", "measure", "value"]].assign(study=study.study) for study in studies]
    parts = [part for part in parts if not part.empty]
    if not parts:
        return pd.DataFrame(columns=_MEASURE_COLUMNS)
    table = pd.concat(parts, ignore_index=True)
    table["value"] = table["value"].astype(float)
    groups = table.groupby(["stage", "measure"], sort=False)["value"]
    table["median"] = groups.transform(lambda values: values[np.isfinite(values)].median())
    table["z"] = groups.transform(lambda values: pd.Series(robust_z(values.to_numpy()), index=values.index))
    table["decimals"] = groups.transform(formats.decimals_for)
    return table[_MEASURE_COLUMNS]


def worst_first(studies: Sequence[StudyQC]) -> pd.DataFrame:
    """One row per study, failed ones first, then by falling worst distance.

    Columns ``study, status, z, stage, measure, value, median``: the measure that decided the study's place.
    """
    table = measures(studies)
    rows = []
    for study in studies:
        own = table[table["study"] == study.study]
        line = {"z": 0.0, "stage": "", "measure": "", "value": math.nan, "median": math.nan}
        if not own.empty:
            line.update(own.sort_values("z", ascending=False, kind="stable").to_dict("records")[0])  # type: ignore[arg-type]
        rows.append({**line, "study": study.study, "status": study.status})
    order = pd.DataFrame(rows, columns=["study", "status", "z", "stage", "measure", "value", "median"])
    order["_ok"] = order["status"] == "ok"
    order = order.sort_values(["_ok", "z", "study"], ascending=[True, False, True], kind="stable")
    return order.drop(columns="_ok").reset_index(drop=True)


def summarise(studies: Sequence[StudyQC], threshold: float = OUTLIER) -> QCSummary:
    """The page's figures, for the report."""
    order = worst_first(studies)
    odd = order[(order["status"] == "ok") & (order["z"] > threshold)]["study"]
    failed = {study.study: study.reasons for study in studies if study.status != "ok"}
    return QCSummary(len(studies), tuple(odd), failed)


def render_qc(
    studies: Sequence[StudyQC],
    *,
    title: str = "Quality control",
    cohort: str = "",
    lesion_classes: Sequence[str] = (),
    threshold: float = OUTLIER,
    notes: Mapping[str, str] | None = None,
) -> str:
    """The page as one HTML text that needs no other file and no network.

    Args:
        studies: all studies, in any order; one key may come once.
        title: the page's title.
        cohort: the cohort's name.
        lesion_classes: lesion classes, for the legend.
        threshold: robust distance beyond which a study is an outlier.
        notes: what a measure means, by measure.

    Raises:
        ValueError: a study comes twice.
    """
    if len({study.study for study in studies}) < len(studies):
        raise ValueError("a study comes twice on the quality-control page")
    table, order = measures(studies), worst_first(studies)
    by_key = {study.study: study for study in studies}
    cards = [
        _card(at, by_key[place["study"]], table[table["study"] == place["study"]], threshold)
        for at, place in enumerate(order.to_dict("records"))
    ]
    return (
        pages.environment()
        .get_template("qc.html.j2")
        .render(
            title=title,
            cohort=cohort,
            cards=cards,
            summary=summarise(studies, threshold),
            columns=list(dict.fromkeys(zip(table["stage"], table["measure"], strict=True))),
            legend=strip_legend(lesion_classes),
            threshold=threshold,
            notes=dict(notes or {}),
        )
    )


def _card(at: int, study: StudyQC, rows: pd.DataFrame, threshold: float) -> dict[str, Any]:
    lines = [_line(row, threshold) for row in rows.to_dict("records")]
    worst = max(lines, key=lambda line: line["distance"], default=None)
    odd = worst is not None and worst["odd"]
    return {
        "anchor": f"study-{at}",
        "study": study,
        "kind": study.status if study.status != "ok" else "outlier" if odd else "ok",
        "worst": worst,
        "rows": lines,
        "by_measure": {(line["stage"], line["measure"]): line for line in lines},
    }


def _line(row: Mapping[Hashable, Any], threshold: float) -> dict[str, Any]:
    distance, decimals = float(row["z"]), int(row["decimals"])
    return {
        "stage": row["stage"],
        "measure": row["measure"],
        "value": formats.number(row["value"], decimals),
        "median": formats.number(row["median"], decimals),
        "distance": min(distance, FARTHEST),
        "z": "no value" if math.isinf(distance) else formats.number(distance, 1),
        "share": min(1.0, distance / (2 * threshold)),
        "odd": distance > threshold,
    }
