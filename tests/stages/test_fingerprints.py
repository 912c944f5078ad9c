from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

from lesionlab import names
from lesionlab.cohort import splits
from lesionlab.cohort.table import cohort_table
from lesionlab.stages.fingerprints import (
    code_fingerprint,
    cohort_fingerprint,
    file_fingerprint,
    fingerprint_of,
    study_fingerprints,
)


class Options(BaseModel):
    size: int = 3
    inner: dict[str, float] = {}


class Other(BaseModel):
    size: int = 3
    inner: dict[str, float] = {}


class Kind(Enum):
    ONE = 1


@dataclass
class Point:
    x: int


DIFFERENT: list[Any] = [
    None,
    0,
    1,
    1.0,
    True,
    "1",
    b"1",
    "",
    [],
    [1],
    [[1]],
    [1, 2],
    ["12"],
    ["1", "2"],
    {},
    {"a": 1},
    {"a": {"b": 1}},
    {1},
    Options(),
    Options(size=4),
    Options(inner={"a": 1.0}),
    Other(),
    Kind.ONE,
    Point(1),
    np.zeros(4),
    np.zeros((2, 2)),
    np.zeros(4, np.float32),
    pd.DataFrame({"a": [1, 2]}),
    pd.DataFrame({"b": [1, 2]}),
    pd.DataFrame({"a": [2, 1]}),
]


def test_different_values_differ() -> None:
    assert len({fingerprint_of(value) for value in DIFFERENT}) == len(DIFFERENT)
    assert fingerprint_of("a", "b") != fingerprint_of("ab")


def test_the_order_of_mappings_and_the_kind_of_sequence_do_not_count() -> None:
    assert fingerprint_of({"a": 1, "b": 2}) == fingerprint_of({"b": 2, "a": 1})
    assert fingerprint_of([1, 2]) == fingerprint_of((1, 2))
    assert fingerprint_of([1, 2]) != fingerprint_of([2, 1])
    assert fingerprint_of(np.float64(2.5), np.asfortranarray(np.eye(3))) == fingerprint_of(2.5, np.eye(3))


def test_it_is_the_same_in_another_process() -> None:
    code = (
        "from lesionlab.stages import fingerprints as f; print(f.fingerprint_of({'b': [1.5, {'x', 'y'}], 'a': None}))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    assert found == fingerprint_of({"b": [1.5, {"x", "y"}], "a": None})


def test_paths_stand_for_their_content(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        (folder / "inner").mkdir(parents=True)
        (folder / "inner/a.txt").write_text("a")
    assert fingerprint_of(one) == fingerprint_of(two)
    assert fingerprint_of(one / "inner/a.txt") != fingerprint_of(one / "inner/b.txt")  # b is absent
    (two / "inner/a.txt").write_text("A")
    assert fingerprint_of(one) != fingerprint_of(two)


def test_a_series_and_a_part_of_a_file(tmp_path: Path) -> None:
    series, scan = tmp_path / "series", tmp_path / "all.nii"
    (series / "inner").mkdir(parents=True)
    (series / "inner/1.dcm").write_text("1")
    scan.write_text("scan")
    before = file_fingerprint(series)
    parts = [file_fingerprint(f"{scan}#channel={channel}") for channel in (0, 1)]
    assert len({*parts, file_fingerprint(scan)}) == 3
    assert file_fingerprint(f"{series}#series=7") not in (before, file_fingerprint(f"{series}#series=8"))
    (series / "inner/1.dcm").rename(series / "inner/2.dcm")
    assert file_fingerprint(series) != before
    scan.write_text("another")
    assert file_fingerprint(f"{scan}#channel=0") != parts[0]


def test_what_cannot_be_read_has_a_fingerprint_and_stops_nothing(tmp_path: Path) -> None:
    table = cohort(tmp_path)
    before = study_fingerprints(table)
    (tmp_path / "a_T1w").unlink()
    after = study_fingerprints(table)
    assert after["a"] != before["a"] and after["b"] == before["b"]


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(TypeError, match=r"object"):
        fingerprint_of({"a": object()})


@pytest.mark.parametrize("function", [names.nearest, partial(names.nearest, "a"), partial(partial(names.listed), [])])
def test_code_is_that_of_the_module(function: Callable[..., Any]) -> None:
    assert code_fingerprint(function) == code_fingerprint(names)
    assert code_fingerprint(function) != code_fingerprint(splits.split_subjects)
    assert code_fingerprint(names, splits) != code_fingerprint(names)


def cohort(root: Path, content: str = "scan") -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    root.mkdir(exist_ok=True)
    for subject in ("a", "b"):
        for sequence in ("T1w", "FLAIR"):
            path = root / f"{subject}_{sequence}"
            path.write_text(content if (subject, sequence) == ("a", "T1w") else "scan")
            common = {"subject": subject, "visit": "", "study": subject, "sequence": sequence, "path": str(path)}
            masks = {"lesion_path": "", "lesion_on": "", "brain_path": ""}
            rows.append({**common, **masks, "split": "", "lesion_ml": 1.0})
    return cohort_table(rows)


def test_a_cohort_is_its_content_wherever_it_lies(tmp_path: Path) -> None:
    here, there = cohort(tmp_path / "here"), cohort(tmp_path / "there")
    assert cohort_fingerprint(here) == cohort_fingerprint(there)
    assert cohort_fingerprint(here) == cohort_fingerprint(here.assign(split="train"))
    assert cohort_fingerprint(here) != cohort_fingerprint(here[here["study"] == "a"])


def test_a_changed_scan_changes_its_study_alone(tmp_path: Path) -> None:
    before = study_fingerprints(cohort(tmp_path))
    after = study_fingerprints(cohort(tmp_path, "other scan"))
    assert before["a"] != after["a"]
    assert before["b"] == after["b"]


@pytest.mark.parametrize(
    ("element", "names"),
    [
        ("voxels.raw", ["voxels.raw"]),
        ("LIST\na.raw\nb.raw", ["a.raw", "b.raw"]),
        ("LIST 2D\r\na.raw", ["a.raw"]),
        ("s%02d.raw 1 5 2", ["s01.raw", "s03.raw", "s05.raw"]),
    ],
)
def test_a_meta_image_header_stands_for_the_files_it_names(tmp_path: Path, element: str, names: list[str]) -> None:
    header = tmp_path / "scan.mhd"
    header.write_bytes(f"ObjectType = Image\nNDims = 3\nElementDataFile = {element}\n".encode())
    seen = {file_fingerprint(header)}  # the files are absent
    for count, name in enumerate(names):
        for content in ("1", "2"):
            (tmp_path / name).write_text(content)
            seen.add(file_fingerprint(header))
            assert len(seen) == 1 + 2 * count + int(content)
    (tmp_path / "other.raw").write_text("1")
    assert file_fingerprint(header) in seen


def test_voxels_in_the_headers_own_file_are_that_file(tmp_path: Path) -> None:
    header, plain = tmp_path / "scan.mha", tmp_path / "scan.bin"
    for path in (header, plain):
        path.write_bytes(b"NDims = 3\nElementDataFile = LOCAL\nother.raw\x00\xff")
    assert file_fingerprint(header) == file_fingerprint(plain)
