"""The Decathlon's 4D images, split by the names in dataset.json; nnU-Net's files of one channel each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lesionlab.cohort.checks import read_cohort
from lesionlab.cohort.layout import find_layout
from lesionlab.cohort.table import discover
from lesionlab.errors import InputError
from lesionlab.imaging.formats.nifti import read_volume
from lesionlab.stages.fingerprints import study_fingerprints

WORDS = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
SEQUENCES = ["T1w", "T1ce", "T2w", "FLAIR"]
AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])


def channels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(5, 6, 4, 4)).astype(np.float32)


@pytest.fixture
def task(tmp_path: Path, write_image: Any) -> Path:
    index = {"name": "BRATS", "modality": WORDS, "labels": {"0": "background", "1": "edema"}, "numTraining": 2}
    (tmp_path / "dataset.json").write_text(json.dumps(index))
    for folder in ("imagesTr", "imagesTs", "labelsTr"):
        (tmp_path / folder).mkdir()
    for number in (1, 2):
        name = f"BRATS_{number:03}.nii.gz"
        nib.save(nib.Nifti1Image(channels(number), AFFINE), tmp_path / "imagesTr" / name)
        label = np.zeros((5, 6, 4), np.uint8)
        label.flat[:6] = [1, 2, 2, 3, 3, 3]
        nib.save(nib.Nifti1Image(label, AFFINE), tmp_path / "labelsTr" / name)
        (tmp_path / "imagesTr" / f"._{name}").write_bytes(b"as the archive has them")
    return tmp_path


def test_channels_go_by_their_names(task: Path, built_in: dict[str, Any]) -> None:
    result = read_cohort(task, find_layout(built_in, "msd"), SEQUENCES, ["edema", "cavity", "tumor"])
    assert result.quarantine.empty
    paths = result.table.set_index(["study", "sequence"])["path"]
    for number in (1, 2):
        for sequence, channel in (("FLAIR", 0), ("T1w", 1), ("T1ce", 2), ("T2w", 3)):
            volume = read_volume(paths[f"BRATS_{number:03}", sequence])
            np.testing.assert_array_equal(volume.data, channels(number)[..., channel])
            np.testing.assert_array_equal(volume.affine, AFFINE)
    ml = result.lesions[result.lesions["study"] == "BRATS_001"].set_index("lesion_class")["ml"]
    assert dict(ml) == pytest.approx({"edema": 0.001, "cavity": 0.002, "tumor": 0.003})


def test_the_fingerprint_follows_content_and_channel(task: Path, built_in: dict[str, Any]) -> None:
    table = discover(task, find_layout(built_in, "msd"), SEQUENCES).table
    before = study_fingerprints(table)
    swapped = table.assign(path=table["path"].str.replace("=0", "=9").str.replace("=1", "=0").str.replace("=9", "=1"))
    assert study_fingerprints(swapped)["BRATS_001"] != before["BRATS_001"]
    nib.save(nib.Nifti1Image(channels(7), AFFINE), task / "imagesTr/BRATS_001.nii.gz")
    after = study_fingerprints(table)
    assert after["BRATS_001"] != before["BRATS_001"] and after["BRATS_002"] == before["BRATS_002"]


def test_nnunet_has_a_file_per_channel(task: Path, built_in: dict[str, Any]) -> None:
    (task / "dataset.json").write_text(json.dumps({"channel_names": WORDS, "file_ending": ".nii.gz"}))
    for file in (task / "imagesTr").iterdir():
        file.unlink()
    for number in (1, 2):
        for channel in range(4 if number == 1 else 3):
            name = f"BRATS_{number:03}_{channel:04}.nii.gz"
            nib.save(nib.Nifti1Image(channels(number)[..., channel], AFFINE), task / "imagesTr" / name)
    table, quarantine, _ = discover(task, find_layout(built_in, "msd"), SEQUENCES)
    assert {Path(path).name for path in table["path"]} == {f"BRATS_001_{channel:04}.nii.gz" for channel in range(4)}
    assert list(quarantine["study"]) == ["BRATS_002"] and "BRATS_002_0003.nii.gz" in quarantine["reason"].item()
    kept = discover(task, find_layout(built_in, "msd"), SEQUENCES, may_lack=["T2w"]).table
    assert list(kept.loc[kept["study"] == "BRATS_002", "sequence"]) == ["T1w", "T1ce", "FLAIR"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda task: (task / "dataset.json").unlink(), "dataset.json cannot be read.*the one that holds dataset.json"),
        (lambda task: (task / "dataset.json").write_text("[1"), "dataset.json cannot be read"),
        (lambda task: (task / "dataset.json").write_text("[1]"), "dataset.json cannot be read.*a list"),
        (
            lambda task: (task / "dataset.json").write_text('{"modality": {"0": "MRI"}}'),
            "names no channel for sequence T1w.*channels MRI.*sequences: T1w",
        ),
    ],
)
def test_an_index_that_does_not_do(task: Path, built_in: dict[str, Any], spoil: Any, words: str) -> None:
    spoil(task)
    with pytest.raises(InputError, match=f"(?s){words}"):
        discover(task, find_layout(built_in, "msd"), SEQUENCES)


def test_a_file_with_fewer_channels_costs_its_study_alone(task: Path, built_in: dict[str, Any]) -> None:
    nib.save(nib.Nifti1Image(channels(1)[..., :2], AFFINE), task / "imagesTr/BRATS_001.nii.gz")
    result = read_cohort(task, find_layout(built_in, "msd"), SEQUENCES, ["edema", "cavity", "tumor"])
    assert set(result.table["study"]) == {"BRATS_002"}
    assert all("no such channel" in reason for reason in result.quarantine["reason"])
