"""Tables that users write by hand: CSV with a comma, semicolon or tab, as spreadsheets save it."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lesionlab.errors import InputError
from lesionlab.names import listed, suggestion

_log = logging.getLogger(__name__)
_SEPARATORS = ",;\t"


def read_table(
    file: Path, required: Sequence[str], optional: Sequence[str] = (), *, secret: bool = False
) -> pd.DataFrame:
    """Read a CSV table as text, "" where a cell is empty; other columns are left out, and the log says which.

    Args:
        file: the table.
        required: columns that it has.
        optional: columns that it may have; "" throughout where it has not.
        secret: the table may hold names of persons (its first line too, where the columns' names are forgotten):
            columns are counted, not named.

    Raises:
        InputError: the file is missing, no text, holds no row, or lacks a column.
    """
    table = _parse(file)
    missing = [name for name in required if name not in table]
    if missing or table.empty:
        near = suggestion(missing[0], table.columns) if missing and not secret else ""
        raise InputError(
            f"the table lacks the column {missing[0]}" if missing else "the table holds no row",
            given=f"{len(table.columns)} columns" if secret else f"columns {listed(table.columns)}",
            allowed=f"columns {listed(required)}" + (f", and if wanted {listed(optional)}" if optional else ""),
            cure=f"{near}correct the table's first line",
            file=file,
        )
    ignored = [name for name in table if name not in (*required, *optional)]
    if ignored:
        said = len(ignored) if secret else listed(ignored)
        _log.info("cohort: columns of %s that are not used: %s", file.name, said)
    return table.reindex(columns=[*required, *optional], fill_value="")


def below(root: Path, path: Path) -> Path | None:
    """A path relative to the root, ``None`` where it leads out; told by their names, links are not followed."""
    whole, place = (Path(os.path.normpath(one.absolute())) for one in (root, path))
    return place.relative_to(whole) if place.is_relative_to(whole) else None


def _parse(file: Path) -> pd.DataFrame:
    try:
        text = file.read_text(encoding="utf-8-sig")
        head = text.split("\n", 1)[0]
        separator = max(_SEPARATORS, key=head.count)
        rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), delimiter=separator)]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            "the table cannot be read",
            given=f"{type(error).__name__}: {error}",
            allowed="a CSV file in UTF-8, with its columns' names in the first line",
            cure="put the table there, or save it again as CSV (UTF-8)",
            file=file,
        ) from error
    width = len(rows[0]) if rows else 0
    for number, row in enumerate(rows[1:], start=2):
        if any(row) and len(row) != width:
            raise InputError(
                f"line {number} of the table has {len(row)} cells, the first line has {width}",
                given=f"{len(row)} cells",  # not the cells: a subject table holds names of persons
                allowed=f"{width} cells a line",
                cure="put names that hold the separator in double quotes",
                file=file,
            )
    return pd.DataFrame([row for row in rows[1:] if any(row)], columns=rows[0] if rows else [], dtype=str)
