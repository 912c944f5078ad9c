"""A trial of SAMR and CG-SAMR whose trainings are done, with freshly drawn weights."""

from __future__ import annotations

import pandas as pd
import pytest

from lesionlab.methods.base import Task
from lesionlab.methods.registry import make_method
from lesionlab.stages.artifact import seal
from lesionlab.training.checkpoint import save_method
from lesionlab.training.options import TrainingOptions
from lesionlab.training.runs import HISTORY, TRAINED, TrainingRun
from lesionlab.trials.options import Arm, TrialOptions
from lesionlab.trials.plan import Recipe, plan_trial

TASK = Task(sequences=("T1w", "FLAIR"), lesion_classes=("edema", "tumor"))
SMALL = {"generator": {"width": 2, "downs": 2, "encoder_blocks": 1}, "discriminator": {"width": 2}}
SMALL |= {"unet": {"width": 2, "depth": 2}}
ARMS = {"real": Arm(), "real+50%": Arm(synthetic=1.0)}


@pytest.fixture
def slices(new_slices):
    return new_slices()


@pytest.fixture
def plan(slices):
    """SAMR and CG-SAMR on subjects a and b."""
    claimed = (("cgsamr", "samr"),)
    recipes = {
        name: Recipe(method=name, title=name, options=SMALL, training=TrainingOptions(), claims=claimed)
        for name in ("samr", "cgsamr")
    }
    unet = {"unet": Recipe(method="unet", title="U-Net", options={}, training=TrainingOptions())}
    options = TrialOptions(synthesizers=("samr", "cgsamr"), arms=tuple(ARMS))
    return plan_trial("trial", options, ARMS, recipes, unet, slices.table, 0)


@pytest.fixture
def run(tmp_path):
    """A training that is done, with freshly drawn weights."""

    def make(name: str, method: str, options: dict) -> TrainingRun:
        root = tmp_path / "runs" / name
        save_method(make_method(method, options, TASK), root / TRAINED)
        told = {"lambda_cm": [0.1, 0.03, 0.1, 0.03], "rate/G": [1.0, 1.0, 0.6, 0.2]}
        rows = [(step, name, value) for name, values in told.items() for step, value in enumerate(values, start=1)]
        history = pd.DataFrame(rows, columns=["step", "name", "value"])
        history.to_csv(root / HISTORY, index=False)
        seal(root, name)
        return TrainingRun(root)

    return make


@pytest.fixture
def synthesizers(run):
    return {f"{name}/2-subjects/seed-0": run(name, name, SMALL) for name in ("samr", "cgsamr")}
