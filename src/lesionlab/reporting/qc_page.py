"""The quality-control page: which studies to look at and why, every measure to sort by, and each study's pictures."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from lesionlab.figures import formats
from lesionlab.figures.strips import strip_legend
from lesionlab.imaging.quality.limits import QCOptions, held_back
from lesionlab.imaging.quality.measures import known
from lesionlab.reporting import pages

FIRST = 5  # studies named at the top
VERDICTS = ("quarantined", "failed", "held back", "look", "ok")
_OPEN_TABLE = 60  # studies up to which the table of all measures is open from the start


@dataclass(frozen=True)
class StudyQC:
    """What the page shows of one study beside its measures.

    Attributes:
        study: its key.
        subject: its subject.
        split: train, validation, test, or "" where it has none.
        picture: the strip's address relative to the page; empty where there is none.
        status: ``ok``, ``failed`` (a stage raised), ``held back`` (by a limit) or ``quarantined`` (it never came in).
        reasons: why, where it is not ok.
    """

    study: str
    subject: str
    split: str
    picture: str = ""
    status: str = "ok"
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class QCSummary:
    """The figures of the page that the report repeats.

    Attributes:
        studies: how many there are.
        outliers: those that went through and are flagged, the worst first.
        failed: study to reasons, of all that did not go through.
        first: the five to look at.
    """

    studies: int
    outliers: tuple[str, ...]
    failed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    first: tuple[str, ...] = ()


def ranking(studies: Sequence[StudyQC], judged: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """One row per study, ``study, verdict, broken, z``: not gone through first, then by limits broken, then by ``z``.

    ``z`` is the largest distance among the flags; without a flag, the largest on a bad side.
    """
    by_study = {str(study): rows for study, rows in found.groupby("study")}
    held = set(held_back(found))
    far = {study: float(row["side"]) for study, row in furthest(judged).items()}
    rows = []
    for one in studies:
        flagged = by_study.get(one.study)
        verdict = one.status if one.status != "ok" else _verdict(one.study, flagged, held)
        broken = 0 if flagged is None else int((flagged["kind"] == "limit").sum())
        z = far.get(one.study, 0.0) if flagged is None else float(flagged["z"].abs().max())
        rows.append((one.study, verdict, broken, z))
    table = pd.DataFrame(rows, columns=["study", "verdict", "broken", "z"])
    table["_place"] = table["verdict"].map(VERDICTS.index)
    table = table.sort_values(["_place", "broken", "z", "study"], ascending=[True, False, False, True], kind="stable")
    return table.drop(columns="_place").reset_index(drop=True)


def furthest(judged: pd.DataFrame) -> dict[str, dict[Hashable, Any]]:
    """Study to the row of its measure that lies furthest out on a bad side, with that distance as ``side``."""
    calm = judged[judged["z"].abs() < math.inf]
    rows = calm.assign(side=_bad_side(calm)).sort_values("side", ascending=False, kind="stable")
    return {str(row["study"]): row for row in rows.drop_duplicates("study").to_dict("records")}


def _verdict(study: str, flagged: pd.DataFrame | None, held: set[str]) -> str:
    if study in held:
        return "held back"
    return "look" if flagged is not None else "ok"


def _bad_side(rows: pd.DataFrame) -> list[float]:
    """Distances counted on the side that is bad; 0 on the other."""
    sides = {"low": -1.0, "high": 1.0}
    bad = [known(stage, measure).bad for stage, measure in zip(rows["stage"], rows["measure"], strict=True)]
    return [
        0.0 if side == "none" else abs(z) if side == "both" else max(0.0, sides[side] * z)
        for side, z in zip(bad, rows["z"], strict=True)
    ]


def summarise(studies: Sequence[StudyQC], judged: pd.DataFrame, found: pd.DataFrame) -> QCSummary:
    """The page's figures, for the report."""
    order = ranking(studies, judged, found)
    through = order[order["verdict"].isin(["look", "held back"])]
    failed = {one.study: one.reasons for one in studies if one.status != "ok"}
    odd = tuple(study for study in through["study"] if study not in failed)
    return QCSummary(len(studies), odd, failed, tuple(_first(order)))


def _first(order: pd.DataFrame) -> list[str]:
    """The five to look at: those that went through, the worst first."""
    gone = order["verdict"].isin(["quarantined", "failed"])
    return [str(study) for study in order.loc[~gone, "study"][:FIRST]]


def render_qc(
    studies: Sequence[StudyQC],
    judged: pd.DataFrame,
    found: pd.DataFrame,
    options: QCOptions,
    *,
    title: str = "Quality control",
    cohort: str = "",
    lesion_classes: Sequence[str] = (),
) -> str:
    """The page as one HTML text; the pictures lie beside it and are loaded when they come into view.

    Args:
        studies: all studies, in any order; one key may come once.
        judged: their measures, as :func:`lesionlab.imaging.quality.limits.judged_measures` gives them.
        found: the flags among them.
        options: what the flags were found by.
        title: the page's title.
        cohort: the cohort's name.
        lesion_classes: lesion classes, for the legend.

    Raises:
        ValueError: a study comes twice.
    """
    if len({study.study for study in studies}) < len(studies):
        raise ValueError("a study comes twice on the quality-control page")
    order = ranking(studies, judged, found)
    flagged = {str(study): [_flag(row) for row in rows.to_dict("records")] for study, rows in found.groupby("study")}
    columns, values = _columns(judged, options), _values(judged)
    by_key, far = {one.study: one for one in studies}, furthest(judged)
    cards = [
        _card(at, by_key[row["study"]], str(row["verdict"]), flagged, values, columns)
        | {"far": _far(far.get(row["study"]))}
        for at, row in enumerate(order.to_dict("records"))
    ]
    first = set(_first(order))
    return (
        pages.environment()
        .get_template("qc.html.j2")
        .render(
            title=title,
            cohort=cohort,
            cards=cards,
            first=[card for card in cards if card["study"].study in first],
            counts={verdict: int((order["verdict"] == verdict).sum()) for verdict in VERDICTS},
            columns=columns,
            stages=list(dict.fromkeys(column["stage"] for column in columns)),
            legend=strip_legend(lesion_classes),
            options=options,
            table_open=len(cards) <= _OPEN_TABLE,
        )
    )


def _card(
    at: int,
    study: StudyQC,
    verdict: str,
    flagged: Mapping[str, list[dict[Hashable, Any]]],
    values: Mapping[str, Mapping[tuple[str, str], Mapping[Hashable, Any]]],
    columns: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    own = values.get(study.study, {})
    return {
        "anchor": f"study-{at}",
        "study": study,
        "verdict": verdict,
        "kind": verdict.replace(" ", "-"),
        "picture": quote(study.picture),
        "flags": flagged.get(study.study, []),
        "cells": [_cell(own.get(column["key"]), int(column["decimals"])) for column in columns] if own else [],
    }


def _far(row: Mapping[Hashable, Any] | None) -> str:
    """Which measure lies furthest out, and how far."""
    if row is None or row["side"] <= 0:
        return ""
    return f"{row['stage']}, {str(row['measure']).replace('_', ' ')}, by {row['side']:.1f} standard deviations"


def _columns(judged: pd.DataFrame, options: QCOptions) -> list[dict[str, Any]]:
    """The table's columns: one per measure, with what a reader wants to know of it."""
    result = []
    for (stage, measure), rows in judged.groupby(["stage", "measure"], sort=False):
        about, limit = known(str(stage), str(measure)), options.limit(str(stage), str(measure))
        decimals = formats.decimals_for(rows["value"])
        notes = [about.meaning or "no description", f"median {formats.number(rows['median'].iloc[0], decimals)}"]
        notes += [f"allowed {limit}"] if limit is not None else []
        notes += ["not judged"] if about.bad == "none" else []
        result.append(
            {
                "key": (stage, measure),
                "stage": stage,
                "name": str(measure).replace("_", " "),
                "note": "; ".join(notes),
                "decimals": decimals,
            }
        )
    return result


def _values(judged: pd.DataFrame) -> dict[str, dict[tuple[str, str], dict[Hashable, Any]]]:
    found: dict[str, dict[tuple[str, str], dict[Hashable, Any]]] = {}
    for row in judged[["study", "stage", "measure", "value", "outlier", "broken"]].to_dict("records"):
        found.setdefault(str(row["study"]), {})[(str(row["stage"]), str(row["measure"]))] = row
    return found


def _cell(row: Mapping[Any, Any] | None, decimals: int) -> dict[str, Any]:
    if row is None:
        return {"text": "", "value": "", "kind": ""}
    value = float(row["value"])
    kind = "broken" if row["broken"] else "odd" if row["outlier"] else ""
    return {
        "text": formats.number(value, decimals),
        "value": f"{value:.6g}" if np.isfinite(value) else "",
        "kind": kind,
    }


def _flag(row: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
    z = float(row["z"])
    return {
        **row,
        "name": str(row["measure"]).replace("_", " "),
        "value": formats.number(row["value"], formats.decimals_for([row["value"]])),
        "z": "no value" if math.isinf(z) else formats.signed(z, 1),
    }
