"""What evaluators hand to a page: plain data, filled by those who know what it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd


class Picture(NamedTuple):
    """A picture with its words.

    Attributes:
        data: PNG, JPEG or WebP bytes.
        title: one line.
        caption: how to read it.
    """

    data: bytes
    title: str
    caption: str = ""


class Table(NamedTuple):
    """A table as a page shows it.

    Attributes:
        frame: any table, or a result table with the columns of ``metrics.statistics.TABLE_COLUMNS``.
        title: "" for none.
        note: how to read it.
        numeric: columns of text that hold numbers.
    """

    frame: pd.DataFrame
    title: str = ""
    note: str = ""
    numeric: Sequence[str] = ()


class PaperCell(NamedTuple):
    """A figure of ours and the paper's, as text; "" where there is none."""

    ours: str
    published: str = ""


class PaperSection(NamedTuple):
    """Lines of a table that stand under one heading: a name and its cells each."""

    heading: str
    lines: Sequence[tuple[str, Sequence[PaperCell]]]


class PaperTable(NamedTuple):
    """A table as papers have it, ours beside theirs in each cell.

    Attributes:
        title: the paper and its table.
        note: what the figures are.
        groups: headings over several columns, and over how many.
        columns: headings.
        sections: its lines, a cell per column.
    """

    title: str
    note: str
    groups: Sequence[tuple[str, int]]
    columns: Sequence[str]
    sections: Sequence[PaperSection]


@dataclass(frozen=True)
class Section:
    """What a page shows of one subject, in this order; a section without content is left out.

    Attributes:
        key: of the page's contents, and of the section's address.
        title: of the section.
        lead: how it was done, in a sentence or two.
        links: a text and its address, relative to the page, each.
        points: a bold term ("" for none) and its text, each.
        pictures: plots and panels.
        tables: those without a row are left out.
        headline: what came of it, in one sentence at the top of the page; "" for none.
        limits: sentences on what its figures cannot tell.
    """

    key: str
    title: str
    lead: str = ""
    links: Sequence[tuple[str, str]] = ()
    points: Sequence[tuple[str, str]] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table | PaperTable] = ()
    headline: str = ""
    limits: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.links or self.points or self.pictures or self.filled())

    def filled(self) -> list[Table | PaperTable]:
        """The tables that have a row."""
        return [one for one in self.tables if (one.sections if isinstance(one, PaperTable) else len(one.frame))]
