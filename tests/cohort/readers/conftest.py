"""Fixtures by independent code: DICOM written with pydicom, NIfTI with nibabel, MetaImage with SimpleITK."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

REPOSITORY = Path(__file__).parents[3]
MR, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
PERSON = {"PatientName": "Mustermann^Erika", "PatientID": "KH-4711-Z", "PatientBirthDate": "19640812"}


def _write_series(
    folder: Path,
    voxels: np.ndarray,
    *,
    description: str = "t1_mprage",
    number: int = 1,
    row: Sequence[float] = (1, 0, 0),
    column: Sequence[float] = (0, 1, 0),
    origin: Sequence[float] = (0, 0, 0),
    spacing: Sequence[float] = (1.0, 1.0, 2.0),
    names: Sequence[str] | None = None,
    **tags: object,
) -> str:
    """Write ``(columns, rows, slices)`` voxels as one file per slice; returns the series' UID."""
    folder.mkdir(parents=True, exist_ok=True)
    uid = generate_uid()
    normal = np.cross(row, column)
    for index in range(voxels.shape[2]):
        data = _common(voxels[..., index], description, number, uid, tags)
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = MR
        data.InstanceNumber = index + 1
        data.ImagePositionPatient = [float(x) for x in np.asarray(origin) + index * spacing[2] * normal]
        data.ImageOrientationPatient = [float(x) for x in (*row, *column)]
        data.PixelSpacing, data.SliceThickness = [spacing[1], spacing[0]], spacing[2]
        name = names[index] if names else f"{number:02}-{index:04}.dcm"
        data.save_as(folder / name, enforce_file_format=True)
    return str(uid)


def _write_multi_frame(
    file: Path,
    voxels: np.ndarray,
    *,
    description: str = "t2_space",
    number: int = 1,
    row: Sequence[float] = (1, 0, 0),
    column: Sequence[float] = (0, 1, 0),
    origin: Sequence[float] = (0, 0, 0),
    spacing: Sequence[float] = (1.0, 1.0, 2.0),
    order: Sequence[int] | None = None,
    **tags: object,
) -> str:
    """Write ``(columns, rows, frames)`` voxels as one Enhanced MR file, its frames in any order of positions."""
    file.parent.mkdir(parents=True, exist_ok=True)
    uid = generate_uid()
    normal = np.cross(row, column)
    order = list(order or range(voxels.shape[2]))
    data = _common(voxels[..., 0], description, number, uid, tags)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = ENHANCED_MR
    data.NumberOfFrames = len(order)
    data.PixelData = np.stack([voxels[..., index].T for index in order]).astype("<u2").tobytes()
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [float(x) for x in (*row, *column)]
    measures.PixelSpacing, measures.SliceThickness = [spacing[1], spacing[0]], spacing[2]
    measures.SpacingBetweenSlices = spacing[2]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Items([orientation]), Items([measures])
    data.SharedFunctionalGroupsSequence = Items([shared])
    frames = []
    for index in order:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [float(x) for x in np.asarray(origin) + index * spacing[2] * normal]
        frame.PlanePositionSequence = Items([position])
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = Items(frames)
    data.save_as(file, enforce_file_format=True)
    return str(uid)


def _common(plane: np.ndarray, description: str, number: int, uid: str, tags: dict[str, object]) -> Dataset:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.SeriesInstanceUID, data.StudyInstanceUID, data.FrameOfReferenceUID = uid, generate_uid(), generate_uid()
    data.Modality, data.SeriesDescription, data.SeriesNumber = "MR", description, number
    data.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    data.Columns, data.Rows = plane.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.PixelData = plane.T.astype("<u2").tobytes()
    for name, value in {**PERSON, **tags}.items():
        setattr(data, name, value)
    return data


def _write_image(
    path: Path, shape: Sequence[int] = (5, 6, 4), seed: int = 0, codes: Sequence[int] | None = None
) -> Path:
    """Write an image of random values, or with ``codes`` a mask in which each code has one voxel; voxels of 8 mm3."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if codes is None:
        voxels = np.random.default_rng([seed, *path.name.encode()]).integers(1, 3000, shape).astype(np.int16)
    else:
        voxels = np.zeros(shape, np.uint8)
        voxels.flat[: len(codes)] = codes
    if path.suffix == ".mha":
        image = sitk.GetImageFromArray(voxels.T)
        image.SetSpacing((2.0, 2.0, 2.0))
        sitk.WriteImage(image, str(path))
    else:
        nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])), path)
    return path


@pytest.fixture
def write_series() -> Callable[..., str]:
    return _write_series


@pytest.fixture
def write_multi_frame() -> Callable[..., str]:
    return _write_multi_frame


@pytest.fixture
def write_image() -> Callable[..., Path]:
    return _write_image


@pytest.fixture
def person() -> dict[str, str]:
    return PERSON


@pytest.fixture(scope="session")
def built_in() -> dict[str, Any]:
    """The layouts of the base configuration."""
    text = (REPOSITORY / "conf/base/parameters/layouts.yml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["layouts"]
