"""Conventional augmentation of whole batches on their device: flips, rotation, scaling, elastic and intensity changes.

A gain from synthetic slices that this gives as well is none (SAMR, abstract: flipping, scaling, rotation, distortion).
Everything is drawn from torch's global generator of the batch's device, for all slices at once: no loop, no wait for
the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from lesionlab.slices.batches import Batch
from lesionlab.slices.cutting import BACKGROUND, IMAGE_BACKGROUND


class ConventionalOptions(BaseModel):
    """How likely and how strong each change is; each is drawn anew for each slice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    flip_probability: float = Field(0.5, ge=0, le=1, description="left and right swapped")
    rotate_probability: float = Field(0.5, ge=0, le=1)
    rotate_degrees: float = Field(15.0, ge=0, le=180, description="about the picture's centre, uniform in +- this")
    scale_probability: float = Field(0.5, ge=0, le=1)
    scale_strength: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="zoom about the centre, between 1/(1 + this) and 1 + this, uniform in its logarithm",
    )
    elastic_probability: float = Field(0.5, ge=0, le=1)
    elastic_spacing: float = Field(
        0.125, gt=0, le=0.5, description="distance of the control points, as a share of the picture's longer side"
    )
    elastic_strength: float = Field(
        0.15,
        ge=0,
        le=0.3,
        description="standard deviation of the control points' shifts, in distances between them; larger ones fold",
    )
    intensity_probability: float = Field(0.5, ge=0, le=1, description="for each sequence of each slice")
    intensity_gain: float = Field(0.1, ge=0, lt=1, description="factor within the brain, uniform in 1 +- this")
    intensity_shift: float = Field(
        0.05, ge=0, lt=1, description="added within the brain, uniform in +- this; black is 0, white 1"
    )
    intensity_gamma: float = Field(
        0.2, ge=0, lt=1, description="exponent, between 1/(1 + this) and 1 + this, uniform in its logarithm"
    )

    @property
    def deforms(self) -> bool:
        """Whether any slice can be rotated, scaled or deformed."""
        return self._rotates or self._scales or self._bends

    @property
    def _rotates(self) -> bool:
        return self.rotate_probability > 0 and self.rotate_degrees > 0

    @property
    def _scales(self) -> bool:
        return self.scale_probability > 0 and self.scale_strength > 0

    @property
    def _bends(self) -> bool:
        return self.elastic_probability > 0 and self.elastic_strength > 0

    @property
    def recolours(self) -> bool:
        """Whether any slice's intensities can change."""
        return self.intensity_probability > 0 and max(
            self.intensity_gain, self.intensity_shift, self.intensity_gamma
        ) > 0  # fmt: skip


def augmenter(**options: Any) -> Callable[[Batch], Batch]:
    """:func:`augment` with these options, for a training that makes it where it is used."""
    return partial(augment, options=ConventionalOptions(**options))


def augment(batch: Batch, options: ConventionalOptions) -> Batch:
    """Each slice of a batch changed at random, in the order flip, deformation, intensities.

    All fields of a slice are moved by one field: bilinear, labels nearest. What comes from outside the picture is
    background (images and atlas -1, labels and tissues 0), and so is the image wherever the label is background, as in
    real slices. Intensities change in images alone, within the brain: where the label is not background, or, without
    labels, where a sequence is above the background. A slice that nothing was drawn for stays as it is, bit for bit.

    Args:
        batch: see `Batch`; it is not written to. Fewer fields take less time.
        options: probabilities and strengths.

    Returns:
        A batch of the same fields, shapes and types.
    """
    if options.flip_probability > 0:
        batch = _flip(batch, options.flip_probability)
    if options.deforms:
        batch = _deform(batch, options)
    if options.recolours and "images" in batch.fields:
        batch = batch.replace(images=_recolour(batch.images, _brain(batch), options))
    return batch


def _brain(batch: Batch) -> Tensor:
    """Where a slice is brain, ``(N, H, W)`` bool."""
    if "labels" in batch.fields:
        return batch.labels > BACKGROUND
    return (batch.images > IMAGE_BACKGROUND).any(dim=1)


def _plane(batch: Batch) -> Tensor:
    """``(N, H, W)``, of any type: how many slices there are, how large, and on which device."""
    one = next(iter(batch.tensors.values()))
    return one if one.ndim == 3 else one[:, 0]


def _flip(batch: Batch, probability: float) -> Batch:
    chosen = _chosen(_plane(batch), probability)
    return batch.map(lambda part: _where(chosen, part.flip(-1), part))


def _deform(batch: Batch, options: ConventionalOptions) -> Batch:
    grid, moved = _field(_plane(batch), options)
    pulled, fields = _pull(batch, grid), batch.tensors
    if {"images", "labels"} <= set(fields):
        outside = (pulled["labels"] == BACKGROUND).unsqueeze(1)
        pulled["images"] = pulled["images"].masked_fill(outside, IMAGE_BACKGROUND)
    return Batch(**{name: _where(moved, pulled[name], fields[name]) for name in fields})


def _pull(batch: Batch, grid: Tensor) -> dict[str, Tensor]:
    """Every field at the places of a grid: what lies outside the picture is background."""
    # Counted from the background, what lies outside the picture is 0 for all of them.
    lowest = {"images": IMAGE_BACKGROUND, "atlas": IMAGE_BACKGROUND, "tissues": 0.0}
    smooth = {name: tensor for name, tensor in batch.tensors.items() if name in lowest}
    pulled: dict[str, Tensor] = {}
    if smooth:
        raised = torch.cat([tensor - lowest[name] for name, tensor in smooth.items()], dim=1)
        moved = functional.grid_sample(raised, grid.to(raised.dtype), mode="bilinear", align_corners=False)
        parts = moved.split([tensor.shape[1] for tensor in smooth.values()], dim=1)
        pulled = {name: part + lowest[name] for name, part in zip(smooth, parts, strict=True)}
    if "labels" in batch.fields:
        codes = batch.labels.unsqueeze(1).float()
        codes = functional.grid_sample(codes, grid, mode="nearest", align_corners=False)
        pulled["labels"] = codes.squeeze(1).to(batch.labels.dtype)
    return pulled


def _field(labels: Tensor, options: ConventionalOptions) -> tuple[Tensor, Tensor]:
    """Where each pixel comes from, ``(N, H, W, 2)`` in grid_sample's units, and which slices move at all, ``(N,)``."""
    count, height, width = labels.shape
    angle, turned = _drawn(labels, options.rotate_probability, math.radians(options.rotate_degrees))
    log_zoom, zoomed = _drawn(labels, options.scale_probability, math.log1p(options.scale_strength))
    cosine, sine = torch.cos(angle) * torch.exp(-log_zoom), torch.sin(angle) * torch.exp(-log_zoom)
    nothing = torch.zeros_like(angle)
    # The units differ along the two axes of a picture that is not square.
    rows = [cosine, -sine * (height / width), nothing, sine * (width / height), cosine, nothing]
    grid = functional.affine_grid(
        torch.stack(rows, dim=1).view(count, 2, 3), [count, 1, height, width], align_corners=False
    )
    moved = turned | zoomed
    if options._bends:
        bent = _chosen(labels, options.elastic_probability)
        grid = grid + _bending(labels, options) * bent.view(-1, 1, 1, 1)
        moved = moved | bent
    return grid, moved


def _bending(labels: Tensor, options: ConventionalOptions) -> Tensor:
    """A smooth random displacement ``(N, H, W, 2)`` in grid_sample's units."""
    count, height, width = labels.shape
    spacing = options.elastic_spacing * max(height, width)  # pixels
    points = [math.ceil(side / spacing) + 1 for side in (height, width)]
    shifts = torch.randn(count, 2, *points, device=labels.device) * (options.elastic_strength * spacing)
    smooth = functional.interpolate(shifts, size=(height, width), mode="bicubic", align_corners=True)
    return torch.stack([smooth[:, 0] * (2 / width), smooth[:, 1] * (2 / height)], dim=-1)


def _recolour(images: Tensor, brain: Tensor, options: ConventionalOptions) -> Tensor:
    """Gain, shift and gamma of each sequence within the brain."""
    shape, device = (*images.shape[:2], 1, 1), images.device

    def spread(strength: float) -> Tensor:
        return (2 * torch.rand(shape, device=device) - 1) * strength

    gain, shift = 1 + spread(options.intensity_gain), spread(options.intensity_shift)
    gamma = torch.exp(spread(math.log1p(options.intensity_gamma)))
    chosen = torch.rand(shape, device=device) < options.intensity_probability
    light = ((images - IMAGE_BACKGROUND) / 2).clamp(0, 1)
    changed = 2 * (gain * light**gamma + shift).clamp(0, 1) + IMAGE_BACKGROUND
    return torch.where(chosen & brain.unsqueeze(1), changed.to(images.dtype), images)


def _drawn(labels: Tensor, probability: float, strength: float) -> tuple[Tensor, Tensor]:
    """A number in +- strength for each slice, 0 for those not chosen, and which are."""
    chosen = _chosen(labels, probability if strength > 0 else 0.0)
    return (2 * torch.rand(len(labels), device=labels.device) - 1) * strength * chosen, chosen


def _chosen(labels: Tensor, probability: float) -> Tensor:
    return torch.rand(len(labels), device=labels.device) < probability


def _where(chosen: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """``one`` for the chosen slices, ``other`` for the rest."""
    return torch.where(chosen.view(-1, *[1] * (other.ndim - 1)), one, other)
