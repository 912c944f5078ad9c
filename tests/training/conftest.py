"""A tiny method, slices and options that the loop's tests share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from lesionlab.methods.base import Method, Task
from lesionlab.methods.registry import make_method
from lesionlab.slices.batches import Slices
from lesionlab.training.options import TrainingOptions

TASK = Task(sequences=("T1w", "FLAIR"), lesion_classes=("edema", "tumor"))
CGSAMR = {
    "generator": {"width": 2, "downs": 2, "encoder_blocks": 1, "decoder_blocks": 1},
    "discriminator": {"width": 2},
    "unet": {"width": 2, "depth": 2, "dropout": 0.3},  # draws random numbers in every step
}


@pytest.fixture
def slices() -> Slices:
    """Seven slices of 16 x 16."""
    draw = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 4, (7, 4, 4), generator=draw).repeat_interleave(4, 1).repeat_interleave(4, 2)
    images = torch.rand(7, 2, 16, 16, generator=draw) * 2 - 1
    return Slices(images, labels.to(torch.uint8), torch.rand(7, 6, 16, 16, generator=draw), torch.zeros(7, 3, 16, 16))


@pytest.fixture
def fresh() -> Callable[..., Method]:
    """Builds the same untrained CG-SAMR for the same seed."""
    return lambda seed=0: make_method("cgsamr", CGSAMR, TASK, seed)


@pytest.fixture
def options() -> TrainingOptions:
    """Six steps of three slices, three at the full rate."""
    return TrainingOptions(
        constant=3,
        decay=3,
        unit="steps",
        batch_size=3,
        device="cpu",
        threads=1,
        log_every=2,
        checkpoint_every=3,
        image_moments=(),
    )
