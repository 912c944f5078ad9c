"""Slices that stay on disk: cohorts larger than memory, read batch by batch from the files of slice stores.

Rows are read by ``os.preadv`` from the place that a memory map would have. The map itself would count every page that
was touched as this process's memory, and hold Python's lock while a page comes from the disk, so that a thread that
reads ahead would stop the one that trains.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from lesionlab.errors import InputError
from lesionlab.slices.batches import FIELDS, Batch, Slices, SliceSource, concatenate
from lesionlab.stages.artifact import read_receipt

ARRAYS = FIELDS  # a file of a slice store for each
_TYPES = {"images": np.float32, "labels": np.int64, "atlas": np.float32, "tissues": np.float32}  # in a batch
LOOKED_AT = 256  # label maps in memory at once where all are looked at


class RowFile:
    """Rows of a ``.npy`` file, read without taking it into memory; for several threads and, after a fork, processes.

    Attributes:
        shape: of one row.
        dtype: of its values.
    """

    def __init__(self, path: Path) -> None:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        self.path, self.length, self.shape, self.dtype = path, len(mapped), mapped.shape[1:], mapped.dtype
        self._offset = mapped.offset
        self._row = self.dtype.itemsize * int(np.prod(self.shape))
        self._file = path.open("rb", buffering=0)

    def __len__(self) -> int:
        return self.length

    def read(self, places: Sequence[int] | np.ndarray, into: np.ndarray) -> None:
        """Rows at these places, in this order, into ``into`` ``(n, *shape)``.

        Raises:
            InputError: the file has become shorter.
        """
        if not self._row:
            return
        for row, place in zip(into, places, strict=True):
            view = memoryview(row).cast("B")
            done = 0
            while done < self._row:
                read = os.preadv(self._file.fileno(), [view[done:]], self._offset + int(place) * self._row + done)
                if not read:
                    raise InputError(
                        "a file of slices ends too early",
                        given=f"no row {int(place)}",
                        allowed=f"{self.length} rows, as there were when the training began",
                        cure="cut the slices anew, and change no store while it is read",
                        file=self.path,
                    )
                done += read


class Selection(BaseModel):
    """Some slices of a store.

    Attributes:
        store: the store's folder.
        places: of the slices, in order; None: all of them.
        fields: of them that are read, as a method's stream names them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    store: Path
    places: tuple[int, ...] | None = None
    fields: tuple[str, ...] = FIELDS

    def in_memory(self) -> Slices:
        """These slices in memory."""
        mapped = MappedSlices([self])
        everything = np.arange(len(mapped))
        return Slices(**{name: torch.from_numpy(mapped.rows(name, everything)) for name in mapped.fields})


class MappedSlices:
    """Slices of one or several stores, in order, which are read when a batch is taken. Otherwise like `Slices`.

    Raises:
        InputError: a folder that is no complete store; stores whose pictures differ in channels or size.
        ValueError: selections of different fields.
    """

    device = torch.device("cpu")

    def __init__(self, parts: Sequence[Selection]) -> None:
        self._files = [_files_of(part.store) for part in parts]
        if len(chosen := {part.fields for part in parts}) > 1:
            raise ValueError(f"slices with different fields cannot be joined: {sorted(chosen)}")
        self.fields = tuple(name for name in FIELDS if not parts or name in parts[0].fields)
        counts = [len(files["images"]) for files in self._files]
        places = [
            np.arange(count) if part.places is None else np.asarray(part.places, np.int64)
            for part, count in zip(parts, counts, strict=True)
        ]
        self._part = np.repeat(np.arange(len(parts)), [len(p) for p in places])
        self._place = np.concatenate(places) if places else np.zeros(0, np.int64)
        self._require_one_shape(parts)

    def _require_one_shape(self, parts: Sequence[Selection]) -> None:
        for files, part in zip(self._files, parts, strict=True):
            given, wanted = (
                ", ".join(f"{name} {rows[name].shape}" for name in ARRAYS) for rows in (files, self._files[0])
            )
            if given != wanted:
                raise InputError(
                    "slices of different shapes cannot be joined",
                    given=given,
                    allowed=f"{wanted}, as {parts[0].store} has them",
                    cure="cut both stores by the same grid and sequences",
                    file=part.store,
                )

    def __len__(self) -> int:
        return len(self._place)

    def take(self, indices: Tensor | np.ndarray | Sequence[int]) -> Batch:
        """The slices at these places, in this order, read now."""
        wanted = np.asarray(torch.as_tensor(indices, dtype=torch.int64))
        # NumPy converts: torch would start a team of threads for the one that reads ahead, at the cost of the training.
        read = {name: self.rows(name, wanted).astype(_TYPES[name], copy=False) for name in self.fields}
        return Batch(**{name: torch.from_numpy(array) for name, array in read.items()})

    def label_maps(self) -> Iterator[Tensor]:
        """All label maps ``(n, H, W)`` uint8, some at a time; none where labels are no field."""
        for start in range(0, len(self) if "labels" in self.fields else 0, LOOKED_AT):
            wanted = np.arange(start, min(start + LOOKED_AT, len(self)))
            yield torch.from_numpy(self.rows("labels", wanted))

    def rows(self, name: str, wanted: np.ndarray) -> np.ndarray:
        """One of the arrays of a slice store, at these places, in this order, read now."""
        files = [files[name] for files in self._files]
        rows = np.empty((len(wanted), *files[0].shape), files[0].dtype)
        parts, places = self._part[wanted], self._place[wanted]
        for number in np.unique(parts):
            mine = np.flatnonzero(parts == number)
            if len(mine) == len(wanted):
                files[number].read(places, rows)
            else:
                for index in mine:
                    files[number].read(places[index : index + 1], rows[index : index + 1])
        return rows


def open_slices(parts: Sequence[Selection], memory: Literal["load", "map"]) -> SliceSource:
    """Slices of one or several stores, in order: in memory, or mapped from disk."""
    return MappedSlices(parts) if memory == "map" else concatenate([part.in_memory() for part in parts])


def require_whole_store(folder: Path) -> None:
    """Raise ``InputError`` unless a folder is a complete slice store."""
    if read_receipt(folder) is None:
        raise InputError(
            "this is no complete slice store",
            given="a folder that is absent, unfinished, or lacks part of a file",
            allowed="a folder written by the stage slices or synthesize",
            cure="run that stage again",
            file=folder,
        )


def _files_of(store: Path) -> dict[str, RowFile]:
    require_whole_store(store)
    return {name: RowFile(store / f"{name}.npy") for name in ARRAYS}
