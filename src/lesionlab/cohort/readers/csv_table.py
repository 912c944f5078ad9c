"""Cohorts listed in a plain CSV table, whatever the files are called."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import pandas as pd

from lesionlab.cohort.layout import Layout
from lesionlab.cohort.readers.file_layout import LEAVE_OUT
from lesionlab.cohort.readers.tables import below, read_table
from lesionlab.cohort.studies import FoundStudy, name_studies
from lesionlab.errors import InputError
from lesionlab.imaging.scan_path import scan_path
from lesionlab.names import listed, suggestion

TABLE = "cohort.csv"
_REQUIRED = ("subject", "sequence", "path")
_OPTIONAL = ("visit", "lesion_path", "lesion_on", "brain_path", "split")
_SPLITS = ("", "train", "validation", "test")


def find(root: Path, layout: Layout, sequences: tuple[str, ...]) -> Iterator[FoundStudy]:
    """Yield the studies of the table; see :func:`lesionlab.cohort.table.discover`.

    Paths are relative to the table's folder and stay below the cohort's root unless the layout's ``outside`` allows
    more. Masks and split may stand in any row of a study, or in all.

    Raises:
        InputError: the table cannot be read, lacks a column, or names a subject that cannot be a folder.
    """
    file = root / (layout.table or TABLE)
    table = read_table(file, _REQUIRED, _OPTIONAL)
    _check_splits(table, file)
    groups: dict[Any, pd.DataFrame] = dict(iter(table.groupby(["subject", "visit"], sort=True)))
    for study in name_studies(list(groups)):
        found = FoundStudy(study)
        rows = groups[study.subject, study.visit]
        _add_scans(found, rows, root, file, layout, sequences)
        for column, name in (("lesion_path", "lesion"), ("brain_path", "brain"), ("split", "split")):
            value = _single(found, rows, column, file)
            setattr(found, name, value if column == "split" else _place(found, value, root, file, layout.outside))
        _add_lesion_sequence(found, rows, layout, sequences, file)
        yield found


def _add_scans(
    found: FoundStudy, rows: pd.DataFrame, root: Path, file: Path, layout: Layout, sequences: tuple[str, ...]
) -> None:
    for name in sequences:
        words = (name, *layout.sequences.get(name, ()))
        paths = [path for path in rows.loc[rows["sequence"].isin(words), "path"] if path]
        if len(paths) == 1:
            found.scans[name] = _place(found, paths[0], root, file, layout.outside)
            continue
        error = _fault(
            found,
            file,
            f"the table has {len(paths) or 'no'} paths for the sequence {name}",
            given=f"sequences {listed(rows['sequence'])}" if not paths else listed(paths),
            allowed=f"one row whose sequence is {' or '.join(words)}",
            cure=f"{suggestion(name, rows['sequence'])}correct the table, or {LEAVE_OUT}",
        )
        if paths:
            found.faults.append(error)
        else:
            found.missing[name] = error


def _single(found: FoundStudy, rows: pd.DataFrame, column: str, file: Path) -> str:
    """The one value of a column for a study, "" and a fault where rows contradict each other."""
    values = sorted({value for value in rows[column] if value})
    if len(values) > 1:
        found.faults.append(
            _fault(
                found,
                file,
                f"the rows of a study differ in {column}",
                given=listed(values),
                allowed="one value for each study",
                cure="correct the table; give the visits names if they are several studies",
            )
        )
    return values[0] if len(values) == 1 else ""


def _place(found: FoundStudy, path: str, root: Path, file: Path, outside: bool) -> str:
    """The path as the cohort has it: below the table's folder; "" and a fault where it leaves the root unasked."""
    if not path:
        return ""
    whole = Path(os.path.normpath(file.parent / path)) if "\0" not in path else Path("\0")
    if not outside and (PurePath(path).is_absolute() or _leaves(scan_path(whole).place, root)):
        found.faults.append(
            _fault(
                found,
                file,
                "the table names a path outside the cohort's folder",
                given=path,
                allowed=f"paths relative to {file.parent}, below {root} (behind links too)",
                cure="move the files below the root, set cohort.root to a folder that holds both, or, where you trust "
                "the table, set the layout's `outside: true`",
            )
        )
        return ""
    if not scan_path(whole).place.exists():
        found.faults.append(
            _fault(
                found,
                whole,
                "the file is missing",
                given=f"no file there; the table {file} says {path!r}",
                allowed=f"a path relative to {file.parent}",
                cure="put the file there, or correct the table",
            )
        )
    return str(whole)


def _leaves(place: Path, root: Path) -> bool:
    """Whether a place lies outside the root, by its name or behind symbolic links."""
    if "\0" in str(place) or below(root, place) is None:
        return True
    return not Path(os.path.realpath(place)).is_relative_to(os.path.realpath(root))


def _add_lesion_sequence(
    found: FoundStudy, rows: pd.DataFrame, layout: Layout, sequences: tuple[str, ...], file: Path
) -> None:
    if layout.lesion is None:
        found.lesion = ""
        return
    if not found.lesion:
        if not layout.lesion.optional and not found.faults:
            cure = "fill it, or set the layout's `lesion.optional` for unlabelled studies"
            fault = _fault(found, file, "the lesion mask is missing", "an empty lesion_path", "a path", cure)
            found.faults.append(fault)
        return
    said = _single(found, rows, "lesion_on", file)
    choices = (said,) if said else layout.lesion.drawn_on
    found.drawn_on = tuple(name for name in choices if name in sequences)
    if not found.drawn_on:
        found.faults.append(
            _fault(
                found,
                file,
                "the lesion mask lies on the grid of a sequence that is not asked for",
                given=f"lesion_on {listed(choices)}",
                allowed=f"one of {listed(sequences)}",
                cure="correct lesion_on in the table, or add the sequence to `sequences`",
            )
        )


def _check_splits(table: pd.DataFrame, file: Path) -> None:
    wrong = next((word for word in table["split"] if word not in _SPLITS), None)
    torn = table[table["split"] != ""].groupby("subject")["split"].nunique()
    if wrong is None and not (torn > 1).any():
        return
    raise InputError(
        "the table holds a split that is none" if wrong is not None else "a subject is in two splits",
        given=repr(wrong) if wrong is not None else f"subject {torn.index[torn > 1][0]}",
        allowed="train, validation, test, or nothing; one for all visits of a subject",
        cure=f"{suggestion(wrong or '', _SPLITS[1:])}correct the table's column split",
        file=file,
    )


def _fault(found: FoundStudy, file: Path, what: str, given: Any, allowed: Any, cure: str) -> InputError:
    return InputError(what, given=given, allowed=allowed, cure=cure, subject=found.study.subject, file=file)
