"""What a NIfTI header says twice, differently, or not at all about where its voxels lie."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from lesionlab.errors import InputError
from lesionlab.imaging.volume import GRID_TOLERANCE_MM

_SIZES: dict[int, tuple[type, int]] = {348: (nib.Nifti1Header, 348), 540: (nib.Nifti2Header, 540)}
_SPACING_TOLERANCE = 0.01  # of a voxel size, between header fields that should say the same
_OTHER_UNITS = {1: "metres", 3: "micrometres"}  # xyzt_units, NIfTI-1 standard
_SPACE_UNITS = 0x07


def header_oddities(file: Path, path: Path | str, subject: str | None) -> tuple[str, ...]:
    """What is unusual in a NIfTI header's geometry, and what is made of it; nothing for other formats.

    Raises:
        InputError: the voxel sizes are 0, negative or no numbers, and no sform says more.
    """
    header = _raw_header(file)
    if header is None:
        return ()
    sizes = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    sform, qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    sound = bool(np.isfinite(sizes).all() and (sizes > 0).all())
    if not sound and not sform:
        raise _no_voxel_size(sizes, path, subject)
    found = [] if sound else [f"the voxel sizes (pixdim {sizes.tolist()}) are not above 0; the sform's are used"]
    found += _orientation_oddities(header, sform, qform, sound)
    units = _OTHER_UNITS.get(int(header["xyzt_units"]) & _SPACE_UNITS)
    return (*found, f"the header gives {units}; taken as millimetres") if units else tuple(found)


def _orientation_oddities(header: Any, sform: bool, qform: bool, sound: bool) -> list[str]:
    if not sform and not qform:
        return [
            "neither sform nor qform is set: place and orientation are unknown, storage from right to left is assumed"
        ]
    if not sform or not sound:
        return []
    found = []
    spacing = np.linalg.norm(np.asarray(header.get_sform(), dtype=np.float64)[:3, :3], axis=0)
    if not np.allclose(spacing, header["pixdim"][1:4], rtol=_SPACING_TOLERANCE):
        found.append(
            f"the sform's voxel sizes {np.round(spacing, 3).tolist()} are not pixdim's "
            f"{np.round(np.asarray(header['pixdim'][1:4], float), 3).tolist()}; the sform is used"
        )
    apart = _apart(header) if qform else 0.0
    if apart > GRID_TOLERANCE_MM:
        found.append(f"sform and qform disagree by up to {apart:.1f} mm; the sform is used")
    return found


def _apart(header: Any) -> float:
    """How far the two transforms put the farthest corner of the grid apart, mm; infinite for an impossible qform."""
    try:
        difference = np.asarray(header.get_sform(), float) - np.asarray(header.get_qform(), float)
    except Exception:  # nibabel raises several kinds for quaternions that are none
        return float("inf")
    corners = [[*corner, 1.0] for corner in itertools.product(*((0, max(int(n) - 1, 0)) for n in header["dim"][1:4]))]
    return float(np.linalg.norm((np.array(corners) @ difference.T)[:, :3], axis=1).max())


def _raw_header(file: Path) -> Any | None:
    """The header as it is stored: nibabel mends some faults when it loads a file, a voxel size of 0 becomes 1."""
    opener: Any = gzip.open if file.suffix.lower() == ".gz" else open
    with opener(file, "rb") as stream:
        block = stream.read(max(size for _, size in _SIZES.values()))
    for order in ("little", "big"):
        kind, size = _SIZES.get(int.from_bytes(block[:4], order), (None, 0))  # type: ignore[arg-type]
        if kind is not None:
            return kind(block[:size], endianness="<" if order == "little" else ">", check=False)
    return None


def _no_voxel_size(sizes: np.ndarray, path: Path | str, subject: str | None) -> InputError:
    return InputError(
        "the header gives a voxel size that is not above 0",
        given=f"pixdim {sizes.tolist()}, and no sform",
        allowed="voxel sizes above 0 mm",
        cure="convert the scan again, or set its true voxel sizes",
        subject=subject,
        file=path,
    )
