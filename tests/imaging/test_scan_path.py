"""Paths of scans: files, channels of files, series in folders, folders whose name stays unsaid."""

from __future__ import annotations

from pathlib import Path

import pytest

from lesionlab.errors import InputError
from lesionlab.imaging.formats.nifti import read_volume
from lesionlab.imaging.scan_path import ScanPath, channel_path, digest, folder_files, scan_path, series_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/T1w.nii.gz", ScanPath(Path("a/T1w.nii.gz"))),
        ("a#b/T1w.nii.gz", ScanPath(Path("a#b/T1w.nii.gz"))),
        ("a/x.nii.gz#channel=12", ScanPath(Path("a/x.nii.gz"), 12)),
        ("a#channel=1/x.nii#channel=0", ScanPath(Path("a#channel=1/x.nii"), 0)),
        ("a/x.nii.gz#channel=-1", ScanPath(Path("a/x.nii.gz#channel=-1"))),
        ("a/b#series=0f3c", ScanPath(Path("a/b"), None, "0f3c")),
    ],
)
def test_a_path_taken_apart(text: str, expected: ScanPath) -> None:
    assert scan_path(text) == scan_path(Path(text)) == expected


def test_a_file_that_has_such_a_name_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "x.nii#channel=1").touch()
    assert scan_path(tmp_path / "x.nii#channel=1") == ScanPath(tmp_path / "x.nii#channel=1")


def test_paths_go_round(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "Doe^John"
    folder.mkdir(parents=True)
    assert scan_path(channel_path(tmp_path / "x.nii", 3)) == ScanPath(tmp_path / "x.nii", 3)
    assert scan_path(series_path(folder, "ab12")) == ScanPath(folder, None, "ab12")
    hidden = series_path(folder, "ab12", below=tmp_path)
    assert "Doe" not in hidden and "deep" not in hidden
    assert scan_path(hidden) == ScanPath(folder, None, "ab12")
    assert not scan_path(f"{tmp_path}#folder=000000000000&series=ab12").place.exists()


def test_a_key_is_short_and_says_nothing() -> None:
    assert digest("Doe^John") == digest("Doe^John") != digest("Doe^Jane")
    assert len(digest("x")) == 12


def test_files_below_a_folder_without_hidden_ones_and_circles(tmp_path: Path) -> None:
    for name in ("b.dcm", "a/c.dcm", ".hidden", ".git/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert folder_files(tmp_path) == [tmp_path / "a/c.dcm", tmp_path / "b.dcm"]
    (tmp_path / "dead").symlink_to("nowhere")  # a file that is missed, not one that was never there
    assert tmp_path / "dead" in folder_files(tmp_path)


def test_a_channel_of_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="file is missing"):
        read_volume(f"{tmp_path}/x.nii.gz#channel=1")
    with pytest.raises(InputError, match="DICOM series is missing"):
        read_volume(f"{tmp_path}#series=ab12")
