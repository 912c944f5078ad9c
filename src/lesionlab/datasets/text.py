"""Kedro datasets for what people read: pages and result tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from kedro.io import AbstractDataset
from kedro_datasets._typing import TablePreview

from lesionlab.reporting.tables import readable, write_table, write_text


class TextDataset(AbstractDataset[str, str]):
    """A text file, written aside and then renamed.

    Args:
        filepath: the file, relative to the project.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, object] | None = None) -> None:
        self._path = Path(filepath)
        self.metadata = metadata

    def load(self) -> str:
        """The text."""
        return self._path.read_text(encoding="utf-8")

    def save(self, data: str) -> None:
        """Write the text; a reader sees the old one or the new one, never a part."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_text(data, self._path)

    def _exists(self) -> bool:
        return self._path.is_file()

    def _describe(self) -> dict[str, str]:
        return {"filepath": str(self._path)}


class TableDataset(AbstractDataset[pd.DataFrame, pd.DataFrame]):
    """A result table as CSV, with the same table as Markdown and LaTeX beside it.

    Args:
        filepath: the CSV file, relative to the project.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, object] | None = None) -> None:
        self._path = Path(filepath)
        self.metadata = metadata

    def load(self) -> pd.DataFrame:
        """The table with every digit."""
        return pd.read_csv(self._path)

    def save(self, data: pd.DataFrame) -> None:
        """Write the three files; raises ``InputError`` where the columns are not a result table's."""
        write_table(data, self._path.parent, self._path.stem)

    def preview(self) -> TablePreview:
        """The rounded table, for kedro-viz."""
        return TablePreview(readable(self.load()).to_dict(orient="split"))

    def _exists(self) -> bool:
        return self._path.is_file()

    def _describe(self) -> dict[str, str]:
        return {"filepath": str(self._path)}
