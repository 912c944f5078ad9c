"""A subject of the phantom: labels, twin, determinism, files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from lesionlab.errors import InputError
from lesionlab.imaging.phantom import PhantomOptions, PhantomSubject, make_subject, subject_files, transforms_json
from lesionlab.imaging.volume import same_grid

EDEMA, CAVITY, TUMOR = 2, 3, 4


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


def test_label_map_holds_brain_and_lesion(subjects: list[PhantomSubject]) -> None:
    for subject in subjects:
        label, brain = subject.truth["label"].data, subject.truth["brain"].data
        assert set(np.unique(label)) <= {0, 1, EDEMA, CAVITY, TUMOR}
        np.testing.assert_array_equal(label > 0, brain == 1)
        np.testing.assert_array_equal(np.where(label >= 2, label, 0), subject.lesion.data)
        assert subject.lesion.data.dtype == np.uint8
        assert (subject.lesion.data == TUMOR).any() and (subject.lesion.data == EDEMA).any()


def test_classes_are_nested(subjects: list[PhantomSubject]) -> None:
    # Distance to the lesion's outer border, independent of how it was grown: cavity inmost, edema outmost.
    depths: dict[int, list[float]] = {EDEMA: [], CAVITY: [], TUMOR: []}
    for subject in subjects:
        lesion = subject.lesion.data
        depth = ndimage.distance_transform_edt(lesion > 0, sampling=subject.lesion.spacing)
        for code, found in depths.items():
            found.extend(depth[lesion == code])
    assert np.mean(depths[CAVITY]) > np.mean(depths[TUMOR]) > np.mean(depths[EDEMA])


def test_brain_has_a_heads_size_and_tissues_fill_it(subjects: list[PhantomSubject]) -> None:
    for subject in subjects:
        brain = subject.truth["brain"]
        assert 1100 < brain.data.sum() * brain.voxel_ml < 2100  # ml, adults with a margin
        total = sum(subject.truth[name].data for name in ("CSF", "GM", "WM"))
        label = subject.truth["label"].data
        assert total[label != 1].max() == 0  # a lesion counts to no tissue
        inner = ndimage.binary_erosion(label == 1, iterations=2)
        assert total.max() < 1.01
        assert total[inner].mean() > 0.95


def test_tissues_are_as_bright_as_mr_has_them(subjects: list[PhantomSubject]) -> None:
    truth, scans = subjects[0].truth, subjects[0].scans
    t1 = [scans["T1w"].data[truth[name].data > 0.9].mean() for name in ("CSF", "GM", "WM")]
    assert t1[0] < t1[1] < t1[2]


def test_same_seed_same_subject(options: PhantomOptions, subjects: list[PhantomSubject]) -> None:
    again = make_subject(2, options, seed=3)
    for name, volume in subject_files(subjects[2]).items():
        np.testing.assert_array_equal(volume.data, subject_files(again)[name].data)
        np.testing.assert_array_equal(volume.affine, subject_files(again)[name].affine)


def test_other_seed_and_other_index_differ(options: PhantomOptions, subjects: list[PhantomSubject]) -> None:
    other = make_subject(2, options, seed=4)
    assert not np.array_equal(other.scans["T1w"].affine, subjects[2].scans["T1w"].affine)
    # Anatomy, not only pose: the white matter of two subjects, each centred on its brain, overlaps but partly.
    masses = [_centred(s, "WM") for s in (subjects[0], subjects[1], subjects[2])]
    for one, two in ((0, 1), (1, 2), (0, 2)):
        assert 0.3 < _dice(masses[one], masses[two]) < 0.9


def _centred(subject: PhantomSubject, name: str) -> np.ndarray:
    """A tissue on a 3 mm lattice (RAS) about the brain's centre."""
    brain = subject.truth["brain"]
    middle = brain.affine @ np.array([*ndimage.center_of_mass(brain.data), 1.0])
    lattice = np.diag([3.0, 3.0, 3.0, 1.0])
    lattice[:3, 3] = middle[:3] - 3.0 * 30
    to_voxel = np.linalg.inv(brain.affine) @ lattice
    volume = subject.truth[name].data
    return ndimage.affine_transform(volume, to_voxel[:3, :3], to_voxel[:3, 3], (61, 61, 61), order=1) > 0.5


def test_a_sequence_left_out_changes_nothing_else(options: PhantomOptions, subjects: list[PhantomSubject]) -> None:
    alone = make_subject(0, options.model_copy(update={"sequences": ("T1w",)}), seed=3)
    assert set(alone.scans) == {"T1w"}
    np.testing.assert_array_equal(alone.scans["T1w"].data, subjects[0].scans["T1w"].data)
    np.testing.assert_array_equal(alone.lesion.data, subjects[0].lesion.data)


def test_twin_equals_the_scan_far_from_the_lesion_and_differs_within() -> None:
    options = PhantomOptions(
        work_mm=3.0, in_plane_mm=3.0, slice_mm=6.0, sequences=("T1w",), small_share=1.0, several_share=0.0
    )
    subject = make_subject(0, options, seed=11)
    scan, twin, lesion = subject.scans["T1w"], subject.truth["healthy_T1w"], subject.lesion
    away = ndimage.distance_transform_edt(lesion.data == 0, sampling=lesion.spacing)
    # A small tumor has a radius up to 10 mm and moves tissue up to 45 mm beyond.
    far = (away > 60) & (subject.truth["brain"].data == 1)
    assert far.sum() > 100
    np.testing.assert_array_equal(scan.data[far], twin.data[far])
    wm = twin.data[subject.truth["WM"].data > 0.9].mean()
    assert np.abs(scan.data - twin.data)[lesion.data > 0].mean() > 0.1 * wm


def test_tumor_takes_up_contrast(subjects: list[PhantomSubject]) -> None:
    brighter = []
    for subject in subjects:
        plain, contrast = (_on_reference(subject, name) for name in ("T1w", "T1ce"))
        tumor, wm = subject.lesion.data == TUMOR, subject.truth["WM"].data > 0.9
        brighter.append(contrast[tumor].mean() / contrast[wm].mean() - plain[tumor].mean() / plain[wm].mean())
    assert np.median(brighter) > 0.2


def _on_reference(subject: PhantomSubject, sequence: str) -> np.ndarray:
    scan, reference = subject.scans[sequence], subject.lesion
    to_voxel = np.linalg.inv(scan.affine) @ subject.transforms[sequence] @ reference.affine
    return ndimage.affine_transform(scan.data, to_voxel[:3, :3], to_voxel[:3, 3], reference.shape, order=1)


def test_lesion_sizes_vary(subjects: list[PhantomSubject]) -> None:
    ml = [float((s.lesion.data > 0).sum() * s.lesion.voxel_ml) for s in subjects]
    assert min(ml) > 0.5 and max(ml) < 350
    assert max(ml) > 2 * min(ml)


def test_each_sequence_has_a_grid_of_its_own(subjects: list[PhantomSubject]) -> None:
    scans = list(subjects[0].scans.values())
    assert not any(same_grid(a, b) for i, a in enumerate(scans) for b in scans[i + 1 :])
    for name, volume in subjects[0].truth.items():
        grid = subjects[0].scans[name.removeprefix("healthy_")] if name.startswith("healthy_") else subjects[0].lesion
        assert same_grid(volume, grid), name


def test_true_transforms_align_the_scans(perfect: PhantomSubject) -> None:
    reference, brain = perfect.truth["healthy_T1w"], perfect.truth["brain"].data == 1
    twin = perfect.truth["healthy_T1ce"]

    def agreement(transform: np.ndarray) -> float:
        to_voxel = np.linalg.inv(twin.affine) @ transform @ reference.affine
        moved = ndimage.affine_transform(twin.data, to_voxel[:3, :3], to_voxel[:3, 3], reference.shape, order=1)
        inner = ndimage.binary_erosion(brain, iterations=2)  # vessels in the margin take up contrast
        return float(np.corrcoef(moved[inner], reference.data[inner])[0, 1])

    truth = agreement(perfect.transforms["T1ce"])
    assert truth > 0.9
    assert truth > agreement(np.eye(4)) + 0.1
    assert truth > agreement(np.linalg.inv(perfect.transforms["T1ce"])) + 0.1


def test_transforms_are_rigid_and_written_as_json(perfect: PhantomSubject) -> None:
    np.testing.assert_allclose(perfect.transforms["T1w"], np.eye(4), atol=1e-12)
    turn = perfect.transforms["T1ce"][:3, :3]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    read = json.loads(transforms_json(perfect))
    np.testing.assert_array_equal(np.array(read["T1ce"]), perfect.transforms["T1ce"])


def test_file_names(subjects: list[PhantomSubject]) -> None:
    files = subject_files(subjects[0])
    expected = {f"{s}.nii.gz" for s in ("T1w", "T1ce", "T2w", "lesion")}
    expected |= {f"truth/{n}.nii.gz" for n in ("brain", "label", "CSF", "GM", "WM")}
    expected |= {f"truth/{kind}_{s}.nii.gz" for kind in ("bias", "healthy") for s in ("T1w", "T1ce", "T2w")}
    assert set(files) == expected
    assert subjects[0].name == "phantom-01"


def test_an_index_outside_the_cohort_is_refused(options: PhantomOptions) -> None:
    with pytest.raises(InputError, match="0 to 23"):
        make_subject(24, options, seed=0)


def test_mistaken_options_are_refused() -> None:
    with pytest.raises(ValueError, match="reference 'T1w' is not one of"):
        PhantomOptions(sequences=("FLAIR",))
    with pytest.raises(ValueError, match="name one twice"):
        PhantomOptions(sequences=("T1w", "T1w"))
    with pytest.raises(ValueError, match="swapped"):
        PhantomOptions(bias=(0.3, 0.1))
    with pytest.raises(ValueError, match="Extra inputs"):
        PhantomOptions(subject=3)  # type: ignore[call-arg]
