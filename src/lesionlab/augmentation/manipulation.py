"""New lesions from old ones: label maps mirrored, enlarged, shrunk or swapped (SAMR, Fig. 3; CG-SAMR, Fig. 7).

The papers show the results and not the procedure; this one is ours (docs/decisions.md), and so is the kind
``mixture``, which no figure shows: the core of another patient's lesion within the outline of the plane's own. Whatever
the kind, the new map has the target's brain, unchanged: lesion pixels outside it are dropped, and what the old lesion
leaves is normal brain. Where classes meet, the one that comes first in the precedence wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from lesionlab.augmentation import lesion_geometry as geometry
from lesionlab.slices.cutting import FIRST_LESION, NORMAL_BRAIN

Kind = Literal["mirror", "enlarge", "shrink", "swap", "mixture"]
UNCHANGED = "original"  # the kind recorded where no manipulation succeeded


class ManipulationOptions(BaseModel):
    """How lesions are manipulated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kinds: dict[Kind, float] = Field(
        default={"mirror": 1.0, "enlarge": 1.0, "shrink": 1.0, "swap": 1.0},
        description="weights of the kinds; they need not sum to 1; 0 leaves one out, and so does absence",
    )
    precedence: tuple[str, ...] | None = Field(
        None, description="lesion classes, the one that wins first; default: the configured classes from last to first"
    )
    scaled_class: str | None = Field(
        None, description="the class whose area enlarge and shrink change; default: the first of the precedence"
    )
    enlarge_factor: float = Field(2.0, gt=1, description="area of the scaled class, after over before: +100 %")
    shrink_factor: float = Field(0.5, gt=0, lt=1, description="area of the scaled class, after over before: to 50 %")
    tolerance: float = Field(0.15, gt=0, description="accepted relative error of that area")
    max_clipped_fraction: float = Field(
        0.25, ge=0, le=1, description="of a moved lesion or core, how much may be cut off"
    )
    min_lesion_pixels: int = Field(1, ge=1, description="least lesion pixels of a result")
    max_brain_ratio: float = Field(
        1.5,
        ge=1,
        description="swap and mixture prefer donors whose brain here is at most so many times larger or smaller",
    )
    max_tries: int = Field(8, ge=1, description="draws before the map is left as it is")

    @model_validator(mode="after")
    def _some_kind(self) -> ManipulationOptions:
        if min(self.kinds.values(), default=0) < 0 or sum(self.kinds.values()) <= 0:
            raise ValueError("kinds needs weights >= 0, at least one of them > 0")
        return self


class Donor(NamedTuple):
    """A label map whose lesion another plane may receive."""

    labels: np.ndarray
    subject: str
    study: str
    plane: int


class Attempt(NamedTuple):
    """What one manipulation gave: the lesion on the target's grid before clipping, and what to record."""

    lesion: np.ndarray
    details: dict[str, Any]


class Order(NamedTuple):
    """Codes of the lesion classes by precedence.

    Attributes:
        codes: strongest first.
        core: the codes that are scaled and moved as one body (all but the outermost class).
        ring: the code of the outermost class, which gives way to the core; None where there is one class only.
        scaled: the code whose area is prescribed.
    """

    codes: tuple[int, ...]
    core: tuple[int, ...]
    ring: int | None
    scaled: int


def order_of(classes: Sequence[str], options: ManipulationOptions) -> Order:
    """The order of the configured classes.

    Raises:
        ValueError: precedence or scaled_class name other classes than the configured ones.
    """
    names = tuple(reversed(classes)) if options.precedence is None else options.precedence
    if sorted(names) != sorted(classes):
        raise ValueError(f"manipulation.precedence {list(names)} must order the lesion classes {list(classes)}")
    scaled = options.scaled_class or names[0]
    if scaled not in classes:
        raise ValueError(f"manipulation.scaled_class {scaled!r} is no lesion class; allowed: {list(classes)}")
    codes = tuple(FIRST_LESION + list(classes).index(name) for name in names)
    core, ring = (codes[:-1], codes[-1]) if len(codes) > 1 else (codes, None)
    code = FIRST_LESION + list(classes).index(scaled)
    return Order(codes, core, ring, code) if code in core else Order(codes, codes, None, code)


def manipulate(
    labels: np.ndarray,
    donors: Sequence[Donor],
    rng: np.random.Generator,
    classes: Sequence[str],
    options: ManipulationOptions,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Give a plane a new lesion.

    Args:
        labels: ``(H, W)`` uint8 label map, radiological or neurological.
        donors: planes of other subjects; swap and mixture are left out where there is none.
        rng: the only source of chance: same generator state, same result.
        classes: lesion classes in the order of their codes 2...
        options: kinds, factors, limits.

    Returns:
        A label map ``(H, W)`` uint8 with the same brain, and a JSON-able record: kind, tries, donor (study and plane,
        or None), clipped (pixels dropped), area_before and area_after (pixels per class), for enlarge and shrink also
        factor (asked), achieved (measured), tolerance and zoom, for mixture core (pixels kept) and core_cut (pixels
        outside the lesion's outline, dropped), for mirror midline_column. Where no draw gives a valid map, the map is
        returned as it was, with kind ``original`` and the reasons under ``refused``.
    """
    order = order_of(classes, options)
    weights = _weights(labels, donors, order, options)
    refused: list[str] = []
    while weights and len(refused) < options.max_tries:
        kinds = sorted(weights)
        share = np.array([weights[k] for k in kinds])
        kind = kinds[int(rng.choice(len(kinds), p=share / share.sum()))]
        attempt = _KINDS[kind](labels, donors, rng, order, options)
        result, clipped = clip(attempt.lesion, labels)
        fault = _fault(labels, result, clipped, attempt, options)
        if fault is None:
            record = {"kind": kind, "donor": None, **attempt.details, "clipped": clipped}
            return result, _with_areas(record, labels, result, classes, refused)
        refused.append(f"{kind}: {fault}")
        if kind not in _FROM_DONORS:  # the others would give the same again
            del weights[kind]
    record = {"kind": UNCHANGED, "donor": None, "clipped": 0}
    return labels.copy(), _with_areas(record, labels, labels, classes, refused)


def clip(lesion: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, int]:
    """Put a lesion (codes 2.., else 0) into a target's brain, in place of its own; returns map and dropped pixels."""
    brain, diseased = target >= NORMAL_BRAIN, lesion >= FIRST_LESION
    result = brain.astype(np.uint8) * np.uint8(NORMAL_BRAIN)
    result[brain & diseased] = lesion[brain & diseased]
    return result, int(np.count_nonzero(diseased & ~brain))


def _weights(
    labels: np.ndarray, donors: Sequence[Donor], order: Order, options: ManipulationOptions
) -> dict[str, float]:
    """Weights of the kinds that can be done at all with this map."""
    possible: dict[str, bool] = {
        "mirror": bool((labels >= FIRST_LESION).any()),
        "enlarge": bool((labels == order.scaled).any()),
        "shrink": bool((labels == order.scaled).any()),
        "swap": bool(donors),
        "mixture": bool(donors) and order.ring is not None and bool((labels >= FIRST_LESION).any()),
    }
    return {kind: weight for kind, weight in options.kinds.items() if weight > 0 and possible[kind]}


def _mirror(
    labels: np.ndarray, donors: Sequence[Donor], rng: np.random.Generator, order: Order, options: ManipulationOptions
) -> Attempt:
    twice = geometry.midline_twice(labels >= NORMAL_BRAIN)
    return Attempt(geometry.mirror(_lesion(labels), twice), {"midline_column": twice / 2})


def _scale(labels: np.ndarray, order: Order, factor: float, options: ManipulationOptions) -> Attempt:
    brain = labels >= NORMAL_BRAIN
    wanted = max(1, round(factor * int(np.count_nonzero(labels == order.scaled))))
    core, zoom = geometry.scale_core(labels, brain, order.core, order.scaled, wanted, options.tolerance)
    lesion = core
    if order.ring is not None:
        lesion = geometry.follow_with_ring(labels, core, brain, order.core, order.ring, order.scaled)
    achieved = int(np.count_nonzero((lesion == order.scaled) & brain)) / int(np.count_nonzero(labels == order.scaled))
    details = {"factor": factor, "achieved": achieved, "tolerance": options.tolerance, "zoom": zoom}
    return Attempt(lesion, details)


def _enlarge(
    labels: np.ndarray, donors: Sequence[Donor], rng: np.random.Generator, order: Order, options: ManipulationOptions
) -> Attempt:
    return _scale(labels, order, options.enlarge_factor, options)


def _shrink(
    labels: np.ndarray, donors: Sequence[Donor], rng: np.random.Generator, order: Order, options: ManipulationOptions
) -> Attempt:
    return _scale(labels, order, options.shrink_factor, options)


def _swap(
    labels: np.ndarray, donors: Sequence[Donor], rng: np.random.Generator, order: Order, options: ManipulationOptions
) -> Attempt:
    donor = _choose(labels, donors, rng, options)
    return Attempt(_fitted(donor, labels), {"donor": _named(donor)})


def _mixture(
    labels: np.ndarray, donors: Sequence[Donor], rng: np.random.Generator, order: Order, options: ManipulationOptions
) -> Attempt:
    """The plane's own lesion keeps its outline and becomes all ring; the donor's core is laid into it."""
    donor = _choose(labels, donors, rng, options)
    fitted, outline = _fitted(donor, labels), labels >= FIRST_LESION
    core = geometry.centred_in(np.where(np.isin(fitted, order.core), fitted, 0), outline)
    kept = outline & (core > 0)
    lesion = np.where(kept, core, np.where(outline, order.ring or 0, 0)).astype(np.uint8)
    whole = int(np.count_nonzero(np.isin(fitted, order.core)))
    inside = int(np.count_nonzero(kept))
    return Attempt(lesion, {"donor": _named(donor), "core": inside, "core_cut": whole - inside})


def _fitted(donor: Donor, labels: np.ndarray) -> np.ndarray:
    """The donor's lesion at the same place of the target's brain."""
    return geometry.transplant(_lesion(donor.labels), donor.labels >= NORMAL_BRAIN, labels >= NORMAL_BRAIN)


def _named(donor: Donor) -> dict[str, Any]:
    return {"subject": donor.subject, "study": donor.study, "plane": int(donor.plane)}


def _choose(
    labels: np.ndarray, donors: Sequence[Donor], rng: np.random.Generator, options: ManipulationOptions
) -> Donor:
    own = max(1, int(np.count_nonzero(labels)))
    ratios = np.array([int(np.count_nonzero(donor.labels)) / own for donor in donors])
    alike = np.flatnonzero((ratios <= options.max_brain_ratio) & (ratios >= 1 / options.max_brain_ratio))
    places = alike if len(alike) else np.arange(len(donors))
    return donors[int(rng.choice(places))]


_Manipulation = Callable[[np.ndarray, Sequence[Donor], np.random.Generator, Order, ManipulationOptions], Attempt]
_KINDS: Mapping[str, _Manipulation] = {
    "mirror": _mirror,
    "enlarge": _enlarge,
    "shrink": _shrink,
    "swap": _swap,
    "mixture": _mixture,
}
_FROM_DONORS = ("swap", "mixture")  # another draw may take another donor


def _fault(
    before: np.ndarray, after: np.ndarray, clipped: int, attempt: Attempt, options: ManipulationOptions
) -> str | None:
    """Why a result is refused, or None."""
    pixels = int(np.count_nonzero(after >= FIRST_LESION))
    if pixels < options.min_lesion_pixels:
        return f"{pixels} lesion pixels left"
    if clipped > options.max_clipped_fraction * (pixels + clipped):
        return f"{clipped} of {pixels + clipped} lesion pixels outside the brain"
    core, cut = attempt.details.get("core", 1), attempt.details.get("core_cut", 0)
    if core == 0:
        return "the donor has no core, or none of it lies within the lesion"
    if cut > options.max_clipped_fraction * (core + cut):
        return f"{cut} of {core + cut} pixels of the donor's core outside the lesion"
    factor, achieved = attempt.details.get("factor"), attempt.details.get("achieved")
    if factor is not None and abs(achieved / factor - 1) > options.tolerance:
        return f"area times {achieved:.2f} instead of {factor:.2f}"
    return "nothing changed" if np.array_equal(before, after) else None


def _lesion(labels: np.ndarray) -> np.ndarray:
    return np.where(labels >= FIRST_LESION, labels, 0).astype(np.uint8)


def _with_areas(
    record: dict[str, Any], before: np.ndarray, after: np.ndarray, classes: Sequence[str], refused: list[str]
) -> dict[str, Any]:
    def areas(labels: np.ndarray) -> dict[str, int]:
        return {name: int(np.count_nonzero(labels == code)) for code, name in enumerate(classes, start=FIRST_LESION)}

    tries = len(refused) + (record["kind"] != UNCHANGED)
    return {**record, "area_before": areas(before), "area_after": areas(after), "tries": tries, "refused": refused}
