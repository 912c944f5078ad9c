"""A folder of slices: one table and four arrays, written study by study, read whole or lazily.

Real and synthetic slices are kept alike, so that a segmenter reads both::

    table.parquet   one row per slice, validated (SliceSchema)
    images.npy      (N, C, H, W) float32 in [-1, 1]
    labels.npy      (N, H, W) uint8
    atlas.npy       (N, 3 C, H, W) float32 in [-1, 1]; no channel where there is no atlas
    tissues.npy     (N, 3, H, W) float32 in [0, 1]; no channel where there are no tissue maps
    store.json      sequences and lesion classes
    receipt.json    fingerprint and file sizes, see `artifact`
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pandas as pd
import pandera.pandas as pa

from lesionlab.cohort.table import SPLITS
from lesionlab.errors import InputError
from lesionlab.slices.cutting import StudySlices
from lesionlab.slices.mapped import ARRAYS, require_whole_store
from lesionlab.stages.artifact import read_receipt, writing

TABLE_FILE, ABOUT_FILE = "table.parquet", "store.json"

SliceSchema = pa.DataFrameSchema(
    {
        "index": pa.Column("int64", pa.Check.ge(0), unique=True, description="place in the arrays"),
        "subject": pa.Column(str, description="the person; splits are by subject"),
        "study": pa.Column(str, description="one subject at one visit"),
        "plane": pa.Column("int64", pa.Check.ge(0), description="axial plane of the volume, 0 at the feet"),
        "split": pa.Column(str, pa.Check.isin(SPLITS)),
        "domain": pa.Column(str, pa.Check.isin(("healthy", "pathological", "discarded"))),
        "spacing_[xyz]": pa.Column(float, pa.Check.gt(0), regex=True, description="mm"),
        "pixels_.+": pa.Column("int64", pa.Check.ge(0), regex=True, required=False, description="per lesion class"),
        "fill": pa.Column(float, pa.Check.in_range(0, 1), description="fraction of the picture that is brain"),
        "clipped": pa.Column("int64", pa.Check.ge(0), description="lesion pixels outside the brain, dropped"),
        "source": pa.Column(str, pa.Check.isin(("real", "synthetic"))),
        "manipulation": pa.Column(str, description="none, mirror, enlarge, shrink, swap, mixture, original"),
        "donor": pa.Column(str, description="study whose lesion was taken, or empty"),
        "record": pa.Column(str, description="JSON: how a synthetic slice came to be"),
    },
    strict=True,
    checks=pa.Check(lambda t: (t["index"].to_numpy() == np.arange(len(t))).all(), error="index counts from 0"),
)


class SliceArrays(NamedTuple):
    """Slices as NumPy arrays, shapes as in this module's docstring."""

    images: np.ndarray
    labels: np.ndarray
    atlas: np.ndarray
    tissues: np.ndarray


class Rows:
    """Some rows of an array on disk, read when they are asked for: ``rows[3]``, ``rows[8:16]``, ``rows[[1, 4]]``.

    Args:
        array: mapped from disk.
        places: of the rows, in order.
    """

    def __init__(self, array: np.ndarray, places: Sequence[int] | np.ndarray) -> None:
        self._array, self._places = array, np.asarray(places, np.int64)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, at: int | slice | Sequence[int] | np.ndarray) -> np.ndarray:
        return np.asarray(self._array[self._places[at]])

    def take(self, places: Sequence[int] | np.ndarray) -> Rows:
        """Some of these rows, in this order, still on disk."""
        return Rows(self._array, self._places[places])


class SliceStore:
    """Read access to a folder of slices; `SliceStore.write` makes one.

    Attributes:
        table: one row per slice, in the order of the arrays.
        sequences: image channels, in order.
        classes: lesion classes, in the order of their codes 2...

    Raises:
        InputError: the folder is no complete store.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        require_whole_store(self.root)
        about = json.loads((self.root / ABOUT_FILE).read_text(encoding="utf-8"))
        self.sequences: list[str] = about["sequences"]
        self.classes: list[str] = about["classes"]
        self.table = SliceSchema.validate(pd.read_parquet(self.root / TABLE_FILE))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def fingerprint(self) -> str:
        """What the store was made from (see :mod:`lesionlab.stages.artifact`); empty where nobody sealed it."""
        receipt = read_receipt(self.root)
        return receipt["fingerprint"] if receipt else ""

    def images(self, lazy: bool = True) -> np.ndarray:
        """``(N, C, H, W)`` float32 in [-1, 1]; lazy: mapped from disk, read-only."""
        return self._array("images", lazy)

    def labels(self, lazy: bool = True) -> np.ndarray:
        """``(N, H, W)`` uint8 label maps."""
        return self._array("labels", lazy)

    def atlas(self, lazy: bool = True) -> np.ndarray:
        """``(N, 3 C, H, W)`` float32 in [-1, 1]."""
        return self._array("atlas", lazy)

    def tissues(self, lazy: bool = True) -> np.ndarray:
        """``(N, 3, H, W)`` float32 in [0, 1]: CSF, GM, WM."""
        return self._array("tissues", lazy)

    def select(
        self,
        split: str | Sequence[str] | None = None,
        domain: str | Sequence[str] | None = None,
        subject: str | Sequence[str] | None = None,
    ) -> np.ndarray:
        """Places ``(n,)`` int64 of the slices that match every given value, ascending."""
        rows = np.ones(len(self.table), bool)
        for column, wanted in (("split", split), ("domain", domain), ("subject", subject)):
            if wanted is not None:
                rows &= self.table[column].isin([wanted] if isinstance(wanted, str) else list(wanted)).to_numpy()
        return np.flatnonzero(rows)

    def batch(self, indices: Sequence[int] | np.ndarray | None = None) -> SliceArrays:
        """The arrays of these slices in memory, in this order; all slices where `indices` is None."""
        if indices is None:
            return SliceArrays(*(self._array(name, lazy=False) for name in ARRAYS))
        places = np.asarray(indices, np.int64)
        return SliceArrays(*(np.ascontiguousarray(self._array(name, lazy=True)[places]) for name in ARRAYS))

    def rows(self, name: str, places: Sequence[int] | np.ndarray) -> Rows:
        """Rows of ``images``, ``labels``, ``atlas`` or ``tissues`` that stay on disk until they are asked for."""
        return Rows(self._array(name, lazy=True), places)

    @classmethod
    def write(
        cls,
        folder: Path | str,
        studies: Iterable[StudySlices],
        sequences: Sequence[str],
        classes: Sequence[str],
        fingerprint: str = "",
    ) -> SliceStore:
        """Write the slices of studies, one study in memory at a time, and open the result.

        The folder is whole or absent, see `artifact.writing`: where writing fails, an older store stays.

        Args:
            folder: the store's place; an older store there is replaced.
            studies: slices study by study, for example a generator.
            sequences: image channels, in order.
            classes: lesion classes, in the order of their codes.
            fingerprint: of everything the slices are made from, for `artifact.is_current`.

        Raises:
            InputError: no slice at all, or a study whose slices have another shape than the first's.
        """
        with writing(folder, fingerprint) as aside:
            tables = _write_arrays(aside, studies)
            _write_table(aside, tables, Path(folder))
            about = {"sequences": list(sequences), "classes": list(classes)}
            (aside / ABOUT_FILE).write_text(json.dumps(about, indent=2), encoding="utf-8")
        return cls(folder)

    def _array(self, name: str, lazy: bool) -> np.ndarray:
        return np.load(self.root / f"{name}.npy", mmap_mode="r" if lazy else None, allow_pickle=False)


class _ArrayWriter:
    """Appends along the first axis of a .npy file whose length is not known beforehand."""

    def __init__(self, path: Path) -> None:
        self.path, self.length = path, 0
        self.shape: tuple[int, ...] = ()
        self.dtype = np.dtype(np.float32)
        self._file: BinaryIO | None = None

    def append(self, array: np.ndarray, study: str) -> None:
        if self._file is None:
            self._file = self.path.open("wb")
            self.shape, self.dtype = array.shape[1:], array.dtype
            self._write_header()
        if array.shape[1:] != self.shape or array.dtype != self.dtype:
            raise InputError(
                f"the {self.path.stem} of this study do not fit those before",
                given=f"shape {array.shape[1:]}, {array.dtype}",
                allowed=f"shape {self.shape}, {self.dtype}",
                cure="bring all studies to one grid (stage grid) with the same sequences",
                subject=study,
            )
        self._file.write(np.ascontiguousarray(array).tobytes())
        self.length += len(array)

    def close(self) -> None:
        if self._file is None:
            return
        # NumPy pads the header so that the first axis can grow: the second header takes exactly the first one's place.
        self._file.seek(0)
        self._write_header()
        self._file.close()
        self._file = None

    def _write_header(self) -> None:
        assert self._file is not None
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.length, *self.shape),
        }
        np.lib.format.write_array_header_1_0(self._file, header)


def _write_arrays(root: Path, studies: Iterable[StudySlices]) -> list[pd.DataFrame]:
    tables: list[pd.DataFrame] = []
    writers = {name: _ArrayWriter(root / f"{name}.npy") for name in ARRAYS}
    try:
        for study in studies:
            for name, writer in writers.items():
                writer.append(getattr(study, name), _name_of(study))
            tables.append(study.table)
    finally:
        for writer in writers.values():
            writer.close()
    return tables


def _write_table(root: Path, tables: Sequence[pd.DataFrame], store: Path) -> None:
    if not sum(map(len, tables)):
        raise InputError(
            "there is no slice to store",
            given=f"{len(tables)} studies",
            allowed="at least one slice",
            cure="look at the cohort's table and at the slice rules",
            file=store,
        )
    table = pd.concat(tables, ignore_index=True)
    table.insert(0, "index", np.arange(len(table), dtype=np.int64))
    SliceSchema.validate(table).to_parquet(root / TABLE_FILE, index=False)


def _name_of(study: StudySlices) -> str:
    return str(study.table["study"].iloc[0]) if len(study.table) else "(no slices)"
