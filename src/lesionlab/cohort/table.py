"""The cohort: which studies there are, and where their files lie."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

import pandas as pd
import pandera.pandas as pa

from lesionlab.cohort.layout import Layout, check_sequences
from lesionlab.cohort.readers import bids, csv_table, decathlon, dicom, file_layout
from lesionlab.cohort.studies import FoundStudy, check_root
from lesionlab.errors import InputError
from lesionlab.names import listed

SPLITS = ("train", "validation", "test")

#: One row per subject, visit and sequence. ``visit``, ``lesion_path``, ``lesion_on``, ``brain_path`` and ``split`` are
#: "" where there is none; ``lesion_ml`` is NaN until the mask was read, and stays NaN without a mask.
CohortSchema = pa.DataFrameSchema(
    {
        "subject": pa.Column(str, pa.Check.str_length(min_value=1)),
        "visit": pa.Column(str),
        "study": pa.Column(str, pa.Check.str_length(min_value=1)),
        "sequence": pa.Column(str, pa.Check.str_length(min_value=1)),
        "path": pa.Column(str, pa.Check.str_length(min_value=1)),
        "lesion_path": pa.Column(str),
        "lesion_on": pa.Column(str),
        "brain_path": pa.Column(str),
        "split": pa.Column(str, pa.Check.isin(["", *SPLITS])),
        "lesion_ml": pa.Column(float, pa.Check.ge(0), nullable=True),
    },
    strict=True,
    coerce=True,
    unique=["study", "sequence"],
    name="cohort",
)

#: One row per fault that keeps a study out.
QuarantineSchema = pa.DataFrameSchema(
    {name: pa.Column(str) for name in ("study", "subject", "file", "reason")},
    strict=True,
    coerce=True,
    name="quarantine",
)


class Cohort(NamedTuple):
    """The studies that can be used, and those that cannot."""

    table: pd.DataFrame  # CohortSchema
    quarantine: pd.DataFrame  # QuarantineSchema
    presence: pd.DataFrame  # study, subject, visit and, per sequence and kind of mask, whether the study has it


class _Find(Protocol):
    """How a reader is called."""

    def __call__(self, root: Path, layout: Layout, sequences: tuple[str, ...]) -> Iterable[FoundStudy]:
        """Yield the studies below the root; raises ``InputError`` where the cohort as a whole cannot be read."""


_READERS: dict[str, _Find] = {
    "files": file_layout.find,
    "bids": bids.find,
    "msd": decathlon.find,
    "dicom": dicom.find,
    "csv": csv_table.find,
}


def discover(root: Path | str, layout: Layout, sequences: Iterable[str], may_lack: Collection[str] = ()) -> Cohort:
    """Find a cohort's studies below its root folder; names are looked at, no voxel is read.

    A study that lacks one of the sequences, but for those that it may lack, or a mask that the layout does not call
    optional, is quarantined.

    Returns:
        The cohort with ``lesion_ml`` NaN (and ``split`` "" unless the cohort's own table gives one), the quarantined
        studies, and what each of both has.

    Raises:
        InputError: the root is missing, nothing fits the layout, two studies have one name, or none is whole.
    """
    root, wanted = Path(root), check_sequences(layout, sequences)
    check_root(root)
    rows: list[dict[str, object]] = []
    faults: list[dict[str, str]] = []
    studies = list(_READERS[layout.reader](root, layout, wanted))
    for found in studies:
        wrong = found.faults_unless(may_lack)
        faults.extend(fault_row(found.study.key, error) for error in wrong)
        rows.extend([] if wrong else _rows(found, wanted))
    cohort = Cohort(cohort_table(rows), quarantine_table(faults), _presence(studies, layout, wanted))
    if cohort.table.empty:
        raise none_usable(cohort.quarantine)
    return cohort


def _rows(found: FoundStudy, wanted: tuple[str, ...]) -> list[dict[str, object]]:
    names = {"subject": found.study.subject, "visit": found.study.visit, "study": found.study.key}
    masks = {"lesion_path": found.lesion, "lesion_on": found.lesion_on, "brain_path": found.brain}
    later = {"split": found.split, "lesion_ml": float("nan")}
    there = [name for name in wanted if name in found.scans]
    return [{**names, "sequence": name, "path": found.scans[name], **masks, **later} for name in there]


def _presence(studies: list[FoundStudy], layout: Layout, wanted: tuple[str, ...]) -> pd.DataFrame:
    rows = []
    for found in studies:
        has: dict[str, object] = {name: bool(found.scans.get(name)) for name in wanted}
        if layout.lesion is not None:
            has["lesion mask"] = bool(found.lesion)
        if layout.brain_mask is not None or found.brain:
            has["brain mask"] = bool(found.brain)
        rows.append({"study": found.study.key, "subject": found.study.subject, "visit": found.study.visit, **has})
    table = pd.DataFrame(rows)
    return table.fillna(dict.fromkeys(table, False)).astype(dict.fromkeys(table.columns[3:], bool))


def lacking(table: pd.DataFrame, sequences: Iterable[str]) -> dict[str, list[str]]:
    """By study, which of the sequences it lacks; studies that have them all are left out."""
    wanted = list(sequences)
    has = table.groupby("study", sort=True)["sequence"].agg(set)
    lacks = {str(study): [name for name in wanted if name not in own] for study, own in has.items()}
    return {study: names for study, names in lacks.items() if names}


def cohort_table(rows: Iterable[dict[str, object]]) -> pd.DataFrame:
    """A validated cohort table from its rows, ordered as they come."""
    return CohortSchema.validate(pd.DataFrame(list(rows), columns=list(CohortSchema.columns)))


def quarantine_table(rows: Iterable[dict[str, str]]) -> pd.DataFrame:
    """A validated quarantine table from its rows."""
    return QuarantineSchema.validate(pd.DataFrame(list(rows), columns=list(QuarantineSchema.columns)))


def fault_row(study: str, error: InputError) -> dict[str, str]:
    """The quarantine row of one fault."""
    return {"study": study, "subject": error.subject or study, "file": error.file or "", "reason": str(error)}


def none_usable(quarantine: pd.DataFrame) -> InputError:
    """The error for a cohort of which every study is quarantined; it lists the reasons."""
    reasons = [f"\n  {row.study}: {row.reason}" for row in quarantine.itertuples()]
    return InputError(
        "no study of the cohort can be used",
        given=f"{quarantine['study'].nunique()} studies, all quarantined:{listed(reasons)}\n",
        allowed="at least one whole study",
        cure="correct the files or the layout as each reason says; if all say the same, it is probably the layout",
    )
