"""Manipulated label maps are valid, seeded, and of the size asked for."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import ndimage

from lesionlab.augmentation.lesion_geometry import centred_in, midline_twice, mirror, signed_distance, transplant
from lesionlab.augmentation.manipulation import Donor, ManipulationOptions, clip, manipulate, order_of

CLASSES = ["edema", "cavity", "tumor"]
EDEMA, CAVITY, TUMOR = 2, 3, 4
EVERY_KIND = {"mirror": 1.0, "enlarge": 1.0, "shrink": 1.0, "swap": 1.0, "mixture": 1.0}


def disc(shape, centre, radius):
    rows, columns = np.indices(shape)
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def head(lesion=(30, 22), radii=(10, 7, 3), brain=26, shape=(64, 60)):
    """A round brain with a nested round lesion: edema around tumor around cavity."""
    labels = disc(shape, (32, 30), brain).astype(np.uint8)
    for code, radius in zip((EDEMA, TUMOR, CAVITY), radii, strict=True):
        if radius:
            labels[disc(shape, lesion, radius) & (labels > 0)] = code
    return labels


def only(kind, **options):
    return ManipulationOptions(kinds={kind: 1.0}, **options)


def area(labels, code):
    return int(np.count_nonzero(labels == code))


heads = st.builds(
    head,
    lesion=st.tuples(st.integers(10, 54), st.integers(8, 52)),
    radii=st.tuples(st.integers(0, 12), st.integers(0, 8), st.integers(0, 4)),
    brain=st.integers(6, 28),
)


def test_the_default_kinds_are_those_of_the_papers_figures():
    assert set(ManipulationOptions().kinds) == {"mirror", "enlarge", "shrink", "swap"}


@settings(max_examples=100, deadline=None)
@given(heads, heads, st.integers(0, 2**32 - 1))
def test_every_result_is_a_valid_map_of_the_same_brain(target, other, seed):
    donors = [Donor(other, "b", "b", 3)] if (other > 1).any() else []
    options = ManipulationOptions(kinds=EVERY_KIND)
    result, record = manipulate(target, donors, np.random.default_rng(seed), CLASSES, options)
    assert result.dtype == np.uint8
    assert result.shape == target.shape
    assert set(np.unique(result)) <= {0, 1, EDEMA, CAVITY, TUMOR}
    np.testing.assert_array_equal(result > 0, target > 0)
    for name, code in zip(CLASSES, (EDEMA, CAVITY, TUMOR), strict=True):
        assert record["area_after"][name] == area(result, code)
        assert record["area_before"][name] == area(target, code)
    json.dumps(record)
    if record["kind"] == "original":
        np.testing.assert_array_equal(result, target)
    else:
        assert (result > 1).any()
        assert not np.array_equal(result, target)
    if record["kind"] in ("enlarge", "shrink"):
        factor = 2.0 if record["kind"] == "enlarge" else 0.5
        assert abs(area(result, TUMOR) / area(target, TUMOR) / factor - 1) <= record["tolerance"]


DETAILS = {
    "original": set(),
    "mirror": {"midline_column"},
    "enlarge": {"factor", "achieved", "tolerance", "zoom"},
    "shrink": {"factor", "achieved", "tolerance", "zoom"},
    "swap": set(),
    "mixture": {"core", "core_cut"},
}
ALWAYS = {"kind", "donor", "clipped", "area_before", "area_after", "tries", "refused"}


@settings(max_examples=100, deadline=None)
@given(heads, heads, st.integers(0, 2**32 - 1))
def test_the_record_says_all_that_was_done(target, other, seed):
    donors = [Donor(other, "b", "b_2", 3)] if (other > 1).any() else []
    options = ManipulationOptions(kinds=EVERY_KIND)
    _, record = manipulate(target, donors, np.random.default_rng(seed), CLASSES, options)
    assert set(record) == ALWAYS | DETAILS[record["kind"]]
    from_another = record["kind"] in ("swap", "mixture")
    assert record["donor"] == ({"subject": "b", "study": "b_2", "plane": 3} if from_another else None)
    assert record["tries"] == len(record["refused"]) + (record["kind"] != "original")
    assert record["tries"] <= options.max_tries


@settings(max_examples=100, deadline=None)
@given(heads, heads, st.integers(0, 2**32 - 1))
def test_volumes_stay_within_the_bounds_of_their_kind(target, other, seed):
    donors = [Donor(other, "b", "b", 3)] if (other > 1).any() else []
    options = ManipulationOptions(kinds=EVERY_KIND)
    result, record = manipulate(target, donors, np.random.default_rng(seed), CLASSES, options)
    kept, most = np.count_nonzero(result > 1), 1 / (1 - options.max_clipped_fraction)
    assert kept + record["clipped"] <= kept * most + 1e-9
    if record["kind"] == "mirror":  # every class loses what is clipped, and nothing grows
        before, after = record["area_before"], record["area_after"]
        assert all(after[name] <= before[name] for name in CLASSES)
        assert sum(before.values()) - sum(after.values()) == record["clipped"]
    if record["kind"] in ("enlarge", "shrink"):  # the ring keeps its area, but for what the brain has no room for
        assert area(result, EDEMA) <= area(target, EDEMA)
        grown = record["kind"] == "enlarge"
        assert (area(result, TUMOR) > area(target, TUMOR)) == grown
    if record["kind"] == "mixture":
        assert kept == np.count_nonzero(target > 1)
        assert area(result, TUMOR) + area(result, CAVITY) == record["core"]


@settings(max_examples=30, deadline=None)
@given(st.tuples(st.integers(24, 40), st.integers(20, 28)), st.integers(9, 12), st.integers(4, 6), st.integers(0, 99))
def test_nested_lesions_stay_nested(place, edema, tumor, seed):
    target = head(lesion=place, radii=(edema, tumor, 0))
    donors = [Donor(head(lesion=(36, 34), radii=(8, 3, 0)), "b", "b", 3)]  # a core unlike any target's
    for kind in EVERY_KIND:
        result, record = manipulate(target, donors, np.random.default_rng(seed), CLASSES, only(kind))
        assert record["kind"] == kind
        core = result == TUMOR
        around = ndimage.binary_dilation(core) & ~core
        # A core within a closed ring stays within it: its neighbours are ring, or outside the brain.
        assert set(np.unique(result[around])) <= {EDEMA, 0}, kind


@settings(max_examples=40, deadline=None)
@given(heads, heads, st.integers(0, 2**32 - 1))
def test_a_mixture_has_the_outline_of_its_own_lesion_and_the_core_of_the_donors(target, other, seed):
    donors = [Donor(other, "b", "b", 3)] if (other > 1).any() else []
    result, record = manipulate(target, donors, np.random.default_rng(seed), CLASSES, only("mixture"))
    if record["kind"] == "mixture":
        np.testing.assert_array_equal(result > 1, target > 1)
        assert 0 < record["core"] <= np.count_nonzero(result > 1)
        # The donor's brain may be smaller, so that its core grows in fitting; classes it lacks do not appear.
        assert {code for code in (CAVITY, TUMOR) if (result == code).any()} <= set(np.unique(other))


@settings(max_examples=20, deadline=None)
@given(heads, st.integers(0, 2**32 - 1))
def test_the_seed_fixes_the_result_and_the_input_stays(target, seed):
    donors = [Donor(head((40, 40)), "b", "b", 3)]
    before = target.copy()
    options = ManipulationOptions(kinds=EVERY_KIND)
    (one, first), (other, second) = (
        manipulate(target, donors, np.random.default_rng(seed), CLASSES, options) for _ in range(2)
    )
    np.testing.assert_array_equal(one, other)
    assert first == second
    np.testing.assert_array_equal(target, before)


def test_all_kinds_are_drawn_by_their_weights():
    donors = [Donor(head((40, 40)), "b", "b", 3)]
    options = ManipulationOptions(kinds={"mirror": 3.0, "enlarge": 1.0, "shrink": 0.0, "swap": 1.0})
    kinds = [manipulate(head(), donors, np.random.default_rng(i), CLASSES, options)[1]["kind"] for i in range(120)]
    assert set(kinds) == {"mirror", "enlarge", "swap"}
    # 72 expected with a standard deviation of 5.4.
    assert 50 < kinds.count("mirror") < 94


def test_midline_of_an_even_and_an_odd_brain():
    brain = np.zeros((3, 10), bool)
    brain[1, 2:6] = True  # columns 2 to 5: midline 3.5
    assert midline_twice(brain) == 7
    brain[1, 6] = True
    assert midline_twice(brain) == 8


def test_mirror_moves_the_lesion_to_the_other_side():
    labels = np.array([[0, 1, 4, 2, 1, 1, 1, 0]], np.uint8)  # brain in columns 1 to 6
    result, record = manipulate(labels, [], np.random.default_rng(0), CLASSES, only("mirror"))
    assert result.tolist() == [[0, 1, 1, 1, 2, 4, 1, 0]]
    assert record["clipped"] == 0


@given(st.integers(0, 30))
def test_mirroring_twice_gives_the_lesion_back_where_nothing_leaves_the_picture(column):
    lesion = np.zeros((2, 31), np.uint8)
    lesion[1, column] = 4
    np.testing.assert_array_equal(mirror(mirror(lesion, 30), 30), lesion)


def test_enlarging_doubles_the_tumor_and_the_edema_gives_way():
    labels = head()
    result, record = manipulate(labels, [], np.random.default_rng(0), CLASSES, only("enlarge", tolerance=0.05))
    assert area(result, TUMOR) == pytest.approx(2 * area(labels, TUMOR), rel=0.05)
    assert record["achieved"] == pytest.approx(area(result, TUMOR) / area(labels, TUMOR))
    # The edema keeps its area and still closes around the tumor: no neighbour of the core is normal brain.
    assert area(result, EDEMA) == area(labels, EDEMA)
    core = (result == TUMOR) | (result == CAVITY)
    assert set(np.unique(result[ndimage.binary_dilation(core) & ~core])) == {EDEMA}
    # The cavity grew with the tumor around it: two concentric discs, both areas doubled.
    assert area(result, CAVITY) == pytest.approx(2 * area(labels, CAVITY), rel=0.2)


def test_shrinking_halves_the_tumor_and_leaves_normal_brain():
    labels = head()
    result, _ = manipulate(labels, [], np.random.default_rng(0), CLASSES, only("shrink", tolerance=0.05))
    assert area(result, TUMOR) == pytest.approx(area(labels, TUMOR) / 2, rel=0.05)
    assert area(result, EDEMA) == area(labels, EDEMA)
    assert area(result, 1) > area(labels, 1)
    assert not ((result > 1) & (labels <= 1)).any()


def test_a_tumor_at_the_skull_grows_inward():
    labels = head(lesion=(32, 5), radii=(0, 6, 0))
    result, record = manipulate(labels, [], np.random.default_rng(0), CLASSES, only("enlarge"))
    assert record["kind"] == "enlarge"
    assert area(result, TUMOR) == pytest.approx(2 * area(labels, TUMOR), rel=0.15)


def test_another_lesion_without_tumor_keeps_its_edema():
    labels = head(lesion=(30, 20), radii=(8, 5, 0))
    island = disc(labels.shape, (45, 42), 4)
    labels[island] = EDEMA
    result, _ = manipulate(labels, [], np.random.default_rng(0), CLASSES, only("shrink"))
    assert (result[island] == EDEMA).all()


def test_one_class_alone_can_be_scaled():
    labels = np.where(head(radii=(9, 0, 0)) == EDEMA, 2, head(radii=(0, 0, 0))).astype(np.uint8)
    result, _ = manipulate(labels, [], np.random.default_rng(0), ["lesion"], only("enlarge"))
    assert area(result, 2) == pytest.approx(2 * area(labels, 2), rel=0.15)


def test_swap_takes_the_donors_lesion_to_the_same_place_of_the_target_brain():
    # The donor's brain is twice as large: rows 0-7, columns 0-7; its lesion fills the quarter of rows and columns 4-7.
    donor = np.ones((8, 8), np.uint8)
    donor[4:, 4:] = TUMOR
    target = np.zeros((8, 8), np.uint8)
    target[2:6, 1:5] = 1
    target[2, 1] = EDEMA
    result, record = manipulate(target, [Donor(donor, "b", "b_2", 9)], np.random.default_rng(0), CLASSES, only("swap"))
    expected = np.zeros((8, 8), np.uint8)
    expected[2:6, 1:5] = 1
    expected[4:6, 3:5] = TUMOR
    assert result.tolist() == expected.tolist()
    assert record["donor"] == {"subject": "b", "study": "b_2", "plane": 9}


def test_mixture_by_hand():
    # Both fill their picture, so that fitting changes nothing. The donor's core is two tumor pixels over a cavity one.
    donor = np.ones((7, 7), np.uint8)
    donor[0:4, 4:7] = EDEMA
    donor[1, 5] = TUMOR
    donor[2, 5] = CAVITY
    donor[3, 5] = TUMOR
    target = np.ones((7, 7), np.uint8)
    target[2:7, 0:5] = EDEMA  # its deepest pixel is (4, 2)
    target[5, 1:4] = CAVITY
    result, record = manipulate(
        target, [Donor(donor, "b", "b_1", 4)], np.random.default_rng(0), CLASSES, only("mixture")
    )
    expected = np.ones((7, 7), np.uint8)
    expected[2:7, 0:5] = EDEMA
    # All three pixels of the core are equally deep, the first of them comes to lie on (4, 2).
    expected[4:7, 2] = [TUMOR, CAVITY, TUMOR]
    assert result.tolist() == expected.tolist()
    assert (record["core"], record["core_cut"], record["clipped"]) == (3, 0, 0)
    assert record["donor"] == {"subject": "b", "study": "b_1", "plane": 4}


def test_a_core_too_large_for_the_outline_is_refused():
    target, donor = head(radii=(5, 0, 0)), head(radii=(12, 10, 0))
    result, record = manipulate(target, [Donor(donor, "b", "b", 0)], np.random.default_rng(0), CLASSES, only("mixture"))
    assert record["kind"] == "original"
    np.testing.assert_array_equal(result, target)
    assert len(record["refused"]) == 8 and "of the donor's core outside the lesion" in record["refused"][0]
    _, record = manipulate(
        target, [Donor(head(radii=(9, 0, 0)), "b", "b", 0)], np.random.default_rng(0), CLASSES, only("mixture")
    )
    assert "the donor has no core" in record["refused"][0]


def test_one_class_alone_has_no_ring_to_mix():
    labels = np.where(head(radii=(9, 0, 0)) == EDEMA, 2, head(radii=(0, 0, 0))).astype(np.uint8)
    _, record = manipulate(labels, [Donor(labels, "b", "b", 0)], np.random.default_rng(0), ["lesion"], only("mixture"))
    assert (record["kind"], record["tries"]) == ("original", 0)


def test_a_core_is_centred_where_the_outline_is_deepest():
    core = np.zeros((6, 6), np.uint8)
    core[0, 0:3] = [4, 3, 4]  # all as deep as each other: the first is the anchor
    outline = np.zeros((6, 6), bool)
    outline[3:6, 1:4] = True
    moved = centred_in(core, outline)
    assert moved[4].tolist() == [0, 0, 4, 3, 4, 0] and moved.sum() == 11
    outline[:] = False
    outline[5, 5] = True
    assert centred_in(core, outline)[5].tolist() == [0, 0, 0, 0, 0, 4]  # the rest leaves the picture
    assert not centred_in(core, np.zeros((6, 6), bool)).any()


def test_transplant_onto_the_same_brain_changes_nothing():
    labels = head()
    lesion = np.where(labels > 1, labels, 0).astype(np.uint8)
    np.testing.assert_array_equal(transplant(lesion, labels > 0, labels > 0), lesion)


def test_swap_prefers_planes_of_like_size():
    small, like = head(brain=9, lesion=(32, 30), radii=(0, 3, 0)), head(lesion=(40, 40))
    donors = [Donor(small, "b", "b", 0)] * 9 + [Donor(like, "c", "c", 1)]
    chosen = {
        manipulate(head(), donors, np.random.default_rng(i), CLASSES, only("swap"))[1]["donor"]["study"]
        for i in range(20)
    }
    assert chosen == {"c"}


def test_clip_drops_what_lies_outside_and_counts_it():
    target = np.array([[0, 1, 4, 1]], np.uint8)
    result, dropped = clip(np.array([[3, 3, 0, 0]], np.uint8), target)
    assert result.tolist() == [[0, 3, 1, 1]]
    assert dropped == 1


def test_a_map_that_cannot_be_manipulated_stays_and_says_why():
    labels = head(radii=(8, 0, 0))  # edema alone: there is no tumor to enlarge
    result, record = manipulate(labels, [], np.random.default_rng(0), CLASSES, only("enlarge"))
    np.testing.assert_array_equal(result, labels)
    assert record["kind"] == "original"
    filled = np.full((9, 9), TUMOR, np.uint8)  # a brain that is all tumor cannot hold twice as much
    _, record = manipulate(filled, [], np.random.default_rng(0), CLASSES, only("enlarge"))
    assert record["kind"] == "original"
    assert record["refused"] == ["enlarge: area times 1.00 instead of 2.00"]


def test_order_follows_the_classes_unless_configured():
    order = order_of(CLASSES, ManipulationOptions())
    assert order.codes == (TUMOR, CAVITY, EDEMA)
    assert (order.core, order.ring, order.scaled) == ((TUMOR, CAVITY), EDEMA, TUMOR)
    other = order_of(CLASSES, ManipulationOptions(precedence=("cavity", "tumor", "edema"), scaled_class="tumor"))
    assert (other.codes, other.scaled) == ((CAVITY, TUMOR, EDEMA), TUMOR)
    with pytest.raises(ValueError, match="must order"):
        order_of(CLASSES, ManipulationOptions(precedence=("tumor", "edema")))
    with pytest.raises(ValueError, match="no lesion class"):
        order_of(CLASSES, ManipulationOptions(scaled_class="tumour"))


@pytest.mark.parametrize("wrong", [{"kinds": {}}, {"kinds": {"mirror": 0.0}}, {"kinds": {"flip": 1.0}}])
def test_kinds_are_checked(wrong):
    with pytest.raises(ValidationError):
        ManipulationOptions(**wrong)


def test_signed_distance_by_hand():
    mask = np.zeros((1, 6), bool)
    mask[0, 1:4] = True
    assert signed_distance(mask).tolist() == [[0.5, -0.5, -0.5, -0.5, 0.5, 1.5]]
    deep = np.zeros((5, 5), bool)
    deep[1:4, 1:4] = True
    assert signed_distance(deep)[2].tolist() == [0.5, -0.5, -1.5, -0.5, 0.5]
