"""Slice rules, orientation and arrays; expected values are laid out by hand on volumes of a few voxels."""

import numpy as np
import pytest
from pydantic import ValidationError

from lesionlab.errors import InputError
from lesionlab.imaging.volume import Volume
from lesionlab.slices.cutting import label_map, plane, study_slices, to_image
from lesionlab.slices.rules import SliceRules, domain, select_planes

AFFINE = np.diag([2.0, 3.0, 5.0, 1.0])
CLASSES = ["edema", "tumor"]
WHO = {"subject": "a", "study": "a_1", "split": "train"}


def volume(data):
    return Volume(np.asarray(data), AFFINE)


def columns_of_brain(*areas, side=4):
    """Label map whose plane k holds areas[k] pixels of brain."""
    labels = np.zeros((side, side, len(areas)), np.uint8)
    for k, area in enumerate(areas):
        labels.reshape(-1, len(areas))[:area, k] = 1
    return labels


def test_plane_puts_anterior_on_top_and_the_right_side_on_the_left():
    data = np.zeros((3, 4, 2))  # x to the patient's right, y to anterior
    data[2, 3, 1] = 1.0  # rightmost, most anterior voxel of the upper plane
    data[0, 0, 1] = 2.0  # leftmost, most posterior
    picture = plane(data, 1)
    assert picture.shape == (4, 3)
    assert picture[0, 0] == 1.0
    assert picture[-1, -1] == 2.0
    assert plane(data, 0).sum() == 0


def test_label_map_clips_to_the_brain_and_counts():
    brain = np.array([[[1, 1, 0, 0]]])
    lesion = np.array([[[0, 3, 2, 0]]], np.uint8)
    labels, clipped = label_map(lesion, brain)
    assert labels.tolist() == [[[1, 3, 0, 0]]]
    assert labels.dtype == np.uint8
    assert clipped == 1
    assert label_map(None, brain)[0].tolist() == [[[1, 1, 0, 0]]]


def test_label_map_refuses_another_grid():
    with pytest.raises(InputError, match="another grid"):
        label_map(np.zeros((2, 2, 2), np.uint8), np.ones((2, 2, 3)))


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"planes": "all"}, [0, 1, 2, 3, 4, 5]),
        ({"planes": "all", "step": 2}, [0, 2, 4]),
        ({"planes": "brain"}, [2, 3, 4]),
        ({"planes": "brain", "count": 1}, [3]),
        ({"planes": "middle", "count": 2}, [2, 3]),
        ({"planes": "middle", "count": 99}, [0, 1, 2, 3, 4, 5]),
        ({"planes": "range", "first": 1, "last": 3}, [1, 2, 3]),
        # The largest plane has 10 pixels, so half of it is 5.
        ({"planes": "all", "min_brain_fraction": 0.5}, [3, 4]),
    ],
)
def test_select_planes(rules, expected):
    assert select_planes(columns_of_brain(0, 0, 4, 10, 5, 0), SliceRules(**rules)) == expected


def test_select_planes_without_brain():
    assert select_planes(columns_of_brain(0, 0), SliceRules(planes="brain")) == []


def test_a_range_beyond_the_volume_is_refused():
    with pytest.raises(InputError, match="0 to 1"):
        select_planes(columns_of_brain(1, 1), SliceRules(planes="range", first=0, last=2))


def test_domain_between_the_limits_is_discarded():
    rules = SliceRules(healthy_max_lesion_pixels=2, pathological_min_lesion_pixels=5)
    assert [domain(n, rules) for n in (0, 2, 3, 4, 5, 9)] == [
        *["healthy"] * 2,
        *["discarded"] * 2,
        *["pathological"] * 2,
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"planes": "middle"},
        {"planes": "range", "first": 3, "last": 1},
        {"healthy_max_lesion_pixels": 5, "pathological_min_lesion_pixels": 5},
        {"value_range": (1.0, 0.0)},
        {"plane": "all"},
    ],
)
def test_rules_that_contradict_themselves_are_refused(wrong):
    with pytest.raises(ValidationError):
        SliceRules(**wrong)


def test_to_image_scales_clips_and_sets_the_background():
    inside = np.array([True, True, True, True, False])
    scaled = to_image(np.array([0.0, 0.25, 1.0, 1.5, 0.5]), inside, (0.0, 1.0))
    assert scaled.tolist() == [-1.0, -0.5, 1.0, 1.0, -1.0]
    assert to_image(np.array([0.0]), np.array([True]), (-1.0, 1.0)).tolist() == [0.0]


@pytest.fixture
def study():
    """Two sequences on 4 x 5 x 3 voxels; no brain at x = 0; the lesion lies in plane 1, one voxel of it outside."""
    brain = np.ones((4, 5, 3), np.uint8)
    brain[0] = 0
    lesion = np.zeros((4, 5, 3), np.uint8)
    lesion[1, 0, 1], lesion[1, 1, 1], lesion[0, 1, 1] = 2, 3, 3
    height = np.broadcast_to(np.arange(3) / 4, (4, 5, 3)).astype(np.float32)  # plane k has the value k / 4
    volumes = {"T1w": volume(height), "FLAIR": volume(np.full((4, 5, 3), 0.5, np.float32))}
    tissues = {name: volume(np.full((4, 5, 3), v, np.float32)) for name, v in (("CSF", 0), ("GM", 0.25), ("WM", 0.75))}
    return {
        "volumes": volumes,
        "lesion": volume(lesion),
        "brain": volume(brain),
        "atlas": {"T1w": volume(height + 0.25), "FLAIR": volumes["FLAIR"]},
        "tissues": tissues,
        "rules": SliceRules(planes="all", pathological_min_lesion_pixels=2),
        "sequences": ["FLAIR", "T1w"],
        "classes": CLASSES,
        **WHO,
    }


def test_study_slices_arrays(study):
    slices = study_slices(**study)
    assert len(slices) == 3
    assert slices.images.shape == (3, 2, 5, 4)
    assert slices.images.dtype == slices.atlas.dtype == slices.tissues.dtype == np.float32
    # x = 0 is the patient's left, the last column of the picture.
    assert (slices.images[..., -1] == -1).all()
    assert (slices.labels[..., -1] == 0).all()
    # T1w is the second channel; plane 2 holds 0.5, that is 0 on [-1, 1].
    assert slices.images[2, 1, 0, 0] == 0.0
    # x = 1 is column 2; y = 0, 1 are the rows 4, 3.
    assert slices.labels[1, 4, 2] == 2
    assert slices.labels[1, 3, 2] == 3
    assert (slices.labels == 3).sum() == 1
    assert slices.tissues[0, :, 0, 0].tolist() == [0.0, 0.25, 0.75]


def test_study_slices_atlas_planes_in_order(study):
    atlas = study_slices(**study).atlas
    assert atlas.shape == (3, 6, 5, 4)
    # The atlas' T1w of plane k is (k + 1) / 4, on [-1, 1]: k / 2 - 0.5; FLAIR is 0. Beyond the volume its end repeats.
    assert atlas[1, :, 0, 0].tolist() == [0.0, -0.5, 0.0, 0.0, 0.0, 0.5]
    assert atlas[0, :, 0, 0].tolist() == [0.0, -0.5, 0.0, -0.5, 0.0, 0.0]
    assert atlas[2, :, 0, 0].tolist() == [0.0, 0.0, 0.0, 0.5, 0.0, 0.5]


def test_an_atlas_is_background_where_all_its_sequences_are_zero(study):
    study["rules"] = SliceRules(planes="all", value_range=(-1.0, 1.0))
    zero = np.zeros((4, 5, 3), np.float32)
    half = zero.copy()
    half[2] = 0.5
    study["atlas"] = {"T1w": volume(half), "FLAIR": volume(zero)}
    atlas = study_slices(**study).atlas
    assert atlas[1, 2:4, 0].tolist() == [[-1.0, 0.0, -1.0, -1.0], [-1.0, 0.5, -1.0, -1.0]]


def test_study_slices_table(study):
    table = study_slices(**study).table
    assert table["plane"].tolist() == [0, 1, 2]
    assert table["domain"].tolist() == ["healthy", "pathological", "healthy"]
    assert table["pixels_edema"].tolist() == [0, 1, 0]
    assert table["pixels_tumor"].tolist() == [0, 1, 0]
    assert table["clipped"].tolist() == [0, 1, 0]
    assert table["fill"].tolist() == [0.75] * 3
    assert table[["spacing_x", "spacing_y", "spacing_z"]].iloc[0].tolist() == [2.0, 3.0, 5.0]
    assert set(table["study"]) == {"a_1"}


def test_discarded_slices_can_be_left_out(study):
    rules = {"planes": "all", "pathological_min_lesion_pixels": 3}
    assert study_slices(**study | {"rules": SliceRules(**rules)}).table["domain"].tolist()[1] == "discarded"
    kept = study_slices(**study | {"rules": SliceRules(**rules, keep_discarded=False)})
    assert kept.table["plane"].tolist() == [0, 2]


def test_no_lesion_mask_no_prior(study):
    slices = study_slices(**study | {"lesion": None, "atlas": None, "tissues": None})
    assert set(slices.table["domain"]) == {"healthy"}
    assert slices.atlas.shape == slices.tissues.shape == (3, 0, 5, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sequences": ["FLAIR", "T2w"]}, "T2w"),
        ({"classes": ["edema"]}, "unknown codes"),
        ({"brain": Volume(np.ones((4, 5, 3), np.uint8), np.eye(4))}, "another grid"),
        ({"brain": volume(np.zeros((4, 5, 3), np.uint8)), "rules": SliceRules(planes="brain")}, "no plane"),
        ({"tissues": {"CSF": volume(np.zeros((4, 5, 3)))}}, "GM, WM"),
    ],
)
def test_bad_input_names_the_study(study, change, message):
    with pytest.raises(InputError, match=message) as error:
        study_slices(**study | change)
    assert error.value.subject == "a_1"
