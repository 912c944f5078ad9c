from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.errors
import pytest

from lesionlab.cohort.layout import Layout, parse_layout
from lesionlab.cohort.table import CohortSchema, discover, lacking
from lesionlab.errors import InputError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def layout(**changes: Any) -> Layout:
    sequences = {"T1w": "{subject}/T1w.nii.gz", "FLAIR": "{subject}/FLAIR.nii.gz"}
    return parse_layout({"study": "{subject}", "sequences": sequences, **changes})


VISITS = layout(
    study="{subject}/{visit}_*.nii.gz",
    sequences={
        "T1w": "{subject}/{visit}_T1.nii.gz",
        "FLAIR": ["{subject}/{visit}_FLAIR.nii.gz", "{subject}/{visit}_f*.nii.gz"],
    },
)
LESION = {"file": "{subject}/seg.nii.gz", "drawn_on": ["FLAIR", "T1w"], "codes": {1: "tumor"}}


def test_one_row_per_study_and_sequence_in_the_order_asked_for(tmp_path: Path) -> None:
    touch(tmp_path, "b/T1w.nii.gz", "b/FLAIR.nii.gz", "a/T1w.nii.gz", "a/FLAIR.nii.gz", "a/extra.nii.gz", "README.md")
    table, quarantine, _ = discover(tmp_path, layout(), ["FLAIR", "T1w"])
    assert list(zip(table["study"], table["sequence"], strict=True)) == [
        ("a", "FLAIR"),
        ("a", "T1w"),
        ("b", "FLAIR"),
        ("b", "T1w"),
    ]
    assert table["path"].iloc[0] == str(tmp_path / "a/FLAIR.nii.gz")
    assert (table[["visit", "lesion_path", "lesion_on", "brain_path", "split"]] == "").all(axis=None)
    assert table["lesion_ml"].isna().all()
    assert quarantine.empty
    CohortSchema.validate(table)


def test_visits_are_in_the_study_name_where_a_subject_has_several(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}_{kind}.nii.gz" for name in ("a/v1", "a/v2", "b/v2") for kind in ("T1", "FLAIR")))
    table = discover(tmp_path, VISITS, ["T1w"]).table
    assert list(table["study"]) == ["a_v1", "a_v2", "b"]
    assert list(table["subject"]) == ["a", "a", "b"]
    assert list(table["visit"]) == ["v1", "v2", "v2"]


def test_the_first_alternative_that_exists_is_taken(tmp_path: Path) -> None:
    touch(tmp_path, "a/v1_FLAIR.nii.gz", "a/v1_flair_old.nii.gz", "b/v1_flair_new.nii.gz")
    table = discover(tmp_path, VISITS, ["FLAIR"]).table
    assert [Path(path).name for path in table["path"]] == ["v1_FLAIR.nii.gz", "v1_flair_new.nii.gz"]


def test_bids_like_names_with_and_without_sessions(tmp_path: Path) -> None:
    sequences = {"T1w": ["sub-{subject}/ses-{visit}/anat/*_T1w.nii.gz", "sub-{subject}/anat/sub-{subject}_T1w.nii.gz"]}
    bids = layout(study=["sub-{subject}/ses-{visit}", "sub-{subject}/anat"], sequences=sequences)
    touch(
        tmp_path, "sub-1/ses-a/anat/sub-1_ses-a_T1w.nii.gz", "sub-2/anat/sub-2_T1w.nii.gz", "derivatives/sub-1/x.nii.gz"
    )
    table = discover(tmp_path, bids, ["T1w"]).table
    assert list(zip(table["subject"], table["visit"], strict=True)) == [("1", "a"), ("2", "")]


def test_a_missing_sequence_quarantines_that_study_only(tmp_path: Path) -> None:
    touch(tmp_path, "a/T1w.nii.gz", "a/FLAIR.nii.gz", "b/T1w.nii.gz", "b/FLAIRE.nii.gz")
    table, quarantine, _ = discover(tmp_path, layout(), ["T1w", "FLAIR"])
    assert set(table["study"]) == {"a"}
    row = quarantine.iloc[0]
    assert (row["study"], row["subject"], row["file"]) == ("b", "b", str(tmp_path / "b/FLAIR.nii.gz"))
    for part in (
        "subject b",
        "FLAIR is missing",
        "{subject}/FLAIR.nii.gz",
        "did you mean FLAIRE.nii.gz?",
        "leave the study out",
    ):
        assert part in row["reason"]


def test_a_study_that_lacks_what_it_may_lack_is_kept(tmp_path: Path) -> None:
    touch(tmp_path, "a/T1w.nii.gz", "a/FLAIR.nii.gz", "b/T1w.nii.gz", "c/FLAIR.nii.gz")
    cohort = discover(tmp_path, layout(), ["T1w", "FLAIR"], may_lack=["FLAIR"])
    assert list(zip(cohort.table["study"], cohort.table["sequence"], strict=True)) == [
        ("a", "T1w"),
        ("a", "FLAIR"),
        ("b", "T1w"),
    ]
    assert list(cohort.quarantine["study"]) == ["c"] and "T1w is missing" in cohort.quarantine["reason"].item()
    assert list(cohort.presence["FLAIR"]) == [True, False, True]


def test_what_studies_lack(tmp_path: Path) -> None:
    touch(tmp_path, "a/T1w.nii.gz", "a/FLAIR.nii.gz", "b/T1w.nii.gz")
    table = discover(tmp_path, layout(), ["T1w", "FLAIR"], may_lack=["FLAIR"]).table
    assert lacking(table, ["T1w", "FLAIR"]) == {"b": ["FLAIR"]}
    assert lacking(table, ["T2w", "T1w", "FLAIR"]) == {"a": ["T2w"], "b": ["T2w", "FLAIR"]}
    assert lacking(table, ["T1w"]) == {}


def test_several_files_are_no_missing_sequence(tmp_path: Path) -> None:
    wide = layout(sequences={"T1w": "{subject}/T1w.nii.gz", "FLAIR": "{subject}/F*.nii.gz"})
    touch(tmp_path, "a/T1w.nii.gz", "b/T1w.nii.gz", "b/F1.nii.gz", "b/F2.nii.gz")
    table, quarantine, _ = discover(tmp_path, wide, ["T1w", "FLAIR"], may_lack=["FLAIR"])
    assert set(table["study"]) == {"a"}
    assert "FLAIR is ambiguous" in quarantine["reason"].item()


def test_the_lesion_lies_on_the_first_sequence_that_the_study_has(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{study}/{name}.nii.gz" for study in "ab" for name in ("T1w", "seg")), "a/FLAIR.nii.gz")
    both = discover(tmp_path, layout(lesion=LESION), ["T1w", "FLAIR"], may_lack=["FLAIR"]).table
    assert dict(zip(both["study"], both["lesion_on"], strict=True)) == {"a": "FLAIR", "b": "T1w"}
    on_flair = layout(lesion={**LESION, "drawn_on": "FLAIR"})
    table, quarantine, _ = discover(tmp_path, on_flair, ["T1w", "FLAIR"], may_lack=["FLAIR"])
    assert set(table["study"]) == {"a"} and list(quarantine["study"]) == ["b"]
    assert re.search(r"lacks every sequence that its lesion.*Given: sequences T1w.*FLAIR", quarantine["reason"].item())


def test_an_unlabelled_study_may_lack_the_lesions_sequence(tmp_path: Path) -> None:
    touch(tmp_path, "a/T1w.nii.gz", "a/FLAIR.nii.gz", "a/seg.nii.gz", "b/T1w.nii.gz")
    loose = layout(lesion={**LESION, "drawn_on": "FLAIR", "optional": True})
    table, quarantine, _ = discover(tmp_path, loose, ["T1w", "FLAIR"], may_lack=["FLAIR"])
    assert quarantine.empty and list(table["lesion_on"]) == ["FLAIR", "FLAIR", ""]


def test_a_study_folder_without_any_scan_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "a/T1w.nii.gz", "empty/notes.txt")
    quarantine = discover(tmp_path, layout(), ["T1w"]).quarantine
    assert list(quarantine["study"]) == ["empty"]
    assert "holds notes.txt" in quarantine["reason"].iloc[0]


def test_several_files_for_one_sequence_quarantine_the_study(tmp_path: Path) -> None:
    wide = layout(sequences={"T1w": "{subject}/*T1w*.nii.gz"})
    touch(tmp_path, "a/T1w.nii.gz", "b/T1w_1.nii.gz", "b/T1w_2.nii.gz")
    table, quarantine, _ = discover(tmp_path, wide, ["T1w"])
    assert set(table["study"]) == {"a"}
    assert re.search(r"ambiguous.*T1w_1.nii.gz, .*T1w_2.nii.gz", quarantine["reason"].iloc[0])


def test_masks_are_found_and_a_missing_one_quarantines(tmp_path: Path) -> None:
    touch(tmp_path, "a/T1w.nii.gz", "a/seg.nii.gz", "a/brain.nii.gz", "b/T1w.nii.gz", "b/seg.nii.gz", "c/T1w.nii.gz")
    table, quarantine, _ = discover(tmp_path, layout(lesion=LESION, brain_mask="{subject}/brain.nii.gz"), ["T1w"])
    row = table.iloc[0]
    assert (row["lesion_path"], row["brain_path"]) == (str(tmp_path / "a/seg.nii.gz"), str(tmp_path / "a/brain.nii.gz"))
    assert row["lesion_on"] == "T1w"  # FLAIR comes first in the layout, but is not asked for
    assert list(quarantine["study"]) == ["b", "c", "c"]


def test_an_optional_lesion_mask_leaves_the_study_unlabelled(tmp_path: Path) -> None:
    touch(tmp_path, "a/T1w.nii.gz", "a/seg.nii.gz", "b/T1w.nii.gz")
    table, quarantine, _ = discover(tmp_path, layout(lesion={**LESION, "optional": True}), ["T1w"])
    assert list(table["lesion_path"]) == [str(tmp_path / "a/seg.nii.gz"), ""]
    assert list(table["lesion_on"]) == ["T1w", ""]
    assert quarantine.empty


def test_a_mask_on_a_sequence_not_asked_for_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "a/T1w.nii.gz", "a/FLAIR.nii.gz", "a/seg.nii.gz")
    with pytest.raises(InputError, match=r"not asked for.*FLAIR.*lesion.drawn_on"):
        discover(tmp_path, layout(lesion={**LESION, "drawn_on": "FLAIR"}), ["T1w"])


def test_two_subjects_with_one_name(tmp_path: Path) -> None:
    touch(tmp_path, "site1/p01/T1w.nii.gz", "site2/p01/T1w.nii.gz")
    sites = layout(study="*/{subject}", sequences={"T1w": "*/{subject}/T1w.nii.gz"})
    with pytest.raises(InputError) as caught:
        discover(tmp_path, sites, ["T1w"])
    for part in (
        "subject p01",
        "two studies have one name",
        str(tmp_path / "site1/p01"),
        str(tmp_path / "site2/p01"),
        "rename",
    ):
        assert part in str(caught.value)


def test_two_studies_of_which_the_names_meet(tmp_path: Path) -> None:
    both = layout(
        study=["x/{subject}/{visit}.nii", "y/{subject}"],
        sequences={"T1w": ["x/{subject}/{visit}.nii", "y/{subject}/t1.nii"]},
    )
    touch(tmp_path, "x/a/b.nii", "x/a/c.nii", "y/a_b/t1.nii")
    with pytest.raises(InputError, match=r"two studies have one name.*a_b, from \('a', 'b'\) and from \('a_b', ''\)"):
        discover(tmp_path, both, ["T1w"])


def test_a_missing_root_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "phantom").mkdir()
    with pytest.raises(InputError, match=r"folder is missing.*phantm.*there is .*phantom"):
        discover(tmp_path / "phantm", layout(), ["T1w"])


def test_nothing_that_fits_lists_what_lies_there(tmp_path: Path) -> None:
    touch(tmp_path, "scan1.nii.gz", "notes/readme.txt")
    with pytest.raises(
        InputError, match=r"no study fits.*holds notes/, scan1.nii.gz.*named like \{subject\}/T1\*.nii.gz"
    ):
        discover(tmp_path, layout(study="{subject}/T1*.nii.gz"), ["T1w"])


def test_when_all_are_quarantined_the_reasons_are_listed(tmp_path: Path) -> None:
    touch(tmp_path, "a/T1w.nii.gz", "b/FLAIR.nii.gz")
    with pytest.raises(InputError, match=r"(?s)no study.*2 studies.*a: .*FLAIR is missing.*b: .*T1w is missing"):
        discover(tmp_path, layout(), ["T1w", "FLAIR"])


def test_the_schema_is_strict(tmp_path: Path) -> None:
    touch(tmp_path, "a/T1w.nii.gz")
    table = discover(tmp_path, layout(), ["T1w"]).table
    for wrong in (
        table.assign(extra=1),
        table.assign(split="tests"),
        pd.concat([table, table], ignore_index=True),
        table.drop(columns="visit"),
    ):
        with pytest.raises((pandera.errors.SchemaError, pandera.errors.SchemaErrors)):
            CohortSchema.validate(wrong)
