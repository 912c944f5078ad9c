"""Bad input, with real files: each fault is told by file, subject, what is allowed and the cure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lesionlab.cohort.checks import CheckedCohort, CheckOptions, check_cohort, read_cohort
from lesionlab.cohort.layout import Layout, parse_layout
from lesionlab.cohort.lesions import lesion_labels, read_lesion
from lesionlab.cohort.table import discover
from lesionlab.errors import InputError

CLASSES = ["edema", "cavity", "tumor"]
SHAPE = (6, 5, 4)
AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])  # a voxel has 20 mm3 = 0.02 ml
CODES = {1: "cavity", 2: "edema", 3: "tumor", 4: "tumor"}


def write(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def image(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def mask(*codes: int) -> np.ndarray:
    """A mask in which each code has one voxel."""
    data = np.zeros(SHAPE, np.uint8)
    data.flat[: len(codes)] = codes
    return data


def layout(**changes: Any) -> Layout:
    sequences = {"T1w": "{subject}/T1w.nii.gz", "FLAIR": "{subject}/FLAIR.nii.gz"}
    lesion = {"file": "{subject}/seg.nii.gz", "drawn_on": "FLAIR", "codes": CODES, "ignore": [9]}
    return parse_layout({"study": "{subject}", "sequences": sequences, "lesion": lesion, **changes})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two good studies, ``bad`` and ``good``; T1w lies on another grid than FLAIR, as in raw scans."""
    for seed, subject in enumerate(["bad", "good"]):
        write(tmp_path / subject / "T1w.nii.gz", image(seed, (7, 7, 3)))
        write(tmp_path / subject / "FLAIR.nii.gz", image(seed + 10))
        write(tmp_path / subject / "seg.nii.gz", mask(1, 2, 2, 3, 4, 9))
    return tmp_path


def checked(root: Path, **options: Any) -> CheckedCohort:
    return read_cohort(root, layout(), ["T1w", "FLAIR"], CLASSES, CheckOptions(**options))


def test_good_studies_get_their_lesion_volumes(root: Path) -> None:
    result = checked(root)
    assert set(result.table["study"]) == {"bad", "good"}
    assert result.quarantine.empty
    # edema 2 voxels, cavity 1, tumor 2 (codes 3 and 4), code 9 ignored; 0.02 ml each
    assert result.table["lesion_ml"].to_numpy() == pytest.approx([0.1] * 4)
    good = result.lesions[result.lesions["study"] == "good"].set_index("lesion_class")["ml"]
    assert dict(good) == pytest.approx({"edema": 0.04, "cavity": 0.02, "tumor": 0.04})


def nan_image() -> np.ndarray:
    data = image()
    data[1, 2, 3] = np.nan
    return data


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def shifted() -> np.ndarray:
    affine = AFFINE.copy()
    affine[0, 3] = 1.5
    return affine


def halves() -> np.ndarray:
    data = mask(1).astype(np.float32)
    data[2, 2, 2] = 1.5
    return data


FAULTS: list[tuple[str, str, Callable[[Path], object], list[str]]] = [
    ("truncated", "FLAIR", truncate, ["cannot be read", "truncated", "copy or convert"]),
    ("no NIfTI", "T1w", lambda path: path.write_text("no image"), ["cannot be read", "8 bytes"]),
    ("empty file", "T1w", lambda path: path.write_bytes(b""), ["cannot be read", "0 bytes"]),
    (
        "4D",
        "T1w",
        lambda path: write(path, image(0, (*SHAPE, 2))),
        ["4 dimensions where 3 are due", "split the series"],
    ),
    ("NaN", "FLAIR", lambda path: write(path, nan_image()), ["NaN", "1 of 120 voxels"]),
    ("constant", "FLAIR", lambda path: write(path, np.full(SHAPE, 7, np.int16)), ["constant", "every voxel is 7"]),
    (
        "mask of another shape",
        "seg",
        lambda path: write(path, np.ones((3, 5, 4), np.uint8)),
        ["lesion mask lies on another grid", "shape (3, 5, 4)", "shape (6, 5, 4)", "(FLAIR)", "lesion.drawn_on"],
    ),
    (
        "mask elsewhere",
        "seg",
        lambda path: write(path, mask(1), shifted()),
        ["lesion mask lies on another grid", "[1.5, 0.0, 0.0] mm", "[0.0, 0.0, 0.0] mm (FLAIR)", "resample the mask"],
    ),
    (
        "unknown code",
        "seg",
        lambda path: write(path, mask(1, 7)),
        ["unknown label code 7", "codes 0, 1, 7", "codes 0, 1, 2, 3, 4, 9", "`lesion.codes`"],
    ),
    ("negative code", "seg", lambda path: write(path, mask(1).astype(np.int16) - 1), ["unknown label code -1"]),
    ("fractional code", "seg", lambda path: write(path, halves()), ["no labels", "nearest neighbour"]),
    ("truncated mask", "seg", lambda path: path.write_bytes(path.read_bytes()[:30]), ["cannot be read"]),
]


@pytest.mark.parametrize(
    ("name", "spoil", "parts"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS]
)
def test_a_fault_quarantines_its_study_only(
    root: Path, name: str, spoil: Callable[[Path], object], parts: list[str]
) -> None:
    path = root / "bad" / f"{name}.nii.gz"
    spoil(path)
    result = checked(root)
    assert set(result.table["study"]) == {"good"}
    assert set(result.lesions["study"]) == {"good"}
    row = result.quarantine.iloc[0]
    assert len(result.quarantine) == 1
    assert (row["study"], row["subject"], row["file"]) == ("bad", "bad", str(path))
    for part in ("subject bad", str(path), "Given: ", "Allowed: ", "Cure: ", *parts):
        assert part in row["reason"]


def test_every_fault_of_a_study_is_told(root: Path) -> None:
    truncate(root / "bad/T1w.nii.gz")
    truncate(root / "bad/FLAIR.nii.gz")
    write(root / "bad/seg.nii.gz", mask(5))
    quarantine = checked(root).quarantine
    assert [Path(file).name for file in quarantine["file"]] == ["T1w.nii.gz", "FLAIR.nii.gz", "seg.nii.gz"]


def test_what_discovery_quarantined_stays_in_the_table(root: Path) -> None:
    (root / "bad/T1w.nii.gz").unlink()
    result = checked(root)
    assert list(result.quarantine["study"]) == ["bad"]
    assert "sequence T1w is missing" in result.quarantine["reason"].iloc[0]


def test_several_workers_find_the_same(root: Path) -> None:
    truncate(root / "bad/FLAIR.nii.gz")
    one, two = checked(root), checked(root, workers=2)
    for first, second in zip(one, two, strict=True):
        assert first.equals(second)


def test_all_quarantined_lists_the_reasons(root: Path) -> None:
    truncate(root / "bad/FLAIR.nii.gz")
    write(root / "good/seg.nii.gz", mask(7))
    with pytest.raises(InputError, match=r"(?s)no study.*bad: .*truncated.*good: .*unknown label code 7"):
        checked(root)


def test_no_lesion_anywhere(root: Path) -> None:
    for subject in ("bad", "good"):
        write(root / subject / "seg.nii.gz", mask(0, 9))
    with pytest.raises(
        InputError, match=r"no lesion anywhere.*2 studies, 2 lesion masks.*codes 1, 2, 3, 4.*require_lesions"
    ):
        checked(root)
    assert (checked(root, require_lesions=False).table["lesion_ml"] == 0).all()


def test_one_subject_without_a_lesion_is_no_fault(root: Path) -> None:
    write(root / "bad/seg.nii.gz", mask())
    assert list(checked(root).table["lesion_ml"]) == pytest.approx([0, 0, 0.1, 0.1])


def test_a_layout_without_masks_has_to_be_meant(root: Path) -> None:
    plain = layout(lesion=None)
    with pytest.raises(InputError, match=r"layout names no lesion masks.*require_lesions: false"):
        read_cohort(root, plain, ["T1w"], CLASSES)
    result = read_cohort(root, plain, ["T1w"], CLASSES, CheckOptions(require_lesions=False))
    assert result.table["lesion_ml"].isna().all()
    assert result.lesions.empty


def test_a_brain_mask_fits_one_of_the_scans_and_is_not_empty(root: Path) -> None:
    for subject in ("bad", "good"):
        write(root / subject / "brain.nii.gz", np.ones((7, 7, 3), np.uint8))  # as T1w
    with_brain = layout(brain_mask="{subject}/brain.nii.gz")
    assert read_cohort(root, with_brain, ["T1w", "FLAIR"], CLASSES).quarantine.empty
    write(root / "bad/brain.nii.gz", np.ones((2, 2, 2), np.uint8))
    reason = read_cohort(root, with_brain, ["T1w", "FLAIR"], CLASSES).quarantine["reason"].iloc[0]
    assert "brain mask lies on another grid" in reason and "(T1w) or " in reason
    write(root / "bad/brain.nii.gz", np.zeros((7, 7, 3), np.uint8))
    reason = read_cohort(root, with_brain, ["T1w", "FLAIR"], CLASSES).quarantine["reason"].iloc[0]
    assert "brain mask is empty" in reason


def test_a_class_that_is_not_configured_stops_before_any_file_is_read(root: Path) -> None:
    cohort = discover(root, layout(), ["FLAIR"])
    (root / "good/FLAIR.nii.gz").unlink()
    with pytest.raises(InputError, match=r"did you mean 'tumour'"):
        check_cohort(cohort, layout(), ["edema", "cavity", "tumour"])


def test_codes_become_labels_in_the_order_of_the_classes(tmp_path: Path) -> None:
    path = write(tmp_path / "seg.nii.gz", mask(1, 2, 3, 4, 9, 0))
    lesion = read_lesion(path, CODES, CLASSES, ignore=[9])
    assert lesion_labels(CLASSES) == {"edema": 2, "cavity": 3, "tumor": 4}
    assert lesion.data.dtype == np.uint8
    assert list(lesion.data.flat[:6]) == [3, 2, 4, 4, 0, 0]
    assert lesion.data.flat[6:].max() == 0
    np.testing.assert_array_equal(lesion.affine, AFFINE)


def test_negative_codes_may_be_ignored(tmp_path: Path) -> None:
    path = write(tmp_path / "seg.nii.gz", np.array([-1, 0, 1, 300] * 30, np.int16).reshape(SHAPE))
    lesion = read_lesion(path, {1: "edema", 300: "tumor"}, CLASSES, ignore=[-1])
    assert list(lesion.data.flat[:4]) == [0, 0, 2, 4]
