from __future__ import annotations

from pathlib import Path

import pytest
from lesionlab.imaging.places import split_part


@pytest.mark.parametrize(
    ("path", "place", "part"),
    [
        ("a/T1w.nii.gz", "a/T1w.nii.gz", {}),
        ("a/all.nii.gz#channel=2", "a/all.nii.gz", {"channel": "2"}),
        ("series#7/", "series#7", {}),
        ("a#b=1/T1w.nii.gz", "a#b=1/T1w.nii.gz", {}),  # a folder's name
        ("a/no#1.nii.gz#channel=0", "a/no#1.nii.gz", {"channel": "0"}),
    ],
)
def test_parts_of_files(path: str, place: str, part: dict[str, str]) -> None:
    assert split_part(path) == (Path(place), part)


def test_a_file_that_bears_such_a_name_is_meant_whole(tmp_path: Path) -> None:
    odd = tmp_path / "scan#echo=1"
    odd.touch()
    assert split_part(odd) == (odd, {})
    assert split_part(f"{odd}#channel=1") == (odd, {"channel": "1"})
