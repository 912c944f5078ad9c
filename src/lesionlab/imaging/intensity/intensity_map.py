"""A mapping of intensities as data: found on one grid, applied on any."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from lesionlab.imaging.volume import Volume


class IntensityMap(BaseModel):
    """Monotone and piecewise linear, clipped, with one value for all that is not brain. ``model_dump()`` is JSON.

    Two knots make an affine map.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    knots: tuple[float, ...] = Field(min_length=2, description="intensities as they come, strictly ascending")
    values: tuple[float, ...] = Field(description="what each becomes, ascending; the outer pieces are prolonged")
    limits: tuple[float, float] | None = Field(None, description="what the brain's values are clipped to; null: none")
    floor: float | None = Field(None, description="least value in the brain, so that none has the background's")
    background: float = Field(0.0, description="outside the brain")

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if len(self.knots) != len(self.values):
            raise ValueError(f"{len(self.knots)} knots with {len(self.values)} values; give one value per knot")
        if not (np.diff(self.knots) > 0).all() or not (np.diff(self.values) >= 0).all():
            raise ValueError(f"knots {self.knots} and values {self.values} are to ascend, the knots strictly")
        return self

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Intensities of brain voxels, any shape, on the new scale; float64."""
        mapped = self._mapped(values)
        if self.limits is not None:
            mapped = np.clip(mapped, *self.limits)
        return mapped if self.floor is None else np.maximum(mapped, self.floor)

    def apply_to(self, volume: Volume, mask: Volume) -> Volume:
        """A volume on the new scale where the mask is above 0, ``background`` elsewhere; float32."""
        inside = mask.data > 0
        data = np.full(volume.shape, self.background, dtype=np.float32)
        data[inside] = self.apply(volume.data[inside])
        return volume.like(data)

    def clipped_fraction(self, values: np.ndarray) -> float:
        """Share of intensities that the limits change; 0 for none."""
        if self.limits is None or values.size == 0:
            return 0.0
        mapped = self._mapped(values)
        return float(((mapped < self.limits[0]) | (mapped > self.limits[1])).mean())

    def _mapped(self, values: np.ndarray) -> np.ndarray:
        knots, scale = np.asarray(self.knots), np.asarray(self.values)
        values = np.asarray(values, dtype=np.float64)
        mapped = np.interp(values, knots, scale)
        for beyond, end, inner in ((values < knots[0], 0, 1), (values > knots[-1], -1, -2)):
            slope = (scale[end] - scale[inner]) / (knots[end] - knots[inner])
            mapped[beyond] = scale[end] + slope * (values[beyond] - knots[end])
        return mapped


def affine_map(
    gain: float, offset: float, limits: tuple[float, float] | None, background: float, floor: float | None = None
) -> IntensityMap:
    """``gain * (v - offset)``, as a map; ``gain`` above 0."""
    return IntensityMap(
        knots=(offset, offset + 1 / gain), values=(0.0, 1.0), limits=limits, floor=floor, background=background
    )
