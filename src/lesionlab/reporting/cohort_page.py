"""The cohort page: what was found, what is missing, what is odd, before hours are spent on it."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lesionlab.cohort.facts import BRAIN_MASK, LESION_MASK, MASKS
from lesionlab.figures import formats
from lesionlab.reporting import pages

_SHOWN = 4  # forms of a column that the summary lists before it counts the rest
_NAMES = ("study", "subject", "visit")
_FILE_COLUMNS = [
    "study",
    "sequence",
    "grid",
    "spacing_mm",
    "orientation",
    "oblique_deg",
    "dtype",
    "minimum",
    "maximum",
    "codes",
    "file",
]


def render_cohort(
    scans: pd.DataFrame,
    presence: pd.DataFrame,
    quarantine: pd.DataFrame,
    oddities: pd.DataFrame,
    *,
    title: str = "Cohort",
    cohort: str = "",
    classes: Mapping[int, str] | None = None,
) -> str:
    """The page as one HTML text that needs no other file and no network; every text is escaped.

    Args:
        scans: one row per file (:data:`lesionlab.cohort.facts.ScanSchema`).
        presence: ``study, subject, visit``, and per sequence and mask whether the study has it.
        quarantine: ``study, subject, file, reason``.
        oddities: ``study, sequence, file, oddity``.
        title: the page's title.
        cohort: the cohort's name.
        classes: code in the masks to lesion class.
    """
    kinds = [str(name) for name in presence if name not in _NAMES]
    root = _shared_folder(scans["file"])
    return (
        pages.environment()
        .get_template("cohort.html.j2")
        .render(
            title=title,
            cohort=cohort,
            studies=len(presence),
            subjects=int(presence["subject"].nunique()),
            several=int((presence["subject"].value_counts() > 1).sum()),
            files=len(scans),
            quarantined=quarantine.groupby("study", sort=True)["reason"].agg(list).to_dict(),
            sequences=pages.cells(sequence_summary(scans, presence, kinds)),
            codes=pages.cells(code_summary(scans, classes or {})),
            oddities=pages.cells(oddities[["study", "sequence", "oddity"]]),
            odd_studies=int(oddities["study"].nunique()),
            missing=pages.cells(_missing(presence, kinds)),
            rows=pages.cells(_files(scans, root)),
            root=root,
        )
    )


def sequence_summary(scans: pd.DataFrame, presence: pd.DataFrame, kinds: list[str]) -> pd.DataFrame:
    """One row per sequence and mask: how many studies have it, and the forms it comes in, the most frequent first."""
    rows = []
    for kind in kinds:
        own = scans[scans["sequence"] == kind]
        rows.append(
            {
                "sequence": kind,
                "present": f"{int(presence[kind].sum())} of {len(presence)}",
                "grids": _forms(own["grid"]),
                "spacings, mm": _forms(own["spacing_mm"]),
                "orientations": _forms(own["orientation"]),
                "types": _forms(own["dtype"]),
                "intensities": "" if kind in MASKS or own.empty else _range(own),
            }
        )
    return pd.DataFrame(rows)


def code_summary(scans: pd.DataFrame, classes: Mapping[int, str]) -> pd.DataFrame:
    """One row per label code: its class, how many masks hold it, and its volume in them, ml."""
    masks = scans[scans["sequence"] == LESION_MASK]
    volumes: dict[int, list[float]] = {code: [] for code in classes}
    for codes in masks["codes"]:
        for part in str(codes).split():
            code, ml = part.split(":")
            volumes.setdefault(int(code), []).append(float(ml))
    rows: list[dict[str, Any]] = [
        {
            "code": str(code),
            "class": classes.get(code, "background"),
            "masks": f"{len(found)} of {len(masks)}",
            "median, ml": pd.Series(found, dtype=float).median(),
            "least, ml": min(found, default=float("nan")),
            "most, ml": max(found, default=float("nan")),
        }
        for code, found in sorted(volumes.items())
    ]
    return pd.DataFrame(rows if len(masks) else [])


def _forms(values: pd.Series) -> str:
    counts = values.value_counts(sort=False).reset_index()
    counts.columns = pd.Index(["form", "count"])
    counts = counts.sort_values(["count", "form"], ascending=[False, True])
    shown = [f"{form} ({count})" for form, count in counts.head(_SHOWN).itertuples(index=False)]
    rest = len(counts) - _SHOWN
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")


def _range(own: pd.DataFrame) -> str:
    ends = (own["minimum"].median(), own["maximum"].median())
    return " to ".join(formats.number(value, 0 if abs(value) >= 10 else 2) for value in ends) + " (medians)"


def _shared_folder(files: pd.Series) -> str:
    """The folder below which all files lie, "" where there is none."""
    folders = {str(Path(file).parent) for file in files}
    try:
        return os.path.commonpath(folders)
    except ValueError:  # none, or relative paths beside absolute ones
        return ""


def _files(scans: pd.DataFrame, root: str) -> pd.DataFrame:
    """The table of all files as the page shows it, their paths below the folder they share."""
    shown = scans[_FILE_COLUMNS].assign(file=[file.removeprefix(root).lstrip("/") for file in scans["file"]])
    return shown.rename(columns={"spacing_mm": "spacing, mm", "oblique_deg": "oblique, °", "codes": "codes: ml"})


def _missing(presence: pd.DataFrame, kinds: list[str]) -> pd.DataFrame:
    """The studies that lack something, and what; brain masks are none's duty."""
    due = [kind for kind in kinds if kind != BRAIN_MASK]
    lacking = presence[~presence[due].all(axis=1)]
    what = [", ".join(kind for kind in due if not row[kind]) for row in lacking.to_dict("records")]
    return pd.DataFrame({"study": lacking["study"].to_list(), "missing": what})
