"""MetaImage files, written by SimpleITK and damaged by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lesionlab.errors import InputError
from lesionlab.imaging.formats.nifti import read_header, read_volume

DATA = np.arange(60, dtype=np.int16).reshape(3, 4, 5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    image = sitk.GetImageFromArray(DATA.T)
    image.SetSpacing((1.0, 2.0, 3.0))
    image.SetOrigin((10.0, 20.0, 30.0))
    image.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, 1))  # the first axis runs along y, the second along x
    sitk.WriteImage(image, str(tmp_path / "x.mha"))
    return tmp_path / "x.mha"


def test_voxels_and_their_place(path: Path) -> None:
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.data, DATA)
    # LPS: voxel (i, j, k) lies at (10 + 2 j, 20 + i, 30 + 3 k); RAS turns the first two round
    expected = [[0, -2, 0, -10], [-1, 0, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(volume.affine, expected)
    shape, affine = read_header(path)
    assert shape == (3, 4, 5)
    np.testing.assert_allclose(affine, expected)


@pytest.mark.parametrize("cut", [20, -40])
def test_a_damaged_file_is_told(path: Path, cut: int) -> None:
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match="cannot be read as MetaImage") as caught:
        read_volume(path, subject="p01")
    assert str(path) in str(caught.value)


def test_colours_and_missing_files(path: Path) -> None:
    sitk.WriteImage(sitk.Image([3, 4, 5], sitk.sitkVectorUInt8, 3), str(path))
    with pytest.raises(InputError, match="no grey values"):
        read_volume(path)
    with pytest.raises(InputError, match="file is missing"):
        read_volume(path.with_name("y.mha"))
