"""What each file of a cohort is: grid, spacing, orientation, intensities, codes. One row per file."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pandera.pandas as pa

from lesionlab.cohort.lesions import CodeCounts
from lesionlab.errors import InputError
from lesionlab.imaging import formats
from lesionlab.imaging.formats import Scan, ScanHeader
from lesionlab.imaging.formats.nifti import check_voxels

LESION_MASK, BRAIN_MASK = "lesion mask", "brain mask"
MASKS = (LESION_MASK, BRAIN_MASK)
ODDITIES_APART = " | "

#: One row per file that could be read. ``sequence`` is "lesion mask" or "brain mask" for a mask; ``codes`` is "" for a
#: scan, else ``code:ml`` of every code but 0; ``oddities`` are
#: sentences with ``ODDITIES_APART`` between them.
ScanSchema = pa.DataFrameSchema(
    {
        **{name: pa.Column(str) for name in ("study", "subject", "visit", "sequence", "file", "grid", "spacing_mm")},
        "orientation": pa.Column(str),
        "oblique_deg": pa.Column(float, pa.Check.ge(0)),
        "shortest_mm": pa.Column(float, pa.Check.gt(0)),
        "largest_voxel_mm": pa.Column(float, pa.Check.gt(0)),
        "dtype": pa.Column(str),
        "minimum": pa.Column(float),
        "maximum": pa.Column(float),
        "codes": pa.Column(str),
        "checksum": pa.Column(str),
        "oddities": pa.Column(str),
    },
    strict=True,
    coerce=True,
    name="scans",
)


def scans_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A validated table from the rows of :func:`scan_facts` and :func:`mask_facts`."""
    return ScanSchema.validate(pd.DataFrame(rows, columns=list(ScanSchema.columns)))


def check_scan(path: str, subject: str, min_slices: int, limit_mb: float | None) -> tuple[ScanHeader, dict[str, Any]]:
    """Read a scan to its end, and say what it is.

    Raises:
        InputError: it cannot be read, is too large, has too few slices, or holds NaN, infinite values or one value.
    """
    _check_slices(formats.look(path, subject), path, subject, min_slices)
    scan = formats.load(path, subject, limit_mb)
    check_voxels(scan.stored, path, subject, may_be_constant=False)
    return scan.header, scan_facts(scan)


def scan_facts(scan: Scan) -> dict[str, Any]:
    """The row of a scan, without the names of the study."""
    low, high = (float(value) * scan.slope + scan.intercept for value in (scan.stored.min(), scan.stored.max()))
    checksum = f"{zlib.crc32(np.ascontiguousarray(scan.stored.T).data):08x}"  # voxels lie in this order: no copy
    return {**_grid_facts(scan.header), "minimum": min(low, high), "maximum": max(low, high), "checksum": checksum}


def mask_facts(counts: CodeCounts) -> dict[str, Any]:
    """The row of a mask, without the names of the study."""
    codes = " ".join(f"{code}:{ml:.3g}" for code, ml in counts.volumes.items() if code)
    values = {"minimum": float(min(counts.voxels)), "maximum": float(max(counts.voxels))}
    return {**_grid_facts(counts.header), **values, "codes": codes}


def spacing_of(affine: np.ndarray) -> np.ndarray:
    """Voxel size along each axis, mm."""
    return np.linalg.norm(affine[:3, :3], axis=0)


def oblique_angle(affine: np.ndarray) -> float:
    """The largest angle between an axis of the grid and the axis of the head nearest to it, degrees."""
    cosines = np.abs(affine[:3, :3]) / spacing_of(affine)
    return float(np.degrees(np.arccos(np.clip(cosines.max(axis=0).min(), 0.0, 1.0))))


def _grid_facts(header: ScanHeader) -> dict[str, Any]:
    spacing = spacing_of(header.affine)
    return {
        "grid": " x ".join(map(str, header.shape)),
        "spacing_mm": " x ".join(f"{size:.3g}" for size in spacing),
        "orientation": "".join(nib.orientations.aff2axcodes(header.affine)),
        "oblique_deg": round(oblique_angle(header.affine), 1),
        "shortest_mm": round(float((spacing * header.shape).min()), 1),
        "largest_voxel_mm": round(float(spacing.max()), 3),
        "dtype": header.dtype + (" scaled" if header.scaled else ""),
        "codes": "",
        "checksum": "",
        "oddities": ODDITIES_APART.join(header.oddities),
    }


def _check_slices(header: ScanHeader, path: Path | str, subject: str, min_slices: int) -> None:
    if min(header.shape) < min_slices:
        raise InputError(
            f"the scan has {min(header.shape)} slices, too few to be registered",
            given=f"shape {header.shape}",
            allowed=f"at least {min_slices} voxels along each axis (`cohort.min_slices`)",
            cure="name a scan of the whole head here, not a localizer or a single slice",
            subject=subject,
            file=path,
        )
