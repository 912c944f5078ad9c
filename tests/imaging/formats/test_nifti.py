from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from lesionlab.errors import InputError
from lesionlab.imaging.formats.nifti import read_header, read_volume, write_volume
from lesionlab.imaging.volume import Volume


def save(path, data, affine=None):
    nib.Nifti1Image(data, np.eye(4) if affine is None else affine).to_filename(path)
    return path


@pytest.fixture
def data():
    return np.arange(60, dtype=np.float32).reshape(3, 4, 5)


def test_what_was_written_is_read(tmp_path, blob):
    path = write_volume(blob, tmp_path / "new" / "blob.nii.gz")
    again = read_volume(path)
    np.testing.assert_array_equal(again.data, blob.data)
    np.testing.assert_allclose(again.affine, blob.affine, atol=1e-6)
    shape, affine = read_header(path)
    assert shape == (12, 14, 10)
    np.testing.assert_allclose(affine, blob.affine, atol=1e-6)


def test_writing_leaves_nothing_beside_and_the_same_bytes_twice(tmp_path, blob):
    first = write_volume(blob, tmp_path / "blob.nii.gz").read_bytes()
    assert write_volume(blob, tmp_path / "blob.nii.gz").read_bytes() == first
    assert [file.name for file in tmp_path.iterdir()] == ["blob.nii.gz"]


def test_a_failed_write_keeps_the_file_that_was_there(tmp_path, blob):
    path = write_volume(blob, tmp_path / "blob.nii.gz")
    before = path.read_bytes()
    with pytest.raises(Exception, match=r"complex256|dtype|supported|object"):
        write_volume(Volume(np.full((2, 2, 2), None, dtype=object), np.eye(4)), path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_another_name_is_refused(tmp_path, blob):
    with pytest.raises(ValueError, match="nii"):
        write_volume(blob, tmp_path / "blob.mha")


def test_a_trailing_axis_of_one_is_dropped(tmp_path, data):
    assert read_volume(save(tmp_path / "a.nii.gz", data[..., None])).shape == (3, 4, 5)


def test_slope_and_intercept_are_applied(tmp_path, data):
    path = save(tmp_path / "a.nii", data.astype(np.int16))
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([2.0, 1.0], "<f4").tobytes()  # scl_slope and scl_inter of the NIfTI-1 header
    path.write_bytes(content)
    np.testing.assert_allclose(read_volume(path).data, 2 * data + 1)


def faulty(tmp_path, data, fault):
    path = tmp_path / "scan.nii.gz"
    if fault == "missing":
        return path
    if fault == "no nifti":
        path.write_bytes(b"this is no image")
    elif fault == "truncated":
        noise = np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32)
        save(path, noise)
        path.write_bytes(path.read_bytes()[:20000])
    elif fault == "4D":
        save(path, np.stack([data, data + 1], axis=-1))
    elif fault == "2D":
        save(path, data[..., 0])
    elif fault == "nan":
        save(path, np.where(data == 7, np.nan, data))
    elif fault == "no memory":
        header = nib.Nifti1Image(data, np.eye(4)).header
        header["dim"][1:4] = 32767
        path.write_bytes(gzip.compress(header.binaryblock + bytes(100)))
    elif fault == "colour":
        save(path, np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")]))
    elif fault == "complex":
        save(path, data.astype(np.complex64))
    elif fault == "affine":
        image = nib.Nifti1Image(data, np.eye(4))
        image.header["srow_y"] = np.nan
        path.write_bytes(gzip.compress(image.header.binaryblock + bytes(4) + data.tobytes()))
    elif fault == "flat":
        image = nib.Nifti1Image(data, None)
        image.set_sform(np.diag([2.0, 2.0, 0.0, 1.0]), 1)
        nib.save(image, path)
    elif fault == "inf":
        save(path, np.where(data == 7, np.inf, data))
    else:
        save(path, np.full_like(data, 3))
    return path


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("missing", "missing"),
        ("no nifti", "cannot be read"),
        ("truncated", "truncated"),
        ("4D", "4 dimensions"),
        ("2D", "2 dimensions"),
        ("nan", "1 of 60 voxels"),
        ("inf", "1 of 60 voxels"),
        ("constant", "every voxel is 3"),
        ("no memory", "cannot be read"),
        ("colour", "no grey values"),
        ("complex", "no grey values"),
        ("affine", "does not say where the voxels lie"),
        ("flat", "does not say where the voxels lie"),
    ],
)
def test_each_fault_is_told(tmp_path, data, fault, words):
    path = faulty(tmp_path, data, fault)
    with pytest.raises(InputError) as error:
        read_volume(path, subject="patient07")
    text = str(error.value)
    assert words in text and "patient07" in text and str(path) in text and "Cure" in text


def test_an_empty_label_map_is_no_fault_but_a_fraction_is(tmp_path, data):
    empty = save(tmp_path / "empty.nii.gz", np.zeros((3, 4, 5), np.float32))
    assert read_volume(empty, dtype=np.uint8).data.sum() == 0
    with pytest.raises(InputError, match="labels"):
        read_volume(save(tmp_path / "half.nii.gz", data / 2), dtype=np.uint8)
    with pytest.raises(InputError, match="labels"):
        read_volume(save(tmp_path / "large.nii.gz", data * 100), dtype=np.uint8)
