"""The phantom's scanner: fiducials, bias, noise."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from lesionlab.imaging.phantom import PhantomOptions
from lesionlab.imaging.phantom.fields import Frame, smooth_noise
from lesionlab.imaging.phantom.scanner import Scanner, acquire, bias_field, expose, grid_points, plan_scan, rigid
from lesionlab.imaging.phantom.template import head_frame

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
