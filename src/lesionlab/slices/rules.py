"""Which planes of a study become slices, and to which domain each belongs."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from lesionlab.errors import InputError

Domain = Literal["healthy", "pathological", "discarded"]


class SliceRules(BaseModel):
    """Which planes become slices, and which domain each slice belongs to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    planes: Literal["all", "middle", "range", "brain"] = Field(
        "brain",
        description="all: every plane; middle: the `count` planes in the middle of the volume; range: `first` to "
        "`last`; brain: from the lowest to the highest plane with brain, or the `count` in their middle",
    )
    count: int | None = Field(None, ge=1, description="planes kept by `middle` and, if given, `brain`")
    first: int | None = Field(None, ge=0, description="first plane of `range`, counted from 0 at the feet")
    last: int | None = Field(None, ge=0, description="last plane of `range`, itself included")
    step: int = Field(1, ge=1, description="of the planes so chosen, every step-th is kept")
    min_brain_fraction: float = Field(
        0.0, ge=0.0, le=1.0, description="least brain area of a plane, as a fraction of the subject's largest plane"
    )
    healthy_max_lesion_pixels: int = Field(0, ge=0, description="a healthy slice has at most so many lesion pixels")
    pathological_min_lesion_pixels: int = Field(1, ge=1, description="a pathological slice has at least so many")
    keep_discarded: bool = Field(True, description="keep slices between the two, marked `discarded`, for whole heads")
    value_range: tuple[float, float] = Field(
        (0.0, 1.0), description="standardized intensities mapped to -1 and 1; values outside are clipped"
    )

    @model_validator(mode="after")
    def _consistent(self) -> SliceRules:
        if self.planes == "middle" and self.count is None:
            raise ValueError("planes: middle needs `count`, the number of planes")
        if self.planes == "range" and (self.first is None or self.last is None or self.first > self.last):
            raise ValueError("planes: range needs `first` and `last`, with first <= last")
        if self.pathological_min_lesion_pixels <= self.healthy_max_lesion_pixels:
            raise ValueError("pathological_min_lesion_pixels must exceed healthy_max_lesion_pixels")
        if self.value_range[0] >= self.value_range[1]:
            raise ValueError("value_range is (low, high) with low < high")
        return self


def select_planes(labels: np.ndarray, rules: SliceRules) -> list[int]:
    """The planes the rules choose from a label map ``(X, Y, Z)``, ascending.

    Raises:
        InputError: a plane of `range` lies outside the volume.
    """
    areas = np.count_nonzero(labels, axis=(0, 1))
    chosen = _candidates(areas, rules)[:: rules.step]
    least = rules.min_brain_fraction * areas.max(initial=0)
    return [k for k in chosen if areas[k] >= least]


def _candidates(areas: np.ndarray, rules: SliceRules) -> list[int]:
    planes = list(range(len(areas)))
    if rules.planes == "range":
        first, last = rules.first or 0, rules.last or 0
        if last >= len(areas):
            raise InputError(
                "the slice rule asks for planes the volume does not have",
                given=f"planes {first} to {last}",
                allowed=f"0 to {len(areas) - 1}",
                cure="change slices.first and slices.last, or use planes: middle",
            )
        return planes[first : last + 1]
    if rules.planes == "brain":
        planes = _extent(areas)
    if rules.planes == "all" or rules.count is None:
        return planes
    start = max(0, (len(planes) - rules.count) // 2)
    return planes[start : start + rules.count]


def _extent(areas: np.ndarray) -> list[int]:
    occupied = np.flatnonzero(areas)
    return list(range(occupied[0], occupied[-1] + 1)) if len(occupied) else []


def domain(lesion_pixels: int, rules: SliceRules) -> Domain:
    """The domain of a slice with so many lesion pixels."""
    if lesion_pixels <= rules.healthy_max_lesion_pixels:
        return "healthy"
    return "pathological" if lesion_pixels >= rules.pathological_min_lesion_pixels else "discarded"
