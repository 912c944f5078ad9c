"""Cohorts by a table: separators, visits, masks, splits, and paths that may not leave the folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lesionlab.cohort.checks import read_cohort
from lesionlab.cohort.layout import find_layout, parse_layout
from lesionlab.cohort.splits import SplitOptions, split_subjects
from lesionlab.cohort.table import Cohort, discover
from lesionlab.errors import InputError

WHOLE = """subject,visit,sequence,path,lesion_path,lesion_on,brain_path,split,age
p 1,a,T1w,"scans/ä, b's.nii.gz",masks/1.nii.gz,T1w,,train,50
p 1,a,FLAIR,scans/2.nii.gz,,,,,50
p 1,b,T1w,scans/3.nii.gz,,,,train,51
p 1,b,FLAIR,scans/4.nii.gz,,,,,51
"O'Neil <b>",,T1w,scans/5.nii.gz,,,,test,60
"O'Neil <b>",,FLAIR,scans/6.nii.gz,,,,test,60
"""


@pytest.fixture
def root(tmp_path: Path, write_image: Any) -> Path:
    for name in ("ä, b's", *"23456"):
        write_image(tmp_path / "scans" / f"{name}.nii.gz")
    write_image(tmp_path / "masks/1.nii.gz", codes=[1])
    (tmp_path / "cohort.csv").write_text(WHOLE, encoding="utf-8")
    return tmp_path


def found(root: Path, built_in: dict[str, Any], *sequences: str, **changes: Any) -> Cohort:
    layout = find_layout(built_in, "csv").model_copy(update=changes)
    return discover(root, layout, sequences or ("T1w", "FLAIR"))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_is_read_wholly(root: Path, built_in: dict[str, Any], separator: str) -> None:
    if separator != ",":
        text = WHOLE.replace('"scans/ä, b\'s.nii.gz"', "scans/COMMA").replace(",", separator)
        text = text.replace("scans/COMMA", "scans/ä, b's.nii.gz")
        (root / "cohort.csv").write_text("\ufeff" + text, encoding="utf-8")  # as spreadsheets save it
    result = read_cohort(root, find_layout(built_in, "csv"), ["T1w", "FLAIR"], ["lesion"])
    assert result.quarantine.empty
    table = result.table
    assert list(table["study"].unique()) == ["O'Neil <b>", "p 1_a", "p 1_b"]
    first = table[table["study"] == "p 1_a"].set_index("sequence")
    assert first.loc["T1w", "path"] == str(root / "scans/ä, b's.nii.gz")
    assert list(first["lesion_on"]) == ["T1w", "T1w"] and set(first["split"]) == {"train"}
    assert result.lesions["ml"].item() == pytest.approx(0.008)


def test_the_tables_split_is_kept(root: Path, built_in: dict[str, Any]) -> None:
    table = split_subjects(found(root, built_in).table, SplitOptions(test=1, validation=0))
    assert dict(zip(table["subject"], table["split"], strict=True)) == {"O'Neil <b>": "test", "p 1": "train"}


def test_other_words_for_a_sequence(root: Path, built_in: dict[str, Any]) -> None:
    (root / "cohort.csv").write_text("subject,sequence,path\np,MPRAGE,scans/2.nii.gz\n")
    cohort = found(root, built_in, "T1w", sequences={"T1w": ("MPRAGE",)}, lesion=None)
    assert cohort.table["path"].item() == str(root / "scans/2.nii.gz")


ROW = "subject,sequence,path\n{}\n"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("p,T1w,../{up}/scans/2.nii.gz", None),  # out and back in again: still below the root
        ("p,T1w,../secret.nii.gz", "path outside the cohort's folder.*outside: true"),
        ("p,T1w,/etc/passwd", "path outside the cohort's folder"),
        ("p,T1w,scans/../../secret.nii.gz", "path outside the cohort's folder"),
        ("p,T1w,scans/none.nii.gz", "file is missing.*scans/none.nii.gz"),
        ("../../p,T1w,scans/2.nii.gz", "subject has a name that cannot be used"),
        (".hidden,T1w,scans/2.nii.gz", "subject has a name that cannot be used"),
        ("_logs,T1w,scans/2.nii.gz", "subject has a name that cannot be used"),
        (f"{'p' * 151},T1w,scans/2.nii.gz", "subject has a name that cannot be used"),
        ("p,T1,scans/2.nii.gz", "no paths for the sequence T1w.*did you mean 'T1'"),
        ("p,T1w,scans/2.nii.gz\np,T1w,scans/3.nii.gz", "2 paths for the sequence T1w"),
    ],
)
def test_a_row_at_fault_costs_its_study_alone(root: Path, built_in: dict[str, Any], row: str, words: str) -> None:
    good = "\ngood,T1w,scans/6.nii.gz"
    (root / "cohort.csv").write_text(ROW.format(row.replace("{up}", root.name) + good))
    (root.parent / "secret.nii.gz").touch()
    table, quarantine, _ = found(root, built_in, "T1w")
    assert set(table["study"]) == ({"good"} if words else {"good", "p"})
    if words:
        assert re.search(words, quarantine["reason"].item(), re.DOTALL)


@pytest.mark.parametrize(
    "path", ["../secret.nii.gz", "scans/../../secret.nii.gz", "..#series=ab12", "..#channel=0", "x\0y"]
)
@pytest.mark.parametrize("relative", [False, True])
def test_paths_do_not_leave_the_working_folder_either(
    root: Path, built_in: dict[str, Any], monkeypatch: pytest.MonkeyPatch, path: str, relative: bool
) -> None:
    """Every relative path is below ".", as far as their names go; and a series' folder is what stands before the #."""
    (root / "cohort.csv").write_text(ROW.format(f"good,T1w,scans/6.nii.gz\np,T1w,{path}"))
    (root.parent / "secret.nii.gz").touch()
    monkeypatch.chdir(root)
    table, quarantine, _ = found(Path() if relative else root, built_in, "T1w")
    assert set(table["study"]) == {"good"}
    assert "path outside the cohort's folder" in quarantine["reason"].item()


def test_links_leave_the_root_where_the_layout_says_so_alone(root: Path, built_in: dict[str, Any]) -> None:
    elsewhere = root.parent / f"{root.name} else"
    (root / "scans").rename(elsewhere)
    (root / "inside").mkdir()
    (elsewhere / "2.nii.gz").rename(root / "inside/2.nii.gz")
    (root / "folder").symlink_to(elsewhere)
    (root / "file.nii.gz").symlink_to(elsewhere / "3.nii.gz")
    (root / "annex.nii.gz").symlink_to("inside/2.nii.gz")
    rows = "annex,T1w,annex.nii.gz\nfolder,T1w,folder/4.nii.gz\nfile,T1w,file.nii.gz"
    (root / "cohort.csv").write_text(ROW.format(rows))
    linked = root.parent / f"{root.name} link"  # the root itself may be a link
    linked.symlink_to(root)
    for place in (root, linked):
        table, quarantine, _ = found(place, built_in, "T1w")
        assert set(table["study"]) == {"annex"}
        assert quarantine["reason"].str.contains("path outside the cohort's folder.*behind links too").all()
    assert set(found(root, built_in, "T1w", outside=True).table["study"]) == {"annex", "folder", "file"}


def test_paths_may_leave_where_the_layout_says_so(root: Path, built_in: dict[str, Any], write_image: Any) -> None:
    elsewhere = write_image(root.parent / f"{root.name} else/2.nii.gz")
    (root / "cohort.csv").write_text(ROW.format(f"p,T1w,{elsewhere}\nq,T1w,../{root.name} else/2.nii.gz"))
    assert set(found(root, built_in, "T1w", outside=True).table["path"]) == {str(elsewhere)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lacks the column subject"),
        ("subject,sequence\np,T1w\n", "lacks the column path"),
        ("subject,sequence,pfad\np,T1w,x\n", "lacks the column path"),
        ("subject,sequence,path\n", "holds no row"),
        ("subject,sequence,path\np,T1w,a,b\n", "line 2 of the table has 4 cells.*double quotes"),
        ("subject,sequence,path,split\np,T1w,x,tset\n", "a split that is none.*'tset'.*did you mean 'test'"),
        ("subject,visit,sequence,path,split\np,1,T1w,x,test\np,2,T1w,y,train\n", "a subject is in two splits"),
    ],
)
def test_a_table_that_cannot_be_used(root: Path, built_in: dict[str, Any], text: str, words: str) -> None:
    (root / "cohort.csv").write_text(text)
    with pytest.raises(InputError, match=f"(?s){words}"):
        found(root, built_in, "T1w")


def test_a_table_in_another_encoding_or_missing(root: Path, built_in: dict[str, Any]) -> None:
    (root / "cohort.csv").write_bytes("subject,sequence,path\nMüller,T1w,x\n".encode("latin-1"))
    with pytest.raises(InputError, match="table cannot be read.*UTF-8"):
        found(root, built_in, "T1w")
    with pytest.raises(InputError, match="table cannot be read.*none.csv"):
        found(root, built_in, "T1w", table="none.csv")


def test_masks_that_contradict_each_other(root: Path, built_in: dict[str, Any]) -> None:
    text = "subject,sequence,path,lesion_path,lesion_on\np,T1w,scans/2.nii.gz,masks/1.nii.gz,T2w\n"
    (root / "cohort.csv").write_text(text + "q,T1w,scans/3.nii.gz,,\nr,T1w,scans/4.nii.gz,masks/1.nii.gz,\n")
    table, quarantine, _ = found(root, built_in, "T1w")
    assert set(table["study"]) == {"q", "r"}
    assert "sequence that is not asked for" in quarantine["reason"].item()


def test_a_study_without_a_row_for_what_it_may_lack(root: Path, built_in: dict[str, Any]) -> None:
    text = "subject,sequence,path,lesion_path,lesion_on\n"
    text += "bare,T1w,scans/2.nii.gz,,\non,T1w,scans/3.nii.gz,masks/1.nii.gz,FLAIR\n"
    text += "twice,T1w,scans/4.nii.gz,,\ntwice,FLAIR,scans/5.nii.gz,,\ntwice,FLAIR,scans/6.nii.gz,,\n"
    text += "gone,T1w,scans/4.nii.gz,,\ngone,FLAIR,scans/none.nii.gz,,\n"
    (root / "cohort.csv").write_text(text)
    layout = find_layout(built_in, "csv")
    table, quarantine, _ = discover(root, layout, ["T1w", "FLAIR"], may_lack=["FLAIR"])
    assert list(zip(table["study"], table["sequence"], strict=True)) == [("bare", "T1w")]
    reasons = quarantine.set_index("study")["reason"]
    assert "the file is missing" in reasons["gone"]  # the table says that there is one
    assert "lacks every sequence that its lesion mask may lie on" in reasons["on"]
    assert "2 paths for the sequence FLAIR" in reasons["twice"]


def test_a_lesion_mask_is_due_whatever_else_is_missing(root: Path, built_in: dict[str, Any]) -> None:
    (root / "cohort.csv").write_text(
        "subject,sequence,path,lesion_path\np,T1w,scans/2.nii.gz,masks/1.nii.gz\nq,T1w,scans/3.nii.gz,\n"
    )
    layout = find_layout(built_in, "csv")
    assert layout.lesion is not None
    strict = layout.model_copy(update={"lesion": layout.lesion.model_copy(update={"optional": False})})
    quarantine = discover(root, strict, ["T1w", "FLAIR"], may_lack=["FLAIR"]).quarantine
    assert list(quarantine["study"]) == ["q"] and "lesion mask is missing" in quarantine["reason"].item()


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"reader": "msd", "sequences": {"T1w": "T1"}, "table": "x.csv"}, "`table` is for csv and dicom"),
        ({"reader": "csv", "subjects": "x.csv"}, "`subjects` is for dicom"),
        ({"reader": "dicom", "sequences": {"T1w": "*"}}, "needs `study`"),
        ({"reader": "dcm", "study": "{subject}", "sequences": {"T1w": "*"}}, "reader"),
        ({"study": "{subject}", "sequences": {"T1w": "T1w"}}, "which subject"),
    ],
)
def test_a_layout_says_what_its_reader_needs(mapping: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_layout(mapping)
