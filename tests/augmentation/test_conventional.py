"""Conventional augmentation keeps slices valid, moves all parts alike, and repeats itself with its seed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lesionlab.augmentation.conventional import ConventionalOptions, augment
from lesionlab.slices.batches import Batch

STILL = dict.fromkeys(
    ["flip_probability", "rotate_probability", "scale_probability", "elastic_probability", "intensity_probability"], 0.0
)
GEOMETRY = {"flip_probability": 1.0, "rotate_probability": 1.0, "scale_probability": 1.0, "elastic_probability": 1.0}


def only(**given):
    return ConventionalOptions(**{**STILL, **given})


def batch(n=4, height=48, width=40, channels=2, seed=0):
    """Round brains with a round lesion of two classes, off the middle; images textured, black outside."""
    draw = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")

    def disc(row, column, radius):
        return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2

    labels = torch.zeros(n, height, width, dtype=torch.int64)
    labels[:, disc(height / 2, width / 2, 17)] = 1
    labels[:, disc(height / 2, width / 2 - 5, 6)] = 2
    labels[:, disc(height / 2, width / 2 - 5, 3)] = 3
    brain = (labels > 0).unsqueeze(1)
    images = torch.where(brain, torch.rand(n, channels, height, width, generator=draw) * 1.6 - 0.8, -1.0)
    atlas = torch.where(brain, torch.rand(n, 3 * channels, height, width, generator=draw) * 2 - 1, -1.0)
    tissues = brain * torch.rand(n, 3, height, width, generator=draw)
    return Batch(images=images, labels=labels, atlas=atlas, tissues=tissues)


def same(one, other):
    pairs = zip(one.tensors.values(), other.tensors.values(), strict=True)
    return one.fields == other.fields and all(torch.equal(a, b) for a, b in pairs)


options_of_any_kind = st.builds(
    ConventionalOptions,
    flip_probability=st.floats(0, 1),
    rotate_probability=st.floats(0, 1),
    rotate_degrees=st.floats(0, 180),
    scale_probability=st.floats(0, 1),
    scale_strength=st.floats(0, 0.9),
    elastic_probability=st.floats(0, 1),
    elastic_spacing=st.floats(0.05, 0.5),
    elastic_strength=st.floats(0, 0.3),
    intensity_probability=st.floats(0, 1),
    intensity_gain=st.floats(0, 0.9),
    intensity_shift=st.floats(0, 0.9),
    intensity_gamma=st.floats(0, 0.9),
)


@settings(max_examples=60, deadline=None)
@given(options_of_any_kind, st.integers(0, 2**31))
def test_whatever_is_drawn_the_slices_stay_valid(options, seed):
    given_batch = batch()
    before = given_batch.map(torch.clone)
    torch.manual_seed(seed)
    new = augment(given_batch, options)
    assert new.fields == given_batch.fields
    for part, old, first in zip(*(each.tensors.values() for each in (new, given_batch, before)), strict=True):
        assert part.shape == old.shape and part.dtype == old.dtype
        assert torch.equal(old, first)  # not written to
    assert set(new.labels.unique().tolist()) <= {0, 1, 2, 3}
    outside = (new.labels == 0).unsqueeze(1).expand_as(new.images)
    assert (new.images[outside] == -1).all()
    for part, low in ((new.images, -1), (new.atlas, -1), (new.tissues, 0)):
        assert part.min() >= low - 1e-6 and part.max() <= 1 + 1e-6
        assert part.isfinite().all()
    torch.manual_seed(seed)
    again = augment(given_batch, options)
    assert same(new, again)


@pytest.mark.parametrize(
    "options",
    [
        only(),
        ConventionalOptions(
            flip_probability=0, rotate_degrees=0, scale_strength=0, elastic_strength=0, intensity_gain=0,
            intensity_shift=0, intensity_gamma=0,
        ),
    ],
    ids=["probabilities", "strengths"],
)  # fmt: skip
def test_without_probability_or_strength_nothing_changes(options):
    state = torch.get_rng_state()
    assert same(augment(batch(), options), batch())
    assert torch.equal(torch.get_rng_state(), state)  # nor is anything drawn


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_a_slice_for_which_nothing_was_drawn_stays_bit_for_bit(seed):
    given_batch = batch(n=8)
    torch.manual_seed(seed)
    new = augment(given_batch, only(rotate_probability=0.5, rotate_degrees=90))
    torch.manual_seed(seed)
    chosen = torch.rand(8) < 0.5  # the first that is drawn
    assert same(new.map(lambda part: part[~chosen]), given_batch.map(lambda part: part[~chosen]))
    assert all(not torch.equal(new.images[i], given_batch.images[i]) for i in torch.where(chosen)[0])


def test_half_of_the_slices_are_chosen():
    torch.manual_seed(0)
    given_batch = batch(n=400, height=8, width=8)
    given_batch.images[:, 0, 4, 4] = torch.linspace(-0.5, 0.5, 400)
    moved = (augment(given_batch, only(flip_probability=0.5)).images != given_batch.images).flatten(1).any(1)
    assert abs(int(moved.sum()) - 200) < 40  # four standard deviations of 10


def test_flips_are_exact():
    given_batch = batch()
    flipped = augment(given_batch, only(flip_probability=1.0))
    assert same(flipped, given_batch.map(lambda part: part.flip(-1)))
    assert same(augment(flipped, only(flip_probability=1.0)), given_batch)


def test_a_quarter_turn_is_a_quarter_turn():
    # The angle is uniform in +-90 degrees; with a generator of our own every slice gets one we know.
    given_batch = batch(n=200, height=40, width=40)
    torch.manual_seed(1)
    new = augment(given_batch, only(rotate_probability=1.0, rotate_degrees=90.0))
    torch.manual_seed(1)
    torch.rand(200)
    angle = (2 * torch.rand(200) - 1) * 90
    for i in (int(angle.argmax()), int(angle.argmin())):  # within a degree or so of +-90
        turned = torch.rot90(given_batch.labels[i], 1 if angle[i] > 0 else -1)
        assert (new.labels[i] == turned).float().mean() > 0.98


def test_rotation_in_a_picture_that_is_not_square_keeps_shapes():
    given_batch = batch(n=50, height=64, width=40)
    new = augment(given_batch, only(rotate_probability=1.0, rotate_degrees=180.0))
    # The brain is a disc about the picture's centre: turning must not make it an ellipse.
    area = (new.labels > 0).flatten(1).sum(1)
    assert (area - (given_batch.labels[0] > 0).sum()).abs().max() <= 12
    rows = (new.labels > 0).any(2).sum(1)
    columns = (new.labels > 0).any(1).sum(1)
    assert (rows - columns).abs().max() <= 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_rotation_keeps_the_mass_of_the_lesion(seed):
    torch.manual_seed(seed)
    given_batch = batch()
    new = augment(given_batch, only(rotate_probability=1.0, rotate_degrees=180.0))
    for code, tolerance in ((2, 0.2), (3, 0.25)):
        before, after = ((part.labels == code).flatten(1).sum(1) for part in (given_batch, new))
        assert ((after - before).abs() <= tolerance * before).all()


def test_scaling_scales_areas_by_the_zoom_squared():
    torch.manual_seed(0)
    new = augment(batch(n=300), only(scale_probability=1.0, scale_strength=0.25))
    ratio = (new.labels > 0).flatten(1).sum(1) / (batch(n=1).labels > 0).sum()
    # The zoom lies between 1 / 1.25 and 1.25.
    assert ratio.max() < 1.25**2 * 1.03 and ratio.min() > 1.25**-2 / 1.03
    assert ratio.max() > 1.25**2 * 0.95 and ratio.min() < 1.25**-2 / 0.95
    assert ratio.log().mean().abs() < 0.05


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_all_parts_are_moved_by_one_field(seed):
    # Where image, atlas and tissues are smooth ramps within a full brain, their values tell where a pixel came from.
    labels = torch.ones(3, 32, 32, dtype=torch.int64)
    ramp = torch.linspace(-0.9, 0.9, 32)
    labels[:, :, 16:] = 2
    picture = ramp.expand(3, 1, 32, 32)
    torch.manual_seed(seed)
    ramps = Batch(images=picture, labels=labels, atlas=picture.expand(-1, 3, -1, -1), tissues=(picture + 1) / 2)
    new = augment(ramps, only(**GEOMETRY))
    inside = (new.labels > 0).unsqueeze(1)
    inside &= torch.nn.functional.avg_pool2d(inside.float(), 3, 1, 1) == 1  # off the border, which blends with black
    torch.testing.assert_close(new.images[inside], new.atlas[:, :1][inside], atol=1e-5, rtol=0)
    torch.testing.assert_close(new.images[inside], 2 * new.tissues[inside] - 1, atol=1e-5, rtol=0)
    # Label 2 begins at the ramp's middle; nearest pixels err by half a pixel, two where the field is steep.
    right = (new.labels == 2).unsqueeze(1)
    assert (new.images[inside & right] > -0.12).all() and (new.images[inside & ~right] < 0.12).all()


def test_elastic_fields_do_not_fold():
    torch.manual_seed(0)
    rows = torch.linspace(-0.5, 0.5, 64).view(1, 1, 64, 1).expand(50, 1, 64, 64).contiguous()
    inside = torch.ones(50, 64, 64, dtype=torch.int64)
    new = augment(Batch(images=rows, labels=inside), only(elastic_probability=1.0)).images[:, 0, 12:-12, 12:-12]
    # Rows stay in order where they are not near the border, which pulls black in.
    assert (new.diff(dim=1) > 0).float().mean() > 0.999
    assert (new - rows[:, 0, 12:-12, 12:-12]).abs().max() > 1 / 63  # and they did move


def test_intensities_change_within_the_brain_alone_and_by_sequence():
    torch.manual_seed(0)
    given_batch = batch(n=6, channels=3)
    new = augment(given_batch, only(intensity_probability=1.0))
    assert torch.equal(new.labels, given_batch.labels)
    assert torch.equal(new.atlas, given_batch.atlas) and torch.equal(new.tissues, given_batch.tissues)
    inside = (given_batch.labels > 0).unsqueeze(1).expand_as(new.images)
    assert (new.images[~inside] == -1).all()
    for i in range(6):
        gains = []
        for c in range(3):
            old, changed = (part.images[i, c][given_batch.labels[i] > 0] for part in (given_batch, new))
            # A rising curve: the order of intensities stays.
            assert (changed[old.argsort()].diff() >= -1e-6).all()
            gains.append((changed - old).mean().item())
        assert len({round(gain, 4) for gain in gains}) == 3


def test_gain_and_shift_by_hand():
    torch.manual_seed(3)
    given_batch = batch(n=2)
    new = augment(
        given_batch, only(intensity_probability=1.0, intensity_gain=0.3, intensity_shift=0.1, intensity_gamma=0)
    )
    light, changed = ((part.images[0, 0][given_batch.labels[0] > 0] + 1) / 2 for part in (given_batch, new))
    slope, offset = np.polyfit(light.numpy(), changed.numpy(), 1)
    assert 0.7 <= slope <= 1.3 and -0.1 <= offset <= 0.1
    torch.testing.assert_close(changed, (slope * light + offset).clamp(0, 1).float(), atol=1e-4, rtol=0)


def test_slices_without_atlas_and_tissues_pass():
    whole = batch()
    new = augment(whole.replace(atlas=whole.atlas[:, :0], tissues=whole.tissues[:, :0]), ConventionalOptions())
    assert new.atlas.shape == (4, 0, 48, 40) and new.tissues.shape == (4, 0, 48, 40)


FEWER = [("images",), ("labels",), ("images", "atlas"), ("images", "labels"), ("labels", "atlas"), ("atlas", "tissues")]


@pytest.mark.parametrize("fields", FEWER, ids="-".join)
def test_batches_of_fewer_fields_are_changed(fields):
    some = batch(n=8).only(fields)
    torch.manual_seed(0)
    new = augment(some, only(**GEOMETRY, intensity_probability=1.0))
    assert new.fields == fields
    for name, part in new.tensors.items():
        old = some.tensors[name]
        assert (part.shape, part.dtype) == (old.shape, old.dtype) and part.isfinite().all()
        assert all(not torch.equal(part[i], old[i]) for i in range(8))


@pytest.mark.parametrize("kind", ["flip", "rotate", "scale", "elastic"])
@pytest.mark.parametrize("fields", FEWER, ids="-".join)
def test_a_field_is_moved_alike_whatever_lies_beside_it(kind, fields):
    whole, options = batch(n=8), only(**{f"{kind}_probability": 0.5})
    found = []
    for some in (whole, whole.only(fields)):
        torch.manual_seed(3)
        found.append(augment(some, options))
    everything, part = found
    # Background labels blacken images exactly, which without labels are black there but for interpolated edges.
    blackened = (everything.labels == 0).unsqueeze(1)
    for name, tensor in part.tensors.items():
        wanted = everything.tensors[name]
        if name == "images" and "labels" not in fields and kind != "flip":
            tensor = tensor.masked_fill(blackened & (tensor != whole.images), -1.0)
        torch.testing.assert_close(tensor, wanted, atol=0 if kind == "flip" else 1e-6, rtol=0)


def test_without_labels_intensities_change_where_a_sequence_is_brighter_than_black():
    whole, found = batch(n=6), []
    for some in (whole, whole.only(["images"])):
        torch.manual_seed(4)
        found.append(augment(some, only(intensity_probability=1.0)))
    # In these slices the brain is what is brighter than black: with and without labels the same.
    assert torch.equal(found[0].images, found[1].images) and not torch.equal(found[1].images, whole.images)


def test_the_defaults_keep_most_of_the_lesion():
    torch.manual_seed(0)
    new = augment(batch(n=200), ConventionalOptions())
    ratio = (new.labels > 1).flatten(1).sum(1) / (batch(n=1).labels > 1).sum()
    assert ratio.min() > 0.6 and ratio.max() < 1.6
    assert ratio.mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("wrong", [{"flip": 1.0}, {"flip_probability": 1.5}, {"elastic_strength": 0.5}])
def test_options_are_checked(wrong):
    with pytest.raises(ValidationError):
        ConventionalOptions(**wrong)
