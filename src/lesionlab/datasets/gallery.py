"""Kedro dataset for pictures that lie beside a page."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from kedro.io import AbstractDataset, DatasetError

from lesionlab.stages.artifact import RECEIPT, is_current, read_receipt, writing
from lesionlab.stages.fingerprints import fingerprint_of


class GalleryDataset(AbstractDataset[Mapping[str, Path], dict[str, Path]]):
    """A folder of pictures, whole or absent: copies of files that lie elsewhere.

    A reader sees the old folder or the new one. Pictures that are no longer wanted go with the old one; where nothing
    changed nothing is written.

    Args:
        filepath: the folder, relative to the project.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, object] | None = None) -> None:
        self._root = Path(filepath)
        self.metadata = metadata

    def load(self) -> dict[str, Path]:
        """File name to picture; raises ``DatasetError`` where the folder is missing or not whole."""
        receipt = read_receipt(self._root)
        if receipt is None:
            raise DatasetError(f"{self._root} is missing or not whole. Cure: run the pipeline that makes it")
        return {name: self._root / name for name in receipt["files"]}

    def save(self, data: Mapping[str, Path]) -> None:
        """Copy pictures into the folder under their names; raises ``DatasetError`` for a name that is a path."""
        wrong = [name for name in data if Path(name).name != name or name in ("", ".", "..", RECEIPT)]
        if wrong:
            raise DatasetError(f"{wrong[0]!r} cannot name a picture: letters, digits, - . and _ can")
        key = fingerprint_of({name: Path(path) for name, path in data.items()})
        if is_current(self._root, key):
            return
        with writing(self._root, key) as aside:
            for name, path in data.items():
                shutil.copyfile(path, aside / name)

    def _exists(self) -> bool:
        return read_receipt(self._root) is not None

    def _describe(self) -> dict[str, str]:
        return {"filepath": str(self._root)}
