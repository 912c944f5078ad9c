"""Cohorts of DICOM folders: which series is which sequence, by its description or by a table."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from lesionlab.cohort.layout import Layout
from lesionlab.cohort.readers.file_layout import LEAVE_OUT
from lesionlab.cohort.readers.tables import below, read_table
from lesionlab.cohort.studies import FoundStudy, find_masks, lesion_sequences, name_studies
from lesionlab.cohort.templates import matches
from lesionlab.errors import InputError
from lesionlab.imaging.formats.dicom_series import Series, check_files, list_series
from lesionlab.imaging.scan_path import series_path
from lesionlab.names import listed

_EXCLUDE = "!"


class _Folder(NamedTuple):
    subject: str
    visit: str
    path: Path


def find(root: Path, layout: Layout, sequences: tuple[str, ...]) -> Iterator[FoundStudy]:
    """Yield the studies of a folder of DICOM series; see :func:`lesionlab.cohort.table.discover`.

    A study is a folder (layout ``study``); its subject is named by the folder, or by the layout's table ``subjects``,
    and then the folder's own name is said nowhere. Each series goes to the first sequence of the layout of which a
    pattern fits its description; the layout's ``table`` names series by number where descriptions do not do.
    """
    drawn_on = lesion_sequences(layout, sequences)
    folders = _folders(root, layout)
    table = _series_table(root, layout)
    by_pair = {(folder.subject, folder.visit): folder for folder in folders}
    _check_single(folders, named=layout.subjects is None)
    for study in name_studies(sorted(by_pair)):
        found = FoundStudy(study)
        folder = by_pair[study.subject, study.visit].path
        series = list_series(folder)
        try:
            check_files(folder, root if layout.subjects is not None else folder, study.subject)
        except InputError as error:
            found.faults.append(error)
        for name in sequences:
            _add(found, name, _candidates(name, series, layout, table, study.subject, study.visit), series, table)
            if found.scans.get(name):
                hide = root if layout.subjects is not None else None
                found.scans[name] = series_path(folder, found.scans[name], below=hide)
        find_masks(root, layout, found, drawn_on)
        yield found


def _folders(root: Path, layout: Layout) -> list[_Folder]:
    found = {
        path: _Folder(subject, visit, path)
        for template in layout.study
        for subject, visit, path in matches(root, template)
        if path.is_dir()
    }
    if layout.subjects is not None:
        found = _by_table(root, layout.subjects, found)
    if not found:
        raise InputError(
            "no study fits the layout",
            given=f"{sum(path.is_dir() for path in root.iterdir())} folders",  # their names may be those of persons
            allowed=f"folders named like {' or '.join(layout.study)}"
            + (f", listed in {layout.subjects}" if layout.subjects else ""),
            cure="correct the cohort's root or the layout's `study` template",
            file=root,
        )
    return list(found.values())


def _by_table(root: Path, name: str, folders: dict[Path, _Folder]) -> dict[Path, _Folder]:
    """The folders that a table lists, under the names it gives them; the others are left out."""
    file = root / name
    table = read_table(file, ("folder", "subject"), ("visit",), secret=True)
    named = {}
    for line, row in enumerate(table.itertuples(), start=2):
        path = _below(root, str(row.folder))
        if path is None or (path not in folders and not path.is_dir()):
            raise InputError(
                f"the subject table names a folder that is not {'there' if path else 'below the root'}",
                given=f"line {line}",  # not the folder: it may be the name of a person
                allowed="folders below the cohort's root, relative to it",
                cure="correct the line, or put the folder there",
                subject=str(row.subject),
                file=file,
            )
        named[path] = _Folder(str(row.subject), str(row.visit), path)
    return named


def _below(root: Path, folder: str) -> Path | None:
    """The folder's path, ``None`` where it leads out of the root or is the root."""
    relative = below(root, root / folder)
    return root / relative if relative is not None and relative.parts else None


def _check_single(folders: list[_Folder], *, named: bool) -> None:
    pairs = [(folder.subject, folder.visit) for folder in folders]
    twice = next((pair for pair in pairs if pairs.count(pair) > 1), None)
    if twice is not None:
        same = [str(folder.path) for folder in folders if (folder.subject, folder.visit) == twice]
        raise InputError(
            "two studies have one name",
            given=listed(same) if named else f"{len(same)} folders of the subject table",
            allowed="one folder per subject and visit",
            cure="give the visits names, or leave one folder out",
            subject=twice[0],
        )


def _series_table(root: Path, layout: Layout) -> pd.DataFrame | None:
    if layout.table is None:
        return None
    return read_table(root / layout.table, ("subject", "series", "sequence"), ("visit",), secret=True)


def _candidates(
    name: str, series: list[Series], layout: Layout, table: pd.DataFrame | None, subject: str, visit: str
) -> list[Series]:
    """The series that may be a sequence: those the table names, else those whose description fits."""
    if table is not None:
        own = table[(table["subject"] == subject) & table["visit"].isin(["", visit]) & (table["sequence"] == name)]
        if len(own):
            return [one for one in series if one.number in set(own["series"]) or one.description in set(own["series"])]
    fitting = [one for one in series if _sequence_of(one.description, layout) == name]
    original = [one for one in fitting if one.original]
    return original if len(original) == 1 else fitting


def _sequence_of(description: str, layout: Layout) -> str | None:
    """The first sequence of the layout of which a pattern fits, and none that excludes."""
    text = description.casefold()
    for name, patterns in layout.sequences.items():
        excluded = [one[1:] for one in patterns if one.startswith(_EXCLUDE)]
        wanted = [one for one in patterns if not one.startswith(_EXCLUDE)]
        if _any(text, wanted) and not _any(text, excluded):
            return name
    return None


def _any(text: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(text, pattern.casefold()) for pattern in patterns)


def _add(
    found: FoundStudy, name: str, candidates: list[Series], series: list[Series], table: pd.DataFrame | None
) -> None:
    if len(candidates) == 1:
        found.scans[name] = candidates[0].key
        return
    error = InputError(
        f"the sequence {name} is {'ambiguous' if candidates else 'missing'}",
        given=f"{'several series' if candidates else 'series'}: {listed(map(_said, candidates or series))}",
        allowed=f"one series for {name}",
        cure="correct the layout's patterns, name the series by number in the layout's `table` "
        f"({'subject, series, sequence' if table is None else 'this study has no fitting line'}), or {LEAVE_OUT}",
        subject=found.study.subject,
    )
    if candidates:
        found.faults.append(error)
    else:
        found.missing[name] = error


def _said(series: Series) -> str:
    return f"{series.number or '?'} {series.description!r} ({len(series.images)} files)"
