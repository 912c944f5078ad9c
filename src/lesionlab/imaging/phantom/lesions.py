"""Gliomas: where they lie, how they push, and their three nested classes as soft level sets in head space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from lesionlab.imaging.phantom.anatomy import Head
from lesionlab.imaging.phantom.fields import Frame, ramp, sigmoid, smooth, smooth_noise
from lesionlab.imaging.phantom.options import PhantomOptions

Kind = Literal["necrotic", "solid", "resected"]
KINDS: tuple[Kind, ...] = ("necrotic", "solid", "resected")
KIND_ODDS = (0.6, 0.2, 0.2)

LARGE_MM, SMALL_MM = (13.0, 23.0), (6.5, 10.0)  # radius of tumor with cavity
SATELLITE_SHARE = (0.35, 0.65)  # of the first lesion's radius
SATELLITE_AWAY_MM = (28.0, 60.0)
MOST_LESIONS = 3
EDEMA_MM = (7.0, 24.0)  # how far edema spreads in white matter
FAINT_ODDS = 0.12  # tumors that hardly enhance
EDGE_MM = 0.8  # softness of the borders
PUSH_SHARE = (0.2, 0.5)  # displacement at the tumor's edge over its radius
PUSH_REACH_MM = 45.0  # beyond the tumor's edge, nothing moves from here on
SPREAD_COST = {"wm": 1.0, "gm": 3.6, "csf": 8.0}  # of edema's way through a tissue
BLOCKED = 50.0


@dataclass(frozen=True)
class Lesion:
    """One glioma's plan.

    Attributes:
        center: ``(3,)`` head space mm.
        radius: of tumor with cavity, mm.
        stretch: ``(3, 3)`` matrix from offsets to a rounder space.
        kind: with a necrotic core, solid with small cysts, or with a resection cavity.
        rim: thickness of the tumor around its cavity, part of the radius.
        edema: how far the edema spreads in white matter, mm.
        push: displacement at the tumor's edge, mm.
        enhancing: strength of contrast uptake, [0, 1].
    """

    center: np.ndarray
    radius: float
    stretch: np.ndarray
    kind: Kind
    rim: float
    edema: float
    push: float
    enhancing: float


def plan_lesions(head: Head, options: PhantomOptions, rng: np.random.Generator) -> list[Lesion]:
    """The lesions of a subject: one, or up to three, the first the largest."""
    small = rng.random() < options.small_share
    count = int(rng.integers(2, MOST_LESIONS + 1)) if rng.random() < options.several_share else 1
    weight = _where(head)
    radius = float(rng.uniform(*(SMALL_MM if small else LARGE_MM)))
    lesions = [_plan_one(_place(head.frame, weight, rng), radius, options, rng)]
    for _ in range(count - 1):
        away = _distance(head.frame, lesions[0].center)
        near = weight * (away > SATELLITE_AWAY_MM[0]) * (away < SATELLITE_AWAY_MM[1])
        size = max(4.0, radius * float(rng.uniform(*SATELLITE_SHARE)))
        if near.sum() > 0:
            lesions.append(_plan_one(_place(head.frame, near, rng), size, options, rng))
    return lesions


def _where(head: Head) -> np.ndarray:
    """Odds of a lesion's centre: cerebral white matter below the cortex, not brain stem or cerebellum."""
    x, y, z = head.frame.axes()
    zone = (z > -22) & (z < 62) & ((abs(x) > 16) | (z > 32)) & ~((z < -8) & (y < -35)) & (abs(x) > 8)
    depth = ramp(head.outside, -10, -17) * ramp(head.outside, -40, -30)
    return head.tissues["wm"] ** 2 * depth * zone


def _place(frame: Frame, weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    odds = np.cumsum(weight.ravel(), dtype=np.float64)
    flat = int(np.searchsorted(odds, rng.random() * odds[-1]))
    return np.array(frame.origin) + frame.step * np.array(np.unravel_index(flat, frame.shape))


def _plan_one(center: np.ndarray, radius: float, options: PhantomOptions, rng: np.random.Generator) -> Lesion:
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    axes = np.exp(rng.uniform(-0.28, 0.28, 3))
    kind = KINDS[int(rng.choice(len(KINDS), p=KIND_ODDS))]
    rim = {"necrotic": rng.uniform(0.2, 0.5), "solid": rng.uniform(0.55, 0.8), "resected": rng.uniform(0.1, 0.2)}[kind]
    push = 0.1 if kind == "resected" else rng.uniform(*PUSH_SHARE)
    enhancing = rng.uniform(0.05, 0.25) if rng.random() < FAINT_ODDS else rng.uniform(0.65, 1.0)
    return Lesion(
        center=center,
        radius=radius,
        stretch=turn @ np.diag(axes / np.prod(axes) ** (1 / 3)) @ turn.T,
        kind=kind,
        rim=float(rim),
        edema=float(rng.uniform(*EDEMA_MM) * min(1.0, 0.45 + radius / 28)),
        push=float(push * radius * options.mass_effect),
        enhancing=float(enhancing),
    )


def _distance(frame: Frame, center: np.ndarray) -> np.ndarray:
    x, y, z = (a - np.float32(c) for a, c in zip(frame.axes(), center, strict=True))
    return np.sqrt(x * x + y * y + z * z)


def push_aside(head: Head, lesion: Lesion) -> Head:
    """The head with its brain displaced by a lesion's mass; outside ``PUSH_REACH_MM`` of it nothing changes."""
    box = head.frame.box(lesion.center, lesion.radius + PUSH_REACH_MM)
    part = head.frame.part(box)
    offset = [a - np.float32(c) for a, c in zip(part.axes(), lesion.center, strict=True)]
    away = np.sqrt(sum(o * o for o in offset)) + np.float32(1e-3)
    beyond = np.clip(1 - (away - lesion.radius) / PUSH_REACH_MM, 0, 1) ** 2
    amount = np.float32(lesion.push) * np.minimum(away / lesion.radius, beyond)
    amount *= ramp(head.outside[box], -1.0, -16.0)  # the skull holds
    source = np.stack(
        [i - (amount / away) * (o / part.step) for i, o in zip(np.indices(part.shape, np.float32), offset, strict=True)]
    )
    moves = amount > 1e-3
    at = source[:, moves]
    tissues = {name: _moved(image, box, moves, at) for name, image in head.tissues.items()}
    return Head(head.frame, tissues, _moved(head.residual, box, moves, at), head.texture, head.outside)


def _moved(image: np.ndarray, box: tuple[slice, slice, slice], moves: np.ndarray, at: np.ndarray) -> np.ndarray:
    out = image.copy()
    view = out[box]
    view[moves] = ndimage.map_coordinates(image[box], at, order=1, mode="nearest", output=np.float32)
    return out


def grow(head: Head, lesion: Lesion, rng: np.random.Generator) -> tuple[tuple[slice, ...], dict[str, np.ndarray]]:
    """A lesion's classes as fractions of the voxels of a box of the (displaced) head.

    Returns:
        The box, and within it edema, cavity and tumor, and ``enhancing`` and ``bleed``: float32, [0, 1];
        the three classes sum to at most 1 and are 0 outside the brain.
    """
    reach = lesion.radius * 1.8 + lesion.edema + 8
    box = head.frame.box(lesion.center, reach)
    part = head.frame.part(box)
    tissues = {name: head.tissues[name][box] for name in ("csf", "gm", "wm")}
    outside = head.outside[box]
    free = sigmoid(-(outside + 1.0) / EDGE_MM) * (1 - tissues["csf"] * ramp(outside, -16, -24))
    level = _core_level(part, lesion, outside, rng)
    core = sigmoid(level / EDGE_MM) * free
    cavity, tumor = _split_core(core, level, part, lesion, rng)
    edema = _edema(core, level, tissues, outside, part, lesion, rng) * (1 - cavity - tumor) * free
    uptake = np.clip(0.85 + 0.22 * smooth_noise(rng, part, 6.0) + 0.15 * smooth_noise(rng, part, 3.0), 0.3, 1.4)
    spots = sigmoid((smooth_noise(rng, part, 7.0) - 1.9) * 6) * tumor
    grown = {"edema": edema, "cavity": cavity, "tumor": tumor, "enhancing": lesion.enhancing * uptake, "bleed": spots}
    return box, {name: image.astype(np.float32) for name, image in grown.items()}


def _core_level(part: Frame, lesion: Lesion, outside: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Level set of tumor with cavity, about mm, positive inside: lobes with a rough border."""
    radius = np.float32(lesion.radius)
    level = np.full(part.shape, -np.inf, np.float32)
    lobes = [(np.zeros(3), 1.0)]
    for _ in range(int(rng.integers(0, 3))):
        lobes.append((rng.standard_normal(3) * 0.55 * lesion.radius, float(rng.uniform(0.45, 0.7))))
    for shift, share in lobes:
        offset = [a - np.float32(c) for a, c in zip(part.axes(), lesion.center + shift, strict=True)]
        round_ = [sum(np.float32(row[a]) * offset[a] for a in range(3)) for row in lesion.stretch]
        level = np.maximum(level, radius * np.float32(share) - np.sqrt(sum(r * r for r in round_)))
    rough = 0.16 * radius * smooth_noise(rng, part, max(5.0, lesion.radius * 0.7)) + 1.1 * smooth_noise(rng, part, 4.5)
    return smooth(level, 1.0) + rough.astype(np.float32)


def _split_core(
    core: np.ndarray, level: np.ndarray, part: Frame, lesion: Lesion, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cavity and tumor within the core: the rim's thickness varies, and a resection's rim is broken."""
    uneven = smooth_noise(rng, part, max(7.0, lesion.radius * 0.8))
    rim = lesion.rim * lesion.radius * np.exp(0.45 * uneven)
    inner = level - np.maximum(rim, 1.6) + 1.0 * smooth_noise(rng, part, 5.0)
    if lesion.kind == "solid":
        inner = np.maximum(inner, 4.0 * (smooth_noise(rng, part, 6.0) - 1.5) + np.minimum(level - 3.0, 0.0))
    cavity = sigmoid(inner / EDGE_MM) * core
    tumor = core - cavity
    if lesion.kind == "resected":
        tumor = tumor * sigmoid((uneven + 0.5) * 5)
    return cavity, tumor


def _edema(
    core: np.ndarray,
    level: np.ndarray,
    tissues: dict[str, np.ndarray],
    outside: np.ndarray,
    part: Frame,
    lesion: Lesion,
    rng: np.random.Generator,
) -> np.ndarray:
    """Edema as a front that travels fast in white matter, slowly in cortex, and hardly through water."""
    known = sum(tissues.values())
    cost = sum(np.float32(SPREAD_COST[name]) * share for name, share in tissues.items())
    cost = np.where((outside < -0.5) & (known > 0.3), cost, BLOCKED)
    cost = (cost * np.exp(0.45 * smooth_noise(rng, part, 9.0)) * part.step).astype(np.float32)
    left = np.where(core > 0.5, np.float32(lesion.edema), np.float32(-BLOCKED))
    cross = ndimage.generate_binary_structure(3, 1)
    for turn in range(int(1.3 * lesion.edema / part.step)):
        # Cubes and crosses in turn: fronts that are nearly round.
        near = ndimage.maximum_filter(left, size=3) if turn % 2 else ndimage.maximum_filter(left, footprint=cross)
        left = np.maximum(left, near - cost * (1.25 if turn % 2 else 1.0))
    left = smooth(np.maximum(left, -8.0), 0.8)
    fade = 1 - 0.8 * tissues["gm"] * ramp(outside, -22, -14)  # the cortex is spared
    return sigmoid(left / (1.6 * EDGE_MM)) * fade


def with_lesions(head: Head, options: PhantomOptions, rng: np.random.Generator) -> tuple[Head, list[Lesion]]:
    """The head with its lesions: displaced, then ``edema``, ``cavity``, ``tumor`` among its tissues.

    Two more maps divide the tumor: ``enhanced``, the part that takes up contrast (more than the tumor's fraction where
    uptake is strong), and ``bleed``; both are counted in ``tumor``.
    """
    lesions = plan_lesions(head, options, rng)
    ill = head
    for lesion in lesions:
        ill = push_aside(ill, lesion)
    tissues = {name: image.copy() for name, image in ill.tissues.items()}
    added = {name: np.zeros(head.frame.shape, np.float32) for name in ("edema", "cavity", "tumor", "enhanced", "bleed")}
    for lesion in lesions:
        box, grown = grow(ill, lesion, rng)
        _merge({name: image[box] for name, image in added.items()}, grown)
    taken = added["edema"] + added["cavity"] + added["tumor"]
    for image in tissues.values():
        image *= 1 - taken
    return Head(head.frame, tissues | added, ill.residual * (1 - taken), head.texture, head.outside), lesions


def _merge(added: dict[str, np.ndarray], grown: dict[str, np.ndarray]) -> None:
    """Add one lesion to those before it, in place: tumor and cavity displace what was there."""
    solid = grown["tumor"] + grown["cavity"]
    for name, image in added.items():
        image *= 1 - solid
        if name in ("tumor", "cavity"):
            image += grown[name]
    room = 1 - added["tumor"] - added["cavity"]
    added["edema"][...] = np.minimum(np.maximum(added["edema"], grown["edema"]), room)
    added["enhanced"] += grown["tumor"] * grown["enhancing"]
    added["bleed"] += grown["bleed"]
