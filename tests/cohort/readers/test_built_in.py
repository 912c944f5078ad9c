"""Every built-in layout of named files finds its cohort wholly, with the names that its publisher gave the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lesionlab.cohort.checks import CheckOptions, read_cohort
from lesionlab.cohort.layout import find_layout

TUMOR, LESION = ["edema", "cavity", "tumor"], ["lesion"]
VOXEL_ML = 0.008  # voxels of 2 mm


class Case(NamedTuple):
    layout: str
    files: dict[str, list[int] | None]  # name: codes of a mask, None for a scan
    studies: dict[str, tuple[str, str]]  # study: subject, visit
    sequences: dict[str, str]  # of the first study: sequence: file
    lesion: str
    lesion_on: str
    ml: dict[str, float]  # voxels of each class in the first study
    classes: list[str]
    brain: str = ""


def brats(folder: str, name: str, suffix: str = ".nii.gz") -> dict[str, list[int] | None]:
    scans = {f"{folder}/{name}_{kind}{suffix}": None for kind in ("t1", "t1ce", "t2", "flair")}
    return {**scans, f"{folder}/{name}_seg{suffix}": [1, 2, 2, 4]}


def vsd(folder: str, kinds: dict[str, int], truth: int, suffix: str, codes: list[int]) -> dict[str, list[int] | None]:
    scans = {f"VSD.Brain.XX.O.{kind}.{number}": None for kind, number in kinds.items()}
    masks = {f"VSD.Brain_3more.XX.XX.OT.{truth}": codes}
    return {f"{folder}/{name}/{name}{suffix}": code for name, code in {**scans, **masks}.items()}


B17, B20 = "HGG/Brats17_2013_10_1/Brats17_2013_10_1", "BraTS20_Training_355/BraTS20_Training_355"
B23 = "BraTS-GLI-00002-000/BraTS-GLI-00002-000"
PAT = "HGG/brats_2013_pat0001_1"
V15 = {"MR_T1": 54513, "MR_T1c": 54514, "MR_T2": 54515, "MR_Flair": 54512}
VSISS = {"MR_DWI": 70613, "MR_Flair": 70614, "MR_T1": 70615, "MR_T2": 70616}
STROKE = "sub-strokecase0001/ses-0001"
STROKE_NAME = "sub-strokecase0001_ses-0001"
CASES = [
    Case(
        "phantom",
        {f"phantom-01/{name}.nii.gz": None for name in ("T1w", "T1ce", "T2w", "FLAIR", "APTw")}
        | {"phantom-01/lesion.nii.gz": [2, 3, 3, 4], "phantom-01/truth/brain.nii.gz": [1]},
        {"phantom-01": ("phantom-01", "")},
        {name: f"phantom-01/{name}.nii.gz" for name in ("T1w", "T1ce", "T2w", "FLAIR", "APTw")},
        "phantom-01/lesion.nii.gz",
        "T1w",
        {"edema": 1, "cavity": 2, "tumor": 1},
        TUMOR,
    ),
    Case(
        "brats2015",
        brats("pat_1", "pat_1") | {"pat_1/pat_1_brainmask.nii.gz": [1]},
        {"pat_1": ("pat_1", "")},
        {"FLAIR": "pat_1/pat_1_flair.nii.gz", "T1ce": "pat_1/pat_1_t1ce.nii.gz", "T1w": "pat_1/pat_1_t1.nii.gz"},
        "pat_1/pat_1_seg.nii.gz",
        "FLAIR",
        {"edema": 2, "cavity": 1, "tumor": 1},
        TUMOR,
        "pat_1/pat_1_brainmask.nii.gz",
    ),
    Case(
        "brats2015_challenge",
        vsd(PAT, V15, 54517, ".mha", [1, 2, 3, 4]) | vsd("LGG/brats_2013_pat0001_2", V15, 1, ".mha", [2]),
        {name: (name, "") for name in ("brats_2013_pat0001_1", "brats_2013_pat0001_2")},
        {
            "T1w": f"{PAT}/VSD.Brain.XX.O.MR_T1.54513/VSD.Brain.XX.O.MR_T1.54513.mha",
            "T1ce": f"{PAT}/VSD.Brain.XX.O.MR_T1c.54514/VSD.Brain.XX.O.MR_T1c.54514.mha",
            "T2w": f"{PAT}/VSD.Brain.XX.O.MR_T2.54515/VSD.Brain.XX.O.MR_T2.54515.mha",
            "FLAIR": f"{PAT}/VSD.Brain.XX.O.MR_Flair.54512/VSD.Brain.XX.O.MR_Flair.54512.mha",
        },
        f"{PAT}/VSD.Brain_3more.XX.XX.OT.54517/VSD.Brain_3more.XX.XX.OT.54517.mha",
        "FLAIR",
        {"edema": 1, "cavity": 1, "tumor": 2},
        TUMOR,
    ),
    Case(  # 2017 to 2019: two folders by grade, with tables beside
        "brats2017",
        brats(B17.rpartition("/")[0], "Brats17_2013_10_1") | brats("LGG/Brats17_2013_0_1", "Brats17_2013_0_1"),
        {name: (name, "") for name in ("Brats17_2013_0_1", "Brats17_2013_10_1")},
        {},
        "LGG/Brats17_2013_0_1/Brats17_2013_0_1_seg.nii.gz",
        "FLAIR",
        {"edema": 2, "cavity": 1, "tumor": 1},
        TUMOR,
    ),
    Case(  # 2020: flat, uncompressed in one edition, and the one mask named by a date
        "brats2017",
        {name: codes for name, codes in brats(*B20.split("/"), ".nii").items() if codes is None}
        | {"BraTS20_Training_355/W39_1998.09.19_Segm.nii": [1, 2, 2, 4]},
        {"BraTS20_Training_355": ("BraTS20_Training_355", "")},
        {"T1w": f"{B20}_t1.nii", "T1ce": f"{B20}_t1ce.nii", "T2w": f"{B20}_t2.nii", "FLAIR": f"{B20}_flair.nii"},
        "BraTS20_Training_355/W39_1998.09.19_Segm.nii",
        "FLAIR",
        {"edema": 2, "cavity": 1, "tumor": 1},
        TUMOR,
    ),
    Case(  # the last three digits are a visit: both visits of a patient go to one split
        "brats2023",
        {f"{B23}-{kind}.nii.gz": None for kind in ("t1n", "t1c", "t2w", "t2f")}
        | {f"{B23}-seg.nii.gz": [1, 2, 2, 3, 3, 3]}
        | {f"{B23.replace('000', '001')}-{kind}.nii.gz": None for kind in ()}
        | {
            f"BraTS-GLI-00002-001/BraTS-GLI-00002-001-{kind}.nii.gz": None if kind != "seg" else [2]
            for kind in ("t1n", "t1c", "t2w", "t2f", "seg")
        },
        {f"BraTS-GLI-00002_{visit}": ("BraTS-GLI-00002", visit) for visit in ("000", "001")},
        {"T1w": f"{B23}-t1n.nii.gz", "T1ce": f"{B23}-t1c.nii.gz", "T2w": f"{B23}-t2w.nii.gz"},
        f"{B23}-seg.nii.gz",
        "T1ce",
        {"edema": 2, "cavity": 1, "tumor": 3},
        TUMOR,
    ),
    Case(
        "tcga_lgg",
        brats("TCGA-FG-0001", "TCGA-FG-0001"),
        {"TCGA-FG-0001": ("TCGA-FG-0001", "")},
        {"FLAIR": "TCGA-FG-0001/TCGA-FG-0001_flair.nii.gz"},
        "TCGA-FG-0001/TCGA-FG-0001_seg.nii.gz",
        "FLAIR",
        {"edema": 2, "cavity": 1, "tumor": 1},
        TUMOR,
    ),
    Case(
        "isles2015",
        vsd("1", VSISS, 70617, ".nii", [1, 1]) | vsd("12", VSISS, 70999, ".nii", [1]),
        {"1": ("1", ""), "12": ("12", "")},
        {
            "DWI": "1/VSD.Brain.XX.O.MR_DWI.70613/VSD.Brain.XX.O.MR_DWI.70613.nii",
            "FLAIR": "1/VSD.Brain.XX.O.MR_Flair.70614/VSD.Brain.XX.O.MR_Flair.70614.nii",
            "T1w": "1/VSD.Brain.XX.O.MR_T1.70615/VSD.Brain.XX.O.MR_T1.70615.nii",
            "T2w": "1/VSD.Brain.XX.O.MR_T2.70616/VSD.Brain.XX.O.MR_T2.70616.nii",
        },
        "1/VSD.Brain_3more.XX.XX.OT.70617/VSD.Brain_3more.XX.XX.OT.70617.nii",
        "FLAIR",
        {"lesion": 2},
        LESION,
    ),
    *(
        Case(
            "isles2022",
            {
                f"{head}{STROKE}/anat/{STROKE_NAME}_FLAIR.nii.gz": None,
                f"{head}{STROKE}/dwi/{STROKE_NAME}_dwi.nii.gz": None,
                f"{head}{STROKE}/dwi/{STROKE_NAME}_adc.nii.gz": None,
                f"derivatives/{STROKE}/{STROKE_NAME}_msk.nii.gz": [1, 1, 1],
            },
            {"strokecase0001": ("strokecase0001", "0001")},
            {
                "DWI": f"{head}{STROKE}/dwi/{STROKE_NAME}_dwi.nii.gz",
                "ADC": f"{head}{STROKE}/dwi/{STROKE_NAME}_adc.nii.gz",
                "FLAIR": f"{head}{STROKE}/anat/{STROKE_NAME}_FLAIR.nii.gz",
            },
            f"derivatives/{STROKE}/{STROKE_NAME}_msk.nii.gz",
            "DWI",
            {"lesion": 3},
            LESION,
        )
        for head in ("", "rawdata/")
    ),
    *(
        Case(
            layout,
            {f"patient01/{stem}{name}.nii.gz": None for name in ("FLAIR", "T1W", "T1WKS", "T2W")}
            | {f"patient01/{stem}consensus_gt.nii.gz": [1], f"patient01/{stem}brainmask.nii.gz": [1, 1]},
            {"patient01": ("patient01", "")},
            {"FLAIR": f"patient01/{stem}FLAIR.nii.gz", "T1ce": f"patient01/{stem}T1WKS.nii.gz"},
            f"patient01/{stem}consensus_gt.nii.gz",
            "FLAIR",
            {"lesion": 1},
            LESION,
            f"patient01/{stem}brainmask.nii.gz" if layout == "open_ms" else "",
        )
        for layout, stem in (("open_ms", ""), ("open_ms", "patient01_"), ("open_ms_raw", ""), ("ms_mni", ""))
    ),
    Case(  # as the publisher's own archive has it
        "open_ms_raw",
        {f"patient01/raw/patient01_{name}.nii.gz": None for name in ("FLAIR", "T1W", "T1WKS", "T2W")}
        | {"patient01/patient01_consensus_gt.nii.gz": [1]},
        {"patient01": ("patient01", "")},
        {"FLAIR": "patient01/raw/patient01_FLAIR.nii.gz", "T1w": "patient01/raw/patient01_T1W.nii.gz"},
        "patient01/patient01_consensus_gt.nii.gz",
        "FLAIR",
        {"lesion": 1},
        LESION,
    ),
    Case(
        "ms_raw",
        {f"patient01/study{visit}_{name}.nii.gz": None for visit in (1, 2) for name in ("FLAIR", "T1W", "T2W")},
        {f"patient01_study{visit}": ("patient01", f"study{visit}") for visit in (1, 2)},
        {"FLAIR": "patient01/study1_FLAIR.nii.gz", "T2w": "patient01/study1_T2W.nii.gz"},
        "",
        "",
        {},
        LESION,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{number}-{case.layout}" for number, case in enumerate(CASES)])
def test_a_cohort_is_found_wholly(tmp_path: Path, built_in: dict[str, Any], write_image: Any, case: Case) -> None:
    for name, codes in case.files.items():
        write_image(tmp_path / name, codes=codes)
    (tmp_path / "survival_data.csv").write_text("not a scan")
    layout = find_layout(built_in, case.layout)
    sequences = list(case.sequences) or list(layout.sequences)
    options = CheckOptions(require_lesions=bool(case.lesion))
    result = read_cohort(tmp_path, layout, sequences, case.classes, options)
    assert result.quarantine.empty
    table = result.table
    assert {row.study: (row.subject, row.visit) for row in table.itertuples()} == case.studies
    first = table[table["study"] == next(iter(sorted(case.studies)))]
    for sequence, file in case.sequences.items():
        assert first.set_index("sequence").loc[sequence, "path"] == str(tmp_path / file)
    assert set(first["lesion_path"]) == {str(tmp_path / case.lesion) if case.lesion else ""}
    assert set(first["lesion_on"]) == {case.lesion_on}
    assert set(first["brain_path"]) == {str(tmp_path / case.brain) if case.brain else ""}
    found = result.lesions[result.lesions["study"] == first["study"].iloc[0]].set_index("lesion_class")["ml"]
    assert dict(found) == pytest.approx({name: count * VOXEL_ML for name, count in case.ml.items()})


def test_every_layout_has_a_fixture_here_or_beside(built_in: dict[str, Any]) -> None:
    own_files = {"bids", "msd", "dicom", "csv"}  # test_bids.py and so on
    assert {case.layout for case in CASES} | own_files == set(built_in)
