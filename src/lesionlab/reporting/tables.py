"""The long-form result tables as CSV, Markdown and LaTeX, always with the same columns."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lesionlab.errors import InputError
from lesionlab.figures import formats
from lesionlab.metrics.statistics import CELL, TABLE_COLUMNS

WORDS = tuple(CELL)
MEASURES = ("mean", "std", "median", "ci_low", "ci_high", "seed_std")
COLUMNS = tuple(TABLE_COLUMNS)
_ROUNDED = [*MEASURES, "published"]
_EFFECT_DECIMALS = 2

_LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    formats.MISSING: "--",
}


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its columns in the fixed order.

    Raises:
        InputError: a column is missing or unknown.
    """
    missing = [column for column in COLUMNS if column not in table.columns]
    unknown = [str(column) for column in table.columns if column not in COLUMNS]
    if missing or unknown:
        raise InputError(
            "a result table has other columns than a result table has",
            given=f"missing {missing}, unknown {unknown}",
            allowed=", ".join(COLUMNS),
            cure="make the table with lesionlab.metrics.statistics, or add and rename its columns",
        )
    return table.loc[:, list(COLUMNS)]


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table as text, rounded: each metric of a method keeps the decimals that suit its largest value."""
    ordered = in_order(table).reset_index(drop=True)
    text = pd.DataFrame({column: ordered[column].map(_word) for column in WORDS}, index=ordered.index)
    decimals = _decimals(ordered)
    for column in _ROUNDED:
        text[column] = [formats.number(value, places) for value, places in zip(ordered[column], decimals, strict=True)]
    text["n"] = ordered["n"].map(formats.whole)
    text["seed"] = ordered["seed"].map(_word)  # several seeds are a text: "1,2,3"
    text["p_value"] = [formats.p_value(value) for value in ordered["p_value"].astype(float)]
    text["rank_biserial"] = [formats.number(value, _EFFECT_DECIMALS) for value in ordered["rank_biserial"]]
    return text.loc[:, list(COLUMNS)]


def to_csv(table: pd.DataFrame) -> str:
    """CSV with every digit: reading it back gives the same numbers."""
    return in_order(table).to_csv(index=False, lineterminator="\n")


def to_markdown(table: pd.DataFrame) -> str:
    """A Markdown table, rounded, numbers aligned to the right."""
    text = readable(table)
    cells = [[_markdown_cell(value) for value in row] for row in text.itertuples(index=False)]
    widths = [
        max(len(column), 3, *(len(row[at]) for row in cells)) if cells else max(len(column), 3)
        for at, column in enumerate(COLUMNS)
    ]
    rule = [
        "-" * width if column in WORDS else "-" * (width - 1) + ":"
        for column, width in zip(COLUMNS, widths, strict=True)
    ]
    lines = [list(COLUMNS), rule, *cells]
    return "\n".join("| " + " | ".join(_pad(row, widths)) + " |" for row in lines) + "\n"


def to_latex(table: pd.DataFrame) -> str:
    """A LaTeX ``tabular`` with booktabs rules, rounded and escaped."""
    text = readable(table)
    alignment = "".join("l" if column in WORDS else "r" for column in COLUMNS)
    body = [" & ".join(_latex_cell(value) for value in row) + r" \\" for row in text.itertuples(index=False)]
    header = " & ".join(latex_escaped(column) for column in COLUMNS) + r" \\"
    lines = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        header,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def latex_escaped(text: str) -> str:
    """Text in which LaTeX sees no command."""
    return "".join(_LATEX_SPECIAL.get(character, character) for character in text)


def write_table(table: pd.DataFrame, folder: Path, name: str) -> dict[str, Path]:
    """Write ``<name>.csv`` (every digit), ``<name>.md`` and ``<name>.tex`` (rounded) into the folder.

    The same table gives the same bytes. Each file is written aside and renamed, so none is ever half there.

    Returns:
        The three paths under ``csv``, ``md`` and ``tex``.

    Raises:
        InputError: the table's columns are not ``COLUMNS``.
    """
    folder = Path(folder)
    texts = {"csv": to_csv(table), "md": to_markdown(table), "tex": to_latex(table)}
    folder.mkdir(parents=True, exist_ok=True)
    return {kind: write_text(text, folder / f"{name}.{kind}") for kind, text in texts.items()}


def write_text(text: str, path: Path) -> Path:
    """Write UTF-8 text with Unix line ends beside its place, then rename it there."""
    aside = path.with_name(f".{path.name}.partial")
    with aside.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)
    aside.replace(path)
    return path


def _decimals(table: pd.DataFrame) -> list[int]:
    """Decimals of each row: those that suit its method's figures of its metric, whatever a floor's may be.

    Where these are whole numbers, such as a perfect score, those that suit all figures of the metric.
    """
    own = _suiting(table, ["method", "metric"])
    return [mine or everybody for mine, everybody in zip(own, _suiting(table, ["metric"]), strict=True)]


def _suiting(table: pd.DataFrame, keys: list[str]) -> list[int]:
    groups = table.groupby(keys, sort=False, dropna=False)
    suiting = {key: formats.decimals_for(rows[_ROUNDED].to_numpy(float).ravel()) for key, rows in groups}
    return [suiting[key] for key in table[keys].itertuples(index=False, name=None)]


def _word(value: object) -> str:
    return formats.MISSING if value is None or value != value or value == "" else str(value)


def _markdown_cell(value: str) -> str:
    return value.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _latex_cell(value: str) -> str:
    if value.startswith("-") and value[1:2].isdigit():
        return f"$-${value[1:]}"
    return latex_escaped(value)


def _pad(row: list[str], widths: list[int]) -> list[str]:
    pairs = zip(COLUMNS, row, widths, strict=True)
    return [cell.ljust(width) if column in WORDS else cell.rjust(width) for column, cell, width in pairs]
