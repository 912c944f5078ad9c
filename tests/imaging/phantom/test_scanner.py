"""The phantom's scanner: fiducials, bias, noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lesionlab.imaging.phantom import PhantomOptions
from lesionlab.imaging.phantom.fields import Frame, smooth_noise
from lesionlab.imaging.phantom.scanner import Scanner, acquire, bias_field, expose, grid_points, plan_scan, rigid
from lesionlab.imaging.phantom.template import head_frame

GOLDEN_ORIGIN = [106.502033, -132.38898, -62.222798]
GOLDEN_POSE = [2.042265, -1.438951, 0.085223]
GOLDEN_SEED = 1335484846

LYING = rigid(np.array([4.0, -3.0, 2.0]), np.array([5.0, 1.0, -2.0]), np.zeros(3))


def _scanner(sequence: str = "T1w", seed: int = 0, **options: object) -> Scanner:
    return plan_scan(sequence, PhantomOptions(**options), LYING, np.random.default_rng(seed))  # type: ignore[arg-type]


def test_a_ball_is_seen_where_the_pose_puts_it() -> None:
    # A fiducial at a known place of the head; its centre of mass in the scan, brought to mm, must be pose @ place.
    frame = head_frame(2.0)
    place = np.array([22.0, -30.0, 25.0])
    x, y, z = frame.axes()
    ball = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2 + (z - place[2]) ** 2) / (2 * 6.0**2)).astype(np.float32)
    for seed, sequence in enumerate(("T1w", "FLAIR", "APTw")):
        plan = _scanner(sequence, seed)
        seen = plan.affine @ [*ndimage.center_of_mass(acquire(ball, frame, plan)), 1.0]
        np.testing.assert_allclose(seen, plan.pose @ [*place, 1.0], atol=0.3)


def test_the_head_moves_no_more_than_allowed() -> None:
    still = _scanner(rotation_deg=0, shift_mm=0)
    np.testing.assert_allclose(still.pose, LYING, atol=1e-9)
    moved = _scanner(rotation_deg=3, shift_mm=3, seed=4).pose @ np.linalg.inv(LYING)
    angle = np.degrees(np.arccos((np.trace(moved[:3, :3]) - 1) / 2))
    assert 0 < angle < 3 * np.sqrt(3) + 0.1


def test_a_thick_slice_is_the_mean_over_its_profile() -> None:
    # A slab of 1 between z = 0 and 10 mm: its integral along z must survive the thick slices.
    frame = Frame((-20.0, -20.0, -40.0), 1.0, (41, 41, 81))
    slab = np.zeros(frame.shape, np.float32)
    slab[:, :, 40:50] = 1
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    affine[:3, 3] = [-10, -10, -30]
    plan = Scanner(np.eye(4), affine, (10, 10, 13), np.zeros((1, 5)), 0.0, 1.0, 1.0, 0.0, 0.0, 0)
    thick = acquire(slab, frame, plan)
    np.testing.assert_allclose(thick[5, 5].sum() * 5.0, 10.0, atol=1.0)
    assert ((thick > 0.05) & (thick < 0.95)).any()  # partial volume at the slab's ends


def test_bias_has_the_half_range_asked_for() -> None:
    plan = _scanner(bias=(0.25, 0.25))
    field = bias_field(plan, grid_points(plan.affine, plan.shape))
    low, high = np.percentile(field, [1, 99])
    # The field runs from 1 / 1.25 to 1.25 over the field of view, but for one percent at either end.
    np.testing.assert_allclose([low, high], [0.8, 1.25], rtol=0.04)
    flat = _scanner(bias=(0.0, 0.0))
    np.testing.assert_allclose(bias_field(flat, grid_points(flat.affine, flat.shape)), 1.0)


def test_noise_is_rician() -> None:
    plan = _scanner(noise=0.05, gain=(100.0, 100.0))
    dark = np.zeros(plan.shape, np.float32)
    empty, twin = expose([dark, dark], plan)
    # Where there is no signal, Rician noise is Rayleigh: mean sigma * sqrt(pi / 2).
    np.testing.assert_allclose(empty.mean(), 100 * 0.05 * np.sqrt(np.pi / 2), rtol=0.01)
    np.testing.assert_array_equal(empty, twin)  # a twin has the same noise


def test_a_perfect_scanner_only_scales() -> None:
    plan = _scanner(noise=0.0, bias=(0.0, 0.0), gamma=(1.0, 1.0), gain=(300.0, 300.0))
    signal = np.full(plan.shape, 0.7, np.float32)
    np.testing.assert_allclose(expose([signal], plan)[0], 210.0, rtol=1e-5)


def test_smooth_noise_is_standard_and_smooth() -> None:
    frame = head_frame(3.0)
    field = smooth_noise(np.random.default_rng(0), frame, 12.0)
    assert abs(field.std() - 1) < 0.1 and abs(field.mean()) < 0.15
    # Neighbours 3 mm apart differ little where knots are 12 mm apart.
    assert np.abs(np.diff(field, axis=0)).mean() < 0.4


# --- harder scans -----------------------------------------------------------------------------------------------------


def test_the_default_scan_has_not_changed() -> None:
    # Drawn before moves, slabs and half heads could be asked for; the same numbers must come now.
    plan = _scanner("FLAIR", seed=11)
    np.testing.assert_allclose(plan.affine[:3, 3], GOLDEN_ORIGIN, atol=1e-6)
    np.testing.assert_allclose(plan.pose[:3, 3], GOLDEN_POSE, atol=1e-6)
    assert plan.shape == (92, 116, 33) and plan.seed == GOLDEN_SEED


def test_a_field_of_view_that_follows_shows_the_head_as_if_it_had_not_moved() -> None:
    options = {"rotation_deg": 30.0, "shift_mm": 40.0, "seed": 3}
    left, followed = _scanner(**options), _scanner(**options, field_follows=True)
    still = _scanner(rotation_deg=0, shift_mm=0, seed=3)
    np.testing.assert_allclose(followed.pose, left.pose)
    # From voxels to head space: the same as of a head that lay still.
    np.testing.assert_allclose(
        np.linalg.inv(followed.pose) @ followed.affine, np.linalg.inv(still.pose) @ still.affine, atol=1e-9
    )
    assert np.abs(left.pose - still.pose).max() > 5


@pytest.mark.parametrize("seed", range(4))  # orientations of the axes differ
@pytest.mark.parametrize(("side", "axis", "way"), [("top", 2, 1), ("bottom", 2, -1), ("left", 0, -1), ("right", 0, 1)])
def test_a_scan_of_a_part_lies_on_its_side_of_the_head(seed: int, side: str, axis: int, way: int) -> None:
    whole = _scanner("T2w", seed)
    part = _scanner("T2w", seed, coverage={"T2w": {"kept": 0.5, "side": side}})
    middles = [plan.affine @ [*((np.array(plan.shape) - 1) / 2), 1] for plan in (whole, part)]
    extent = np.array(whole.shape) * np.linalg.norm(whole.affine[:3, :3], axis=0)
    # Half of the field of view: its middle lies a quarter of it further.
    assert way * (middles[1] - middles[0])[axis] == pytest.approx(extent[axis] / 4, rel=0.1)
    assert part.shape[axis] == round(whole.shape[axis] / 2)
    np.testing.assert_array_equal(part.pose, whole.pose)


def test_a_slab_in_the_middle() -> None:
    whole, slab = _scanner("APTw"), _scanner("APTw", coverage={"APTw": {"kept": 0.4, "side": "middle"}})
    middles = [plan.affine @ [*((np.array(plan.shape) - 1) / 2), 1] for plan in (whole, slab)]
    np.testing.assert_allclose(middles[0], middles[1], atol=np.linalg.norm(whole.affine[:3, 2]))
    assert slab.shape[2] == round(0.4 * whole.shape[2])


def test_a_part_is_cut_out_of_what_the_whole_scan_shows() -> None:
    frame = head_frame(4.0)
    x, y, z = frame.axes()
    image = (np.sin(x / 20) + np.cos(y / 15) + z / 50).astype(np.float32)
    whole = _scanner("T2w", 2)
    top = _scanner("T2w", 2, coverage={"T2w": {"kept": 0.5, "side": "top"}})
    np.testing.assert_allclose(
        acquire(image, frame, top), acquire(image, frame, whole)[:, :, -top.shape[2] :], atol=1e-3
    )


def test_sequences_not_named_are_whole() -> None:
    assert _scanner("T1w", coverage={"T2w": {"kept": 0.5}}).shape == _scanner("T1w").shape
