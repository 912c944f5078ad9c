"""DICOM folders: geometry, which series is which sequence, and that nothing that names a person gets out."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from lesionlab.cohort.checks import CheckedCohort, CheckOptions, read_cohort
from lesionlab.cohort.layout import find_layout, parse_layout
from lesionlab.cohort.table import discover
from lesionlab.errors import InputError
from lesionlab.imaging.formats import dicom_series
from lesionlab.imaging.formats.dicom_series import list_series
from lesionlab.imaging.formats.nifti import read_header, read_volume
from lesionlab.imaging.scan_path import series_path
from lesionlab.stages.fingerprints import file_fingerprint

SHAPE = (5, 6, 7)
#: Turned by 20 degrees about z, then tilted by 0.3 rad about the rows: no axis is parallel to one of the head.
COS, SIN = np.cos(np.radians(20)), np.sin(np.radians(20))
ROW, COLUMN = (COS, SIN, 0.0), (-SIN * np.cos(0.3), COS * np.cos(0.3), np.sin(0.3))
OBLIQUE = {"row": ROW, "column": COLUMN, "origin": (-10.0, 20.0, 30.0), "spacing": (0.9, 1.1, 3.0)}


def voxels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4000, SHAPE)


def expected_affine() -> np.ndarray:
    """DICOM PS3.3, equation C.7.6.2.1-1, with x and y turned round from LPS to RAS."""
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = np.multiply(ROW, 0.9), np.multiply(COLUMN, 1.1)
    affine[:3, 2], affine[:3, 3] = 3.0 * np.cross(ROW, COLUMN), (-10.0, 20.0, 30.0)
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def only_series(folder: Path) -> str:
    (series,) = list_series(folder)
    return series_path(folder, series.key)


@pytest.mark.parametrize("names", [None, [f"{name}.dcm" for name in "gfedcba"], list("cabdfeg")])
def test_an_oblique_series_in_whatever_order_its_files_are_named(tmp_path, write_series, names) -> None:
    write_series(tmp_path, voxels(), names=names, **OBLIQUE)
    path = only_series(tmp_path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.data, voxels())
    np.testing.assert_allclose(volume.affine, expected_affine(), atol=1e-6)
    shape, affine = read_header(path)
    assert shape == SHAPE
    np.testing.assert_allclose(affine, volume.affine)


@pytest.mark.parametrize("order", [range(7), range(6, -1, -1), [0, 2, 4, 6, 1, 3, 5]])
def test_a_multi_frame_file_in_whatever_order_its_frames_are(tmp_path, write_multi_frame, order) -> None:
    write_multi_frame(tmp_path / "enhanced.dcm", voxels(), order=order, **OBLIQUE)
    volume = read_volume(only_series(tmp_path))
    np.testing.assert_array_equal(volume.data, voxels())
    np.testing.assert_allclose(volume.affine, expected_affine(), atol=1e-6)


def test_slope_and_intercept_of_each_slice_are_applied(tmp_path, write_series) -> None:
    write_series(tmp_path, voxels(), RescaleSlope="0.5", RescaleIntercept="-3")
    np.testing.assert_allclose(read_volume(only_series(tmp_path)).data, voxels() * 0.5 - 3)


def test_a_multi_frame_file_without_preamble(tmp_path, write_multi_frame) -> None:
    file = tmp_path / "enhanced.dcm"
    write_multi_frame(file, voxels(), **OBLIQUE)
    file.write_bytes(file.read_bytes()[132:])  # 128 bytes, then "DICM" (PS3.10, 7.1): older archives leave them out
    volume = read_volume(only_series(tmp_path))
    np.testing.assert_array_equal(volume.data, voxels())
    np.testing.assert_allclose(volume.affine, expected_affine(), atol=1e-6)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(5, "Input/output error", "Mustermann.dcm"), "cannot be read"),
        (ValueError("could not convert string to float: 'Erika'"), "cannot be read"),
        (NotImplementedError("Mustermann"), "cannot be read"),
        (MemoryError("Mustermann"), "more memory than there is"),
    ],
)
@pytest.mark.parametrize("reader", ["frame_planes", "array_of"])
def test_whatever_is_raised_on_a_file_costs_its_study_alone(
    tmp_path, built_in, write_series, write_multi_frame, monkeypatch, caplog, reader, error, words
) -> None:
    """Disks and memory fail when they like; the good study is read before, and the bad one has the only frames."""
    write_series(tmp_path / "p01", voxels(), description="t1_mprage_sag")
    write_multi_frame(tmp_path / "p02" / "Mustermann.dcm", voxels(1), description="t1_mprage_sag")
    real = getattr(dicom_series, reader)

    def fail(given: Any) -> Any:
        if reader == "array_of" and sitk.GetArrayFromImage(given).T.tolist() == voxels().tolist():
            return real(given)
        raise error

    monkeypatch.setattr(dicom_series, reader, fail)
    with caplog.at_level(logging.DEBUG):
        result = read(tmp_path, find_layout(built_in, "dicom"), ["T1w"])
    assert set(result.table["study"]) == {"p01"}
    reason = result.quarantine["reason"].item()
    assert words in reason and "subject p02" in reason
    said = (everything(result) + caplog.text).lower()
    assert "erika" not in said and "mustermann" not in said


def tear(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])


def kill(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")  # as an archive leaves it whose content was not fetched


@pytest.mark.parametrize("last", ["01-0006.dcm", "image7"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: tear(file, 140),  # behind the preamble
        lambda file: tear(file, 250),  # within what says which class it is
        lambda file: tear(file, 500),  # within the header
        lambda file: file.write_bytes(file.read_bytes()[:132] + b"\xff" * 900),
        kill,
    ],
)
def test_a_torn_file_at_the_end_of_a_stack_is_no_shorter_stack(
    tmp_path, built_in, write_series, spoil, last, caplog
) -> None:
    for name in ("p01", "p02"):
        write_series(tmp_path / name, voxels(), description="t1_mprage_sag")
    file = tmp_path / "p02" / last
    (tmp_path / "p02" / "01-0006.dcm").rename(file)
    spoil(file)
    with caplog.at_level(logging.DEBUG):
        result = read(tmp_path, find_layout(built_in, "dicom"), ["T1w"])
    assert set(result.table["study"]) == {"p01"}
    reason = result.quarantine["reason"].item()
    assert "DICOM files of the study cannot be read" in reason and "1 file." in reason
    assert last not in reason + caplog.text
    with pytest.raises(InputError, match="DICOM files of the study cannot be read"):
        read_volume(only_series(tmp_path / "p02"))


def test_an_empty_file_is_damaged_where_its_name_says_dicom(tmp_path, built_in, write_series) -> None:
    for name in ("p01", "p02"):
        write_series(tmp_path / name, voxels(), description="t1_mprage_sag")
    (tmp_path / "p01" / "empty.txt").touch()
    (tmp_path / "p02" / "01-0006.dcm").write_bytes(b"")
    assert set(read(tmp_path, find_layout(built_in, "dicom"), ["T1w"]).table["study"]) == {"p01"}


@pytest.mark.parametrize("kind", ["1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.1.3.10", "1.3.12.2.1107.5.9.1"])
def test_dicom_files_that_hold_no_image_are_ignored(tmp_path, write_series, kind) -> None:
    """A report, a DICOMDIR, and the private class in which Siemens keeps what is no image."""
    write_series(tmp_path, voxels())
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = kind
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.SeriesInstanceUID = generate_uid()
    data.save_as(tmp_path / "other.dcm", enforce_file_format=True)
    assert read_volume(only_series(tmp_path)).shape == SHAPE


def spoil_gap(folder: Path, write: Any) -> None:
    write(folder, voxels())
    (folder / "01-0003.dcm").unlink()


def spoil_cut(folder: Path, write: Any) -> None:
    write(folder, voxels())
    file = folder / "01-0003.dcm"
    file.write_bytes(file.read_bytes()[:-30])


def spoil_echoes(folder: Path, write: Any) -> None:
    write(folder, voxels())
    write(folder / "second", voxels(1), SeriesInstanceUID="1.2.3")
    for file in folder.glob("*.dcm"):
        file.unlink()
    write(folder / "third", voxels(2), SeriesInstanceUID="1.2.3")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_gap, "2.00 to 4.00 mm apart: some are missing"),
        (spoil_echoes, "several images at one position"),
        (spoil_cut, "missing|truncated"),
    ],
)
def test_a_series_that_makes_no_volume_is_told(tmp_path, write_series, spoil, words) -> None:
    spoil(tmp_path, write_series)
    with pytest.raises(InputError, match=words) as caught:
        read_volume(only_series(tmp_path), subject="p01")
    assert "subject p01" in str(caught.value) and ".dcm" not in str(caught.value)


def cohort(root: Path, write_series: Any, write_multi_frame: Any, names: tuple[str, ...] = ("p01", "p02")) -> None:
    for seed, name in enumerate(names):
        write_series(root / name / "a", voxels(seed), description="t1_mprage_sag", number=2)
        write_series(root / name / "b", voxels(seed + 10), description="t1_mprage_sag_KM Mustermann", number=7,
                     ContrastBolusAgent="Gadovist")  # fmt: skip
        write_series(root / name / "c", voxels(seed + 20)[..., :3], description="t1_localizer", number=1)
        write_multi_frame(root / name / "d.dcm", voxels(seed + 30), description="T2 TIRM dark-fluid", number=5)
        (root / name / "DICOMDIR").write_bytes(b"no image")
        (root / name / "readme.txt").write_text("no image either")


WANTED = ["T1w", "T1ce", "FLAIR"]
OPTIONS = CheckOptions(require_lesions=False)


def read(root: Path, layout: Any, sequences: list[str] = WANTED) -> CheckedCohort:
    return read_cohort(root, layout, sequences, ["lesion"], OPTIONS)


def test_series_are_told_by_their_description(tmp_path, built_in, write_series, write_multi_frame) -> None:
    cohort(tmp_path, write_series, write_multi_frame)
    result = read(tmp_path, find_layout(built_in, "dicom"))
    assert result.quarantine.empty
    table = result.table.set_index(["study", "sequence"])["path"]
    for seed, name in enumerate(("p01", "p02")):
        for sequence, offset in (("T1w", 0), ("T1ce", 10), ("FLAIR", 30)):
            np.testing.assert_array_equal(read_volume(table[name, sequence]).data, voxels(seed + offset))
    two = read_cohort(
        tmp_path, find_layout(built_in, "dicom"), WANTED, ["lesion"], CheckOptions(require_lesions=False, workers=2)
    )
    assert two.scans.equals(result.scans)


def test_a_study_may_lack_a_sequence_but_not_have_it_twice(tmp_path, built_in, write_series, write_multi_frame) -> None:
    cohort(tmp_path, write_series, write_multi_frame)
    (tmp_path / "p01" / "d.dcm").unlink()
    write_multi_frame(tmp_path / "p02" / "e.dcm", voxels(40), description="T2 TIRM dark-fluid", number=6)
    table, quarantine, _ = discover(tmp_path, find_layout(built_in, "dicom"), WANTED, may_lack=["FLAIR"])
    assert list(zip(table["study"], table["sequence"], strict=True)) == [("p01", "T1w"), ("p01", "T1ce")]
    assert list(quarantine["study"]) == ["p02"] and "FLAIR is ambiguous" in quarantine["reason"].item()


def test_a_table_says_what_descriptions_do_not(tmp_path, built_in, write_series, write_multi_frame) -> None:
    cohort(tmp_path, write_series, write_multi_frame)
    write_series(tmp_path / "p02" / "again", voxels(99), description="t1_mprage_sag", number=9)
    plain = find_layout(built_in, "dicom")
    reason = read(tmp_path, plain).quarantine["reason"].item()
    assert "sequence T1w is ambiguous" in reason and "2 't1_mprage_sag' (7 files), 9 't1_mprage_sag'" in reason
    (tmp_path / "series.csv").write_text("subject;series;sequence\np02;9;T1w\n")
    result = read(tmp_path, plain.model_copy(update={"table": "series.csv"}))
    path = result.table.set_index(["study", "sequence"])["path"]["p02", "T1w"]
    np.testing.assert_array_equal(read_volume(path).data, voxels(99))


def test_the_fingerprint_follows_the_content_and_the_series(tmp_path, write_series) -> None:
    write_series(tmp_path, voxels(), number=1)
    write_series(tmp_path, voxels(1), number=2)
    one, two = (series_path(tmp_path, series.key) for series in list_series(tmp_path))
    before = file_fingerprint(one)
    assert before != file_fingerprint(two)
    shutil.copytree(tmp_path, tmp_path.with_name("copy"))
    assert file_fingerprint(one.replace(tmp_path.name, "copy", 1)) == before
    file = tmp_path / "01-0001.dcm"
    file.write_bytes(file.read_bytes()[:-2] + b"\x01\x01")
    assert file_fingerprint(one) != before


def everything(result: CheckedCohort) -> str:
    return " ".join(part.to_csv() for part in result)


def test_nothing_that_names_a_person_gets_out(
    tmp_path, built_in, write_series, write_multi_frame, person, caplog, capfd
) -> None:
    """Folder, files, header and description all carry the person; one study is whole, one lacks a scan, one is torn."""
    folders = ("Mustermann_Erika_KH-4711-Z", "b_Mustermann", "c_19640812")
    cohort(tmp_path, write_series, write_multi_frame, folders)
    shutil.rmtree(tmp_path / folders[1] / "a")
    write_series(tmp_path / folders[1] / "a", voxels(), description="Erika MUSTERMANN 19640812 kh-4711-z sag", number=2)
    file = tmp_path / folders[2] / "d.dcm"
    (tmp_path / folders[2] / "d.dcm").write_bytes(file.read_bytes()[:-100])
    lines = [f"{name},{subject}" for name, subject in zip(folders, ("s1", "s2", "s3"), strict=True)]
    (tmp_path / "who.csv").write_text("folder,subject\n" + "\n".join(lines))
    layout = find_layout(built_in, "dicom").model_copy(update={"subjects": "who.csv"})
    with caplog.at_level(logging.DEBUG):
        result = read(tmp_path, layout)
    out = capfd.readouterr()
    said = everything(result) + caplog.text + out.out + out.err
    assert set(result.table["subject"]) == {"s1"}
    assert "sequence T1w is missing" in said and "*** *** *** *** sag" in said
    uids = [str(one.key) for one in list_series(tmp_path / folders[0])]
    assert uids and "1.2.826" not in said  # UIDs are keys of an archive: they do not get out either
    for word in ("mustermann", "erika", "kh-4711", "4711-z", "19640812", *(name.lower() for name in folders)):
        assert word not in said.lower()
    for path in result.table["path"]:
        assert read_volume(path).shape == SHAPE  # found again by the keys


def test_an_empty_cohort_does_not_list_folders_that_may_be_names(tmp_path, built_in) -> None:
    (tmp_path / "Mustermann.txt").touch()
    with pytest.raises(InputError, match="no study fits the layout") as caught:
        discover(tmp_path, find_layout(built_in, "dicom"), ["T1w"])
    assert "Mustermann" not in str(caught.value)


def test_a_subject_table_that_names_no_folder(tmp_path, built_in, write_series) -> None:
    write_series(tmp_path / "x", voxels())
    (tmp_path / "who.csv").write_text("folder,subject\nMustermann,s1\n")
    layout = find_layout(built_in, "dicom").model_copy(update={"subjects": "who.csv"})
    with pytest.raises(InputError, match="names a folder that is not there.*line 2") as caught:
        discover(tmp_path, layout, ["T1w"])
    assert "Mustermann" not in str(caught.value)


@pytest.mark.parametrize("folder", ["{root}/../Mustermann", "../Mustermann", "x/../../Mustermann", "{root}", ".", ""])
@pytest.mark.parametrize("relative", [False, True])
def test_a_subject_table_does_not_leave_the_root(
    tmp_path, built_in, write_series, monkeypatch, folder, relative
) -> None:
    """Before the check an absolute path ended in a ValueError that named it, and "../x" was read."""
    root = tmp_path / "root"
    write_series(root / "x", voxels())
    write_series(tmp_path / "Mustermann", voxels())
    (root / "who.csv").write_text(f"folder,subject\nx,s1\n{folder.format(root=root)},s2\n")
    layout = find_layout(built_in, "dicom").model_copy(update={"subjects": "who.csv"})
    monkeypatch.chdir(root)
    with pytest.raises(InputError, match="subject s2.*folder that is not below the root.*line 3") as caught:
        discover(Path() if relative else root, layout, ["T1w"])
    assert "Mustermann" not in str(caught.value)


@pytest.mark.parametrize("folder", ["x/../x", "./x/", "{root}/x"])
def test_a_subject_table_may_write_a_folder_below_the_root_otherwise(tmp_path, built_in, write_series, folder) -> None:
    write_series(tmp_path / "x", voxels())
    (tmp_path / "who.csv").write_text(f"folder,subject\n{folder.format(root=tmp_path)},s1\n")
    layout = find_layout(built_in, "dicom").model_copy(update={"subjects": "who.csv"})
    found = discover(tmp_path, layout, ["T1w"])
    assert read_volume(found.table["path"].item()).shape == SHAPE


def test_a_torn_line_of_the_subject_table_is_not_repeated(tmp_path, built_in, write_series) -> None:
    write_series(tmp_path / "Mustermann, Erika", voxels())
    (tmp_path / "who.csv").write_text("folder,subject\nMustermann, Erika,s1\n")
    layout = find_layout(built_in, "dicom").model_copy(update={"subjects": "who.csv"})
    with pytest.raises(InputError, match="line 2 of the table has 3 cells") as caught:
        discover(tmp_path, layout, ["T1w"])
    assert "Mustermann" not in str(caught.value)


@pytest.mark.parametrize("table", ["subjects", "table"])
@pytest.mark.parametrize("first", ["Mustermann_Erika,p01", "folder,subject,series,sequence,Mustermann"])
def test_the_first_line_of_a_table_is_not_repeated(tmp_path, built_in, write_series, caplog, table, first) -> None:
    """A table without its columns' names has a person in the first line; one with more columns may have one there."""
    write_series(tmp_path / "x", voxels())
    (tmp_path / "who.csv").write_text(f"{first}\nx,s1" + (",1,T1w,5" if "folder" in first else ""))
    layout = find_layout(built_in, "dicom").model_copy(update={table: "who.csv"})
    with caplog.at_level(logging.DEBUG):
        try:
            discover(tmp_path, layout, ["T1w"])
            said = ""
        except InputError as error:
            said = str(error)
    assert "not used: " in caplog.text or ("lacks the column" in said and "2 columns" in said)
    assert "mustermann" not in (said + caplog.text).lower()


def test_masks_are_files_by_templates(tmp_path, write_series, write_image) -> None:
    write_series(tmp_path / "dicom" / "p01", voxels())
    lesion = {"file": "masks/{subject}.nii.gz", "drawn_on": "T1w", "codes": {1: "lesion"}}
    layout = parse_layout(
        {"reader": "dicom", "study": "dicom/{subject}", "sequences": {"T1w": "*t1*"}, "lesion": lesion}
    )
    write_image(tmp_path / "masks/p01.nii.gz", SHAPE, codes=[1])
    reason = discover(tmp_path, layout, ["T1w"])
    assert reason.table["lesion_path"].item() == str(tmp_path / "masks/p01.nii.gz")
