"""What is odd in a cohort: not wrong enough to keep a study out, but worth a look before hours are spent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from lesionlab.cohort.facts import LESION_MASK, MASKS, ODDITIES_APART

COLUMNS = ["study", "sequence", "file", "oddity"]

_FEWEST = 5  # scans: among fewer, no form is the usual one
_USUAL = 0.8  # the share of a sequence's scans from which a form is the usual one
_PARTIAL_MM = 100.0  # a head is longer than this along every axis
_COARSE_MM = 10.0  # no slice is thicker
_APART = 100.0  # times the median of the sequence: another unit or a stray voxel

_Found = tuple[str, str, str, str]


def find_oddities(scans: pd.DataFrame) -> pd.DataFrame:
    """List what is odd, file by file.

    Looked for: what a header says twice or not at all, an orientation or intensity type other than most scans of the
    sequence have, partial coverage, thick slices, intensities on another scale, negative values where others have
    none, empty lesion masks, and the same voxels in two files.

    Args:
        scans: ``ScanSchema``.

    Returns:
        ``study, sequence, file, oddity``, by study.
    """
    images = scans[~scans["sequence"].isin(MASKS)]
    found: list[_Found] = [*_said_by_headers(scans), *_coverage(images), *_empty_masks(scans), *_twins(images)]
    for _, group in images.groupby("sequence", sort=False):
        if len(group) >= _FEWEST:
            found += [*_unusual(group, "orientation"), *_unusual(group, "dtype"), *_other_scale(group)]
    table = pd.DataFrame(found, columns=COLUMNS, dtype=str)
    return table.sort_values(["study", "sequence", "oddity"], kind="stable").reset_index(drop=True)


def _rows(table: pd.DataFrame) -> Iterator[Any]:
    return table.itertuples()


def _row(row: Any, oddity: str) -> _Found:
    return row.study, row.sequence, row.file, oddity


def _said_by_headers(scans: pd.DataFrame) -> Iterator[_Found]:
    for row in _rows(scans[scans["oddities"] != ""]):
        for oddity in str(row.oddities).split(ODDITIES_APART):
            yield _row(row, oddity)


def _coverage(images: pd.DataFrame) -> Iterator[_Found]:
    for row in _rows(images):
        if row.shortest_mm < _PARTIAL_MM:
            yield _row(row, f"covers {row.shortest_mm:g} mm only along one axis")
        if row.largest_voxel_mm > _COARSE_MM:
            yield _row(row, f"voxels of up to {row.largest_voxel_mm:g} mm")


def _empty_masks(scans: pd.DataFrame) -> Iterator[_Found]:
    masks = scans[(scans["sequence"] == LESION_MASK) & (scans["codes"] == "")]
    yield from (_row(row, "the lesion mask is empty") for row in _rows(masks))


def _twins(images: pd.DataFrame) -> Iterator[_Found]:
    for _, group in images.groupby(["checksum", "grid", "minimum", "maximum"], sort=False):
        for row in _rows(group) if len(group) > 1 else ():
            others = group[group["file"] != row.file]
            names = [f"{other.study} {other.sequence}" for other in _rows(others)]
            if names:
                yield _row(row, f"the same voxels as {', '.join(names)}")


def _unusual(group: pd.DataFrame, column: str) -> Iterator[_Found]:
    shares = group[column].value_counts(normalize=True)
    usual, share = str(shares.index[0]), float(shares.iloc[0])
    if share >= _USUAL:
        for row in _rows(group[group[column] != usual]):
            yield _row(row, f"{column} {getattr(row, column)}, where {share:.0%} of the sequence have {usual}")


def _other_scale(group: pd.DataFrame) -> Iterator[_Found]:
    median = float(group["maximum"].median())
    negative = float((group["minimum"] < 0).mean())
    for row in _rows(group):
        if median > 0 and not median / _APART <= row.maximum <= median * _APART:
            yield _row(row, f"intensities up to {row.maximum:.4g}, the median of the sequence is {median:.4g}")
        if row.minimum < 0 and negative <= 1 - _USUAL:
            yield _row(row, f"negative intensities (from {row.minimum:.4g}), which most of the sequence have not")
