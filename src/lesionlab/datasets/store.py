"""Kedro datasets for folders that exist only when they are whole: subject stores and slice stores.

The node writes into the folder itself, study by study and resumable; the dataset checks on saving that what the node
hands back is the folder of the catalog and whole, and answers ``exists`` by the folder's own manifest or receipt.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Protocol, TypeVar

from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import ImagePreview, TablePreview

from lesionlab.datasets.pictures import plane_preview
from lesionlab.slices.cutting import plane
from lesionlab.slices.store import SliceStore
from lesionlab.stages.artifact import read_receipt
from lesionlab.stages.lock import hold
from lesionlab.stages.subject_store import SubjectStore

_PREVIEW_ROWS = 20


class _Handle(Protocol):
    @property
    def root(self) -> Path: ...


H = TypeVar("H", bound=_Handle)


class FolderDataset(AbstractDataset[H, H]):
    """A folder behind a handle that knows its ``root``.

    Args:
        filepath: the folder, relative to the project.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, object] | None = None) -> None:
        self._root = Path(filepath)
        self.metadata = metadata

    @abstractmethod
    def _open(self) -> H:
        """The handle of the folder, known to be whole."""

    def load(self) -> H:
        """The handle; raises ``DatasetError`` where the folder is missing or not whole."""
        if not self._exists():
            raise DatasetError(f"{self._root} is missing or not whole. Cure: run the pipeline that makes it")
        return self._open()

    def save(self, data: H) -> None:
        """Check what the node wrote: the catalog's folder, and whole."""
        if Path(data.root).resolve() != self._root.resolve():
            raise DatasetError(f"the node wrote {data.root}, the catalog expects {self._root}")
        if not self._exists():
            raise DatasetError(f"{self._root} is not whole after its node ran")

    def _exists(self) -> bool:
        return read_receipt(self._root) is not None

    def _describe(self) -> dict[str, str]:
        return {"filepath": str(self._root)}


class SubjectStoreDataset(FolderDataset[SubjectStore]):
    """A preprocessing stage: volumes, study by study."""

    def _open(self) -> SubjectStore:
        hold(self._root)
        return SubjectStore(self._root)

    def _exists(self) -> bool:
        return SubjectStore(self._root).complete()

    def preview(self) -> ImagePreview:
        """The middle plane of the first study's first volume, for kedro-viz."""
        store = self.load()
        study = store.studies()[0]
        volume = store.volume(study, store.names(study)[0])
        return plane_preview(plane(volume.data, volume.shape[2] // 2))


class SliceStoreDataset(FolderDataset[SliceStore]):
    """Slices: their table and arrays."""

    def _open(self) -> SliceStore:
        return SliceStore(self._root)

    def preview(self) -> TablePreview:
        """The first rows of the slice table, for kedro-viz."""
        return TablePreview(self.load().table.head(_PREVIEW_ROWS).astype(str).to_dict(orient="split"))
