"""The report: one HTML page of the sections that evaluators have handed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from lesionlab.evaluation.sections import Section, Table
from lesionlab.metrics.statistics import TABLE_COLUMNS
from lesionlab.reporting import pages
from lesionlab.reporting.glossary import GLOSSARY
from lesionlab.reporting.tables import WORDS, readable

TALL = 16  # rows from which on a table scrolls


@dataclass(frozen=True)
class Page:
    """What the report shows.

    Attributes:
        title: of the page.
        about: a few words above it: what was compared, on which cohort.
        summary: one sentence below it.
        facts: short label -> value, shown as figures at the top.
        sections: in the order shown; those without content are left out.
        parameters: nested mapping, shown as YAML.
    """

    title: str
    about: str
    summary: str
    facts: Mapping[str, str] = field(default_factory=dict)
    sections: Sequence[Section] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)


def render_report(page: Page) -> str:
    """The page as one HTML text: pictures and style inside, nothing fetched; the same page gives the same text.

    What came of it stands first, the limits of all sections together at the end.

    Raises:
        ValueError: a picture is neither PNG, JPEG nor WebP.
    """
    limits = dict.fromkeys(limit for one in page.sections for limit in one.limits)
    more = (
        Section("limits", "Limits", points=[("", limit) for limit in limits]),
        Section("glossary", "Glossary", points=list(GLOSSARY.items())),
    )
    return (
        pages.environment()
        .get_template("report.html.j2")
        .render(
            page=page,
            headlines=[one.headline for one in page.sections if one.headline],
            sections=[one for one in (*page.sections, *more) if one],
            cells=cells_of,
            tall=TALL,
            parameters=yaml.safe_dump(_plain(page.parameters), sort_keys=False, allow_unicode=True, width=110),
        )
    )


def cells_of(table: Table) -> tuple[list[tuple[str, bool]], list[list[str]]]:
    """A table's cells: a result table with the decimals that suit each metric, any other as it is."""
    if set(TABLE_COLUMNS) <= set(table.frame):
        text = readable(table.frame)
        return pages.cells(text, [column for column in text.columns if column not in WORDS])
    return pages.cells(table.frame, table.numeric)


def _plain(value: object) -> object:
    # YAML's safe dumper knows only Python's own types.
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): _plain(inner) for key, inner in value.items()}  # type: ignore[union-attr]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(inner) for inner in value]
    if hasattr(value, "item"):
        return value.item()  # a NumPy number
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
