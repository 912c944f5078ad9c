"""Where a run computes: the device, its numerics, and the slices on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from lesionlab.data.batches import Slices
from lesionlab.errors import InputError
from lesionlab.training.options import TrainingOptions

if TYPE_CHECKING:
    from lightning.fabric import Fabric

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}
DEVICE_SHARE = 0.5  # of the device's free memory that slices may take


def open_device(options: TrainingOptions) -> Fabric:
    """Fabric on the device of the options; raises ``InputError`` for one that this machine has not."""
    from lightning.fabric import Fabric  # takes seconds to load, and most runs of the project train nothing

    try:
        return Fabric(accelerator=options.device, devices=1, precision=PRECISIONS[options.precision])  # type: ignore[arg-type]
    except (RuntimeError, ValueError, ImportError) as error:
        raise InputError(
            "there is no such device on this machine",
            given=f"training device {options.device}",
            allowed=", ".join(devices_here()),
            cure="choose one of these, or auto, which takes the fastest",
        ) from error


def devices_here() -> list[str]:
    """What `device` may be on this machine."""
    accelerators = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return ["auto", "cpu", *(name for name, there in accelerators.items() if there)]


def on_device(slices: Slices, device: torch.device) -> Slices:
    """The slices on the device where they fit beside the networks, else where they are."""
    tensors = (slices.images, slices.labels, slices.atlas, slices.tissues)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if sum(t.nbytes for t in tensors) > DEVICE_SHARE * free:
            return slices
    return Slices(*(t.to(device) for t in tensors))


@contextmanager
def lower_precision(fabric: Fabric) -> Iterator[None]:
    """Fabric's autocast, without its cache of converted weights.

    A training step updates networks several times; the cache would hand out weights from before an update.
    """
    cached = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        with fabric.autocast():
            yield
    finally:
        torch.set_autocast_cache_enabled(cached)
