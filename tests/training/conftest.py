"""A tiny method, slices and options that the loop's tests share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lesionlab.methods.base import Method, Task
from lesionlab.methods.registry import make_method
from lesionlab.slices.batches import Slices
from lesionlab.slices.cutting import StudySlices
from lesionlab.slices.mapped import Selection
from lesionlab.slices.store import SliceStore
from lesionlab.training.launch import Maker
from lesionlab.training.options import TrainingOptions

TASK = Task(sequences=("T1w", "FLAIR"), lesion_classes=("edema", "tumor"))
CGSAMR = {
    "generator": {"width": 2, "downs": 2, "encoder_blocks": 1, "decoder_blocks": 1},
    "discriminator": {"width": 2},
    "unet": {"width": 2, "depth": 2, "dropout": 0.3},  # draws random numbers in every step
}


@pytest.fixture
def slices() -> Slices:
    """Seven slices of 16 x 16, as synthesizers are given them."""
    draw = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 4, (7, 4, 4), generator=draw).repeat_interleave(4, 1).repeat_interleave(4, 2)
    images = torch.rand(7, 2, 16, 16, generator=draw) * 2 - 1
    atlas = torch.rand(7, 6, 16, 16, generator=draw)
    return Slices(images=images, labels=labels.to(torch.uint8), atlas=atlas)


@pytest.fixture
def bare(slices) -> Slices:
    """The same without the atlas, as segmenters are given them."""
    return Slices(**{name: slices.tensors[name] for name in ("images", "labels")})


@pytest.fixture
def streams(slices, tmp_path_factory) -> dict[str, list[Selection]]:
    """The slices in a store, as a stream of synthesizers."""
    arrays = {name: tensor.numpy() for name, tensor in slices.tensors.items()}
    count, side = len(slices), arrays["images"].shape[-1]
    table = pd.DataFrame({"subject": "a", "study": "a", "plane": np.arange(count), "split": "train"})
    table = table.assign(domain="pathological", spacing_x=1.0, spacing_y=1.0, spacing_z=5.0, fill=0.5, clipped=0)
    table = table.assign(source="real", manipulation="none", donor="", record="{}")
    folder = tmp_path_factory.mktemp("slices") / "store"
    study = StudySlices(**arrays, tissues=np.zeros((count, 0, side, side), np.float32), table=table)
    SliceStore.write(folder, [study], TASK.sequences, TASK.lesion_classes)
    return {"slices": [Selection(store=folder, fields=slices.fields)]}


@pytest.fixture
def bare_streams(streams) -> dict[str, list[Selection]]:
    """The same as a stream of segmenters."""
    return {"slices": [part.model_copy(update={"fields": ("images", "labels")}) for part in streams["slices"]]}


@pytest.fixture
def maker(monkeypatch) -> Callable[[Any], Maker]:
    """A maker of what is there already, for trainings in this process."""
    shelf = ModuleType("shelf_of_a_test")
    monkeypatch.setitem(sys.modules, shelf.__name__, shelf)

    def make(thing: Any) -> Maker:
        name = f"thing_{len(vars(shelf))}"
        setattr(shelf, name, lambda: thing)
        return Maker(target=f"{shelf.__name__}:{name}")

    return make


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
