"""The cohort: which studies there are, and where their files lie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pandera.pandas as pa

from lesionlab.data.layout import Layout, check_sequences
from lesionlab.data.names import listed, nearest
from lesionlab.data.templates import files, fill, matches, place
from lesionlab.errors import InputError

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


class _Study(NamedTuple):
    subject: str
    visit: str
    key: str


def discover(root: Path | str, layout: Layout, sequences: Iterable[str]) -> Cohort:
    """Find a cohort's studies below its root folder; only names are looked at, no file is opened.

    A study that lacks one of the sequences (or a mask that the layout does not call optional) is quarantined.

    Returns:
        The cohort with ``split`` "" and ``lesion_ml`` NaN, and the quarantined studies.

    Raises:
        InputError: the root is missing, nothing fits the layout, two studies have one name, or none is whole.
    """
    root, wanted = Path(root), check_sequences(layout, sequences)
    lesion_on = _lesion_sequence(layout, wanted)
    rows: list[dict[str, object]] = []
    faults: list[dict[str, str]] = []
    for study in _find_studies(root, layout):
        found, missing = _study_rows(root, layout, wanted, lesion_on, study)
        faults.extend(fault_row(study.key, error) for error in missing)
        rows.extend([] if missing else found)
    cohort = Cohort(cohort_table(rows), quarantine_table(faults))
    if cohort.table.empty:
        raise none_usable(cohort.quarantine)
    return cohort


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


def _lesion_sequence(layout: Layout, sequences: tuple[str, ...]) -> str:
    if layout.lesion is None:
        return ""
    for name in layout.lesion.drawn_on:
        if name in sequences:
            return name
    raise InputError(
        "the lesion masks lie on the grid of a sequence that is not asked for",
        given=listed(sequences),
        allowed=f"sequences with one of {listed(layout.lesion.drawn_on)}",
        cure="add it to `sequences`, or, for co-registered scans, name one of yours in the layout's `lesion.drawn_on`",
    )


def _find_studies(root: Path, layout: Layout) -> list[_Study]:
    if not root.is_dir():
        beside = [path.name for path in root.parent.iterdir()] if root.parent.is_dir() else []
        near = nearest(root.name, beside)
        raise InputError(
            "the cohort's folder is missing",
            given=root,
            allowed="an existing folder that holds the scans",
            cure=f"correct the root{f' (there is {root.parent / near})' if near else ''}, or put the scans there",
        )
    places: dict[tuple[str, str], set[Path]] = defaultdict(set)
    for template in layout.study:
        for subject, visit, path in matches(root, template):
            if path.is_dir() or _any_file(root, layout, subject, visit):
                places[subject, visit].add(place(root, template, path))
    if not places:
        raise _nothing_fits(root, layout)
    for (subject, _), found in places.items():
        _check_single(subject, sorted(found))
    return _name_studies(sorted(places))


def _any_file(root: Path, layout: Layout, subject: str, visit: str) -> bool:
    """Whether a sequence of the study exists: a stray file beside the studies is none."""
    return any(files(root, one, subject, visit) for several in layout.sequences.values() for one in several)


def _nothing_fits(root: Path, layout: Layout) -> InputError:
    there = sorted(path.name + "/" * path.is_dir() for path in root.iterdir() if not path.name.startswith("."))
    return InputError(
        "no study fits the layout",
        given=f"the folder holds {listed(there)}",
        allowed=f"files or folders named like {' or '.join(layout.study)}",
        cure="correct the cohort's root or the layout's `study` template",
        file=root,
    )


def _check_single(subject: str, found: list[Path]) -> None:
    if len(found) > 1:
        raise InputError(
            "two studies have one name",
            given=" and ".join(map(str, found)),
            allowed="one place per subject and visit",
            cure="rename one of them, or take it out of the cohort's folder; put what tells them apart into {subject}",
            subject=subject,
            file=found[0],
        )


def _name_studies(pairs: list[tuple[str, str]]) -> list[_Study]:
    """Name studies by subject, and by subject and visit where a subject has several visits."""
    subjects = [subject for subject, _ in pairs]
    studies: list[_Study] = []
    named: dict[str, tuple[str, str]] = {}
    for subject, visit in pairs:
        key = subject if subjects.count(subject) == 1 or not visit else f"{subject}_{visit}"
        if key in named:
            raise InputError(
                "two studies have one name",
                given=f"{key}, from {named[key]} and from {(subject, visit)} (subject, visit)",
                allowed="names that stay different when subject and visit are joined by _",
                cure="rename one of the two subjects",
                subject=subject,
            )
        named[key] = (subject, visit)
        studies.append(_Study(subject, visit, key))
    return studies


def _study_rows(
    root: Path, layout: Layout, wanted: tuple[str, ...], lesion_on: str, study: _Study
) -> tuple[list[dict[str, object]], list[InputError]]:
    """The rows of one study, and what it lacks."""
    faults: list[InputError] = []

    def locate(what: str, templates: tuple[str, ...], cure: str, optional: bool = False) -> str:
        found = _locate(root, templates, study, what, cure)
        if isinstance(found, Path):
            return str(found)
        if not optional or found.given.startswith(_SEVERAL):
            faults.append(found)
        return ""

    leave_out = "take it off `sequences`, or leave the study out"
    paths = {name: locate(f"sequence {name}", layout.sequences[name], leave_out) for name in wanted}
    lesion, brain = "", ""
    if layout.lesion is not None:
        cure = "set the layout's `lesion.optional` for unlabelled studies"
        lesion = locate("lesion mask", layout.lesion.file, cure, layout.lesion.optional)
    if layout.brain_mask is not None:
        brain = locate("brain mask", layout.brain_mask, "take `brain_mask` out of the layout")
    names = {"subject": study.subject, "visit": study.visit, "study": study.key}
    masks = {"lesion_path": lesion, "lesion_on": lesion_on if lesion else "", "brain_path": brain}
    later = {"split": "", "lesion_ml": float("nan")}
    return [{**names, "sequence": name, "path": path, **masks, **later} for name, path in paths.items()], faults


_SEVERAL = "several files"


def _locate(root: Path, templates: tuple[str, ...], study: _Study, what: str, cure: str) -> Path | InputError:
    """The file of the first template that names one, or the error that says what was looked for."""
    for template in templates:
        found = files(root, template, study.subject, study.visit)
        if len(found) == 1:
            return found[0]
        if found:
            return InputError(
                f"the {what} is ambiguous",
                given=f"{_SEVERAL}: {listed(found)}",
                allowed=f"one file named like {template}",
                cure="narrow the layout's template, or move the file that is not meant",
                subject=study.subject,
                file=found[0],
            )
    tried = [name for name in (fill(one, study.subject, study.visit) for one in templates) if name] or list(templates)
    folder = (root / tried[0]).parent
    there = sorted(path.name for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    near = nearest(Path(tried[0]).name, there)
    return InputError(
        f"the {what} is missing",
        given=f"nothing named {' or '.join(tried)} below {root}; {folder} holds {listed(there)}",
        allowed=f"a file named like {' or '.join(templates)}",
        cure=f"{f'did you mean {near}? ' if near else ''}put the file there, correct the layout's template, or {cure}",
        subject=study.subject,
        file=root / tried[0],
    )
