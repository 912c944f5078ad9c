from __future__ import annotations

import numpy as np
import pytest

from lesionlab.figures import strip_tiles, strips
from lesionlab.figures.frames import frame_around
from lesionlab.imaging.volume import Volume

SEQUENCES = ["T1w", "FLAIR"]


def head(flips=(1, 1, 1), order=(0, 1, 2), spacing=(4.0, 4.0, 6.0)):
    """An ellipsoid of 60 x 80 x 60 mm half axes around the origin, with a bright spot at the right front.

    Stored with any order and direction of axes; the affine says which.
    """
    size = np.array([40, 50, 24])
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing)
    affine[:3, 3] = -(size - 1) / 2 * spacing
    axes = (np.arange(n) * s + o for n, s, o in zip(size, spacing, affine[:3, 3], strict=True))
    x, y, z = np.meshgrid(*axes, indexing="ij")
    data = 100.0 * ((x / 60) ** 2 + (y / 80) ** 2 + (z / 60) ** 2 < 1)
    data[(x - 30) ** 2 + (y - 40) ** 2 + z**2 < 15**2] = 300.0
    for axis, flip in enumerate(flips):
        if flip < 0:
            data = np.flip(data, axis)
            affine[:3, 3] += affine[:3, axis] * (size[axis] - 1)
            affine[:3, axis] *= -1
    data, affine[:, :3] = data.transpose(order), affine[:, list(order)]
    return Volume(np.ascontiguousarray(data, dtype=np.float32), affine)


def brain(volume):
    return volume.like((volume.data > 0).astype(np.uint8))


def test_planes_look_alike_whatever_the_order_and_direction_of_axes():
    straight = head()
    frame = frame_around(brain(straight))
    expected = frame.plane(straight, 1)
    for flips, order in [((-1, -1, 1), (0, 1, 2)), ((1, -1, -1), (2, 0, 1))]:
        np.testing.assert_allclose(frame.plane(head(flips, order), 1), expected, atol=1e-2)


def test_anterior_is_up_and_the_patients_right_is_on_the_left():
    volume = head()
    frame = frame_around(brain(volume))
    picture = frame.plane(volume, 1)
    row, column = np.argwhere(picture > 250).mean(axis=0)
    assert row < picture.shape[0] / 2
    assert column < picture.shape[1] / 2


def test_a_plane_goes_through_the_lesions_largest_area():
    volume = head(order=(2, 0, 1))
    data = np.zeros(volume.shape, np.uint8)
    world = np.argwhere(data == 0) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    chosen = np.abs(world[:, 2] - 33.0) < 1.0  # one plane of voxels lies at z = 33 mm
    data.ravel()[np.flatnonzero(chosen)[:40]] = 2
    frame = frame_around(brain(volume), lesion=volume.like(data))
    assert 33.0 in [pytest.approx(height, abs=0.01) for height in frame.heights]
    assert list(frame.heights) == sorted(frame.heights)
    assert len(frame.heights) == 3


def test_the_view_shows_the_whole_head_where_the_mask_misses_a_half():
    volume = head()
    half = volume.data > 0
    half[:20] = False  # left of the patient is gone
    frame = frame_around(volume.like(half.astype(np.uint8)), head=volume)
    assert frame.x.min() < -55
    assert frame.x.max() > 55


def test_an_empty_mask_is_refused():
    with pytest.raises(ValueError, match="not empty"):
        frame_around(head().like(np.zeros(head().shape, np.uint8)))


def stages():
    one = head()
    scan = dict.fromkeys(SEQUENCES, one)
    unit = {name: one.like(one.data / 300) for name in SEQUENCES}
    share = one.like(np.full(one.shape, 1 / 3, np.float32))
    lesion = one.like(np.where(one.data > 250, 2, 0).astype(np.uint8))
    return {
        "raw": scan,
        "coregister": {**scan, "lesion": lesion},
        "brain": {"brain": brain(one)},
        "bias": {**scan, "field_T1w": one.like(np.full(one.shape, 0.25, np.float32))},
        "standardize": unit,
        "tissues": {"CSF": share, "GM": share, "WM": share},
        "atlas": unit,
    }


def test_a_whole_strip_is_a_picture_of_moderate_size(decoded):
    data = strips.study_strip(stages(), sequences=SEQUENCES, reference="T1w", lesion_classes=["edema"])
    picture = decoded(data)
    assert len(data) < 150_000
    # 1 raw, 2 aligned, 1 edges, 3 bias, 2 standardized, 1 lesion, 1 tissues, 2 atlas: 13 columns, one band of 3 planes.
    assert picture.shape[0] < 3 * 104 + 60
    assert picture.std() > 20


def test_missing_stages_leave_columns_out(decoded):
    widths = [
        decoded(strips.study_strip(some, sequences=SEQUENCES, reference="T1w")).shape[1]
        for some in (stages(), {name: stages()[name] for name in ("raw", "coregister")})
    ]
    assert widths[1] < widths[0]


def test_groups_stay_whole_when_a_strip_breaks_into_bands():
    columns = [strips.Column(group, str(at), lambda k: None) for group in "abc" for at in range(6)]
    assert [[column.group for column in band] for band in strips._cut(columns)] == [["a"] * 6 + ["b"] * 6, ["c"] * 6]


def test_a_strip_needs_the_reference_or_a_mask():
    with pytest.raises(ValueError, match="reference sequence PD"):
        strips.study_strip({"raw": {"T1w": head()}}, sequences=["T1w"], reference="PD")


def test_the_field_is_red_where_it_brightens_and_blue_where_it_darkens():
    volume = head()
    frame = frame_around(brain(volume))
    middle = len(frame.y) // 2, len(frame.x) // 2
    for value, bright in ((0.25, 0), (-0.25, 2)):
        field = volume.like(np.full(volume.shape, value, np.float32))
        pixel = strip_tiles.log_field(field, frame, brain(volume))(1).pixels[middle]
        # Half of the limit of 0.5: one channel full, the two others at least half.
        assert pixel[bright] == 255
        assert pixel[2 - bright] == pixel[1] == 128


def test_edges_are_drawn_on_the_moving_scan():
    volume = head()
    frame = frame_around(brain(volume))
    tile = strip_tiles.edges(volume.like(np.zeros(volume.shape, np.float32)), volume, frame, brain(volume))(1)
    assert (tile.pixels == np.array([0x35, 0xD0, 0xFF])).all(axis=2).sum() > 50


def test_the_legend_names_all_that_is_drawn():
    assert [name for name, _ in strips.strip_legend(["edema"])] == [
        "brain mask", "edges of the reference", "edema", "CSF", "GM", "WM",
    ]  # fmt: skip


def test_outside_a_scan_there_is_its_background():
    volume = head()
    shifted = volume.like(volume.data - 50.0)  # as z-scored scans have it
    frame = frame_around(brain(volume))
    wide = type(frame)(frame.x * 4, frame.y * 4, frame.heights)
    assert wide.plane(shifted, 1)[0, 0] == -50.0
