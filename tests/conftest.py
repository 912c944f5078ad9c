"""What the tests of several rooms need: small slices, plans of trials over them, rows of result tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lesionlab.methods.registry import find
from lesionlab.slices.cutting import StudySlices
from lesionlab.slices.store import SliceStore
from lesionlab.training.options import TrainingOptions
from lesionlab.trials.options import Arm, TrialOptions
from lesionlab.trials.plan import Recipe, TrialPlan, plan_trial

_NETWORKS: dict[str, Any] = {"discriminator": {"width": 2}, "unet": {"width": 2, "depth": 2}}
SMALL: dict[str, Any] = {
    "cgsamr": {**_NETWORKS, "generator": {"width": 2, "downs": 2, "encoder_blocks": 1, "decoder_blocks": 1}},
    "samr": {**_NETWORKS, "generator": {"width": 2, "downs": 2, "encoder_blocks": 1}},
    "unet": {"network": {"width": 2, "depth": 2}},
}
COLUMNS = [
    "method", "cohort", "protocol", "synthesizer", "training_subjects", "sequence", "class", "metric",
    "mean", "std", "median", "ci_low", "ci_high", "n", "seed", "seed_std", "published", "p_value", "rank_biserial",
]  # fmt: skip

# --- plans ------------------------------------------------------------------------------------------------------------

ARMS = {
    "real": Arm(),
    "real+25%": Arm(synthetic=0.5),
    "real+50%": Arm(synthetic=1.0),
    "synthetic": Arm(real=False, synthetic=1.0),
    "conventional": Arm(conventional=True),
    "longer": Arm(synthetic=1.0, equal="epochs"),
    "real longer": Arm(length=2.5),
}


def recipe(method: str, **training: Any) -> Recipe:
    """A method as small as it runs, for two steps."""
    kind = find(method)
    options = kind.Options.model_validate(SMALL[method]).model_dump(mode="json")
    steps = {"constant": 2, "decay": 0, "unit": "steps", "batch_size": 3, "device": "cpu", "log_every": 1}
    return Recipe(
        method=method,
        title=kind.title,
        options=options,
        training=TrainingOptions(**steps | training),
        prior=kind.prior,
        claims=kind.claims,
    )


@pytest.fixture(scope="session")
def new_recipe() -> Callable[..., Recipe]:
    """Makes a small synthesizer's recipe."""
    return recipe


@pytest.fixture(scope="session")
def new_plan() -> Callable[..., TrialPlan]:
    """Plans a trial over slices: its name, arms, synthesizers, sizes and seeds."""

    def make(
        slices: SliceStore,
        name: str = "mine",
        *,
        synthesizers: tuple[str, ...] = ("cgsamr",),
        arms: tuple[str, ...] = ("real", "real+25%", "real+50%"),
        sizes: tuple = ("all",),
        seeds: tuple[int, ...] = (0,),
        recipes: dict[str, Recipe] | None = None,
        seed: int = 0,
    ) -> TrialPlan:
        options = TrialOptions(synthesizers=synthesizers, arms=arms, training_subjects=sizes, seeds=seeds)
        known = {method: recipe(method) for method in ("samr", "cgsamr")} | (recipes or {})
        return plan_trial(name, options, ARMS, known, {"unet": recipe("unet")}, slices.table, seed)

    return make


# --- slices for the nodes that read them ------------------------------------------------------------------------------

SIDE, SEQUENCES, CLASSES = 16, ["T1w", "FLAIR"], ["edema", "tumor"]


def study_slices(subject: str, study: str, split: str, planes: int) -> StudySlices:
    """A brain of 10 x 10 pixels, in each slice a lesion of 4 x 4 with a tumor of 2 x 2 in its middle."""
    labels = np.zeros((planes, SIDE, SIDE), np.uint8)
    labels[:, 3:13, 3:13], labels[:, 5:9, 5:9], labels[:, 6:8, 6:8] = 1, 2, 3
    rng = np.random.default_rng(list(study.encode()))
    images, atlas = (rng.uniform(-1, 1, (planes, n, SIDE, SIDE)).astype(np.float32) for n in (2, 6))
    for pictures in (images, atlas):
        pictures[np.broadcast_to(labels[:, None] == 0, pictures.shape)] = -1
    about = {"subject": subject, "study": study, "split": split, "domain": "pathological", "fill": 100 / SIDE**2}
    about |= {"spacing_x": 2.0, "spacing_y": 2.0, "spacing_z": 5.0, "pixels_edema": 12, "pixels_tumor": 4, "clipped": 0}
    about |= {"source": "real", "manipulation": "none", "donor": "", "record": "{}"}
    table = pd.DataFrame({"plane": np.arange(planes), **about})
    return StudySlices(images, labels, atlas, np.zeros((planes, 0, SIDE, SIDE), np.float32), table)


@pytest.fixture(scope="session")
def write_slices() -> Callable[..., SliceStore]:
    """Writes slices into a folder: training subjects a and b, c for validation, d with two visits for testing.

    ``change`` may alter the studies, by name, before they are written.
    """

    def write(
        folder: Path,
        name: str = "slices",
        change: Callable[[dict[str, StudySlices]], object] = bool,
        planes: int = 3,
    ) -> SliceStore:
        people = [("a", "a", "train"), ("b", "b", "train"), ("c", "c", "validation"), ("d", "d_1", "test")]
        people.append(("d", "d_2", "test"))
        studies = {study: study_slices(subject, study, split, planes) for subject, study, split in people}
        change(studies)
        return SliceStore.write(folder / name, studies.values(), SEQUENCES, CLASSES, fingerprint=name)

    return write


@pytest.fixture
def new_slices(tmp_path, write_slices) -> Callable[..., SliceStore]:
    """Writes slices into the test's own folder."""
    return partial(write_slices, tmp_path)


# --- tables ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def line():
    """One row of a result table; what is not given has a plain value."""

    def make(**given):
        row = dict.fromkeys(["method", "cohort", "protocol", "synthesizer", "sequence", "class", "metric"], "x")
        row |= {"training_subjects": 8}
        row |= {"mean": 0.5, "std": 0.1, "median": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n": 4, "seed": 7}
        row |= dict.fromkeys(["seed_std", "published", "p_value", "rank_biserial"], float("nan")) | given
        return pd.DataFrame([row], columns=COLUMNS)

    return make
