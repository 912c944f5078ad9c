"""Tiny options, task and batch that every method's tests share."""

from __future__ import annotations

import pytest
import torch

from lesionlab.methods.base import Task
from lesionlab.slices.batches import Batch

CGSAMR = {
    "generator": {"width": 2, "downs": 2, "encoder_blocks": 1, "decoder_blocks": 1, "norm": "instance"},
    "discriminator": {"width": 2, "norm": "instance"},
    "unet": {"width": 2, "depth": 2},
}


@pytest.fixture
def task() -> Task:
    return Task(sequences=("T1w", "FLAIR"), lesion_classes=("edema", "tumor"))


@pytest.fixture
def small() -> dict:
    """Options of a CG-SAMR that takes milliseconds."""
    return CGSAMR


@pytest.fixture
def batch() -> Batch:
    """Two slices of 32 x 16, two sequences, all four labels; in the first sequence lesions are bright."""
    draw = torch.Generator().manual_seed(1)
    labels = torch.zeros(2, 32, 16, dtype=torch.int64)
    labels[:, 4:28, 2:14] = 1
    labels[0, 8:16, 4:10] = 2
    labels[0, 10:14, 5:8] = 3
    labels[1, 18:24, 4:12] = 3
    base = torch.tensor([[-1.0, -0.2, 0.3, 0.8], [-1.0, 0.5, 0.1, -0.6]])[:, labels].transpose(0, 1)
    images = (base + 0.05 * torch.randn(2, 2, 32, 16, generator=draw)).clamp(-1, 1)
    atlas = torch.rand(2, 6, 32, 16, generator=draw) * 2 - 1
    return Batch(images=images, labels=labels, atlas=atlas, tissues=torch.rand(2, 3, 32, 16, generator=draw))
