"""A trial's plan as a file."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from kedro.io import DatasetError

from lesionlab.datasets import TrialPlanDataset
from lesionlab.training.options import TrainingOptions
from lesionlab.trials.options import Arm, TrialOptions
from lesionlab.trials.plan import Recipe, TrialPlan, plan_trial


@pytest.fixture
def plan() -> TrialPlan:
    options = TrialOptions(synthesizers=("samr",), arms=("real", "both"), training_subjects=(1, "all"), seeds=(0, 3))
    steps = TrainingOptions(constant=3, decay=2)
    recipe = Recipe(method="samr", title="SAMR", options={"weights": {"confidence": 1.5}}, training=steps)
    unet = Recipe(method="unet", title="U-Net", options={}, training=steps)
    slices = pd.DataFrame({"subject": ["a", "b"], "split": "train", "domain": "pathological"})
    return plan_trial(
        "mine", options, {"real": Arm(), "both": Arm(synthetic=0.5)}, {"samr": recipe}, {"unet": unet}, slices, 7
    )


def test_a_plan_comes_back_as_it_was(tmp_path, plan):
    dataset = TrialPlanDataset(filepath=str(tmp_path / "new" / "plan.json"))
    assert not dataset.exists()
    dataset.save(plan)
    assert dataset.exists() and dataset.load() == plan
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["plan.json"]


def test_a_plan_that_is_not_there_is_not_loaded(tmp_path):
    with pytest.raises(DatasetError):
        TrialPlanDataset(filepath=str(tmp_path / "plan.json")).load()


@pytest.mark.parametrize(
    "damage", [lambda text: text[:-40], lambda text: json.dumps(json.loads(text) | {"segmentors": []})]
)
def test_a_damaged_plan_is_refused(tmp_path, plan, damage):
    file = tmp_path / "plan.json"
    dataset = TrialPlanDataset(filepath=str(file))
    dataset.save(plan)
    file.write_text(damage(file.read_text()))
    with pytest.raises(DatasetError):
        dataset.load()


def test_preview_has_a_row_for_each_training(tmp_path, plan):
    dataset = TrialPlanDataset(filepath=str(tmp_path / "plan.json"))
    dataset.save(plan)
    shown = dataset.preview()
    json.dumps(shown)
    assert shown["columns"] == ["what", "training", "subjects", "seed", "members"]
    # 2 sizes x 2 seeds: a synthesizer, a segmenter of real slices, and one of both.
    assert len(shown["data"]) == 4 + 8
    assert shown["data"][-1] == ["segmenter", "unet/both/samr/2-subjects/seed-10", 2, 10, "a b"]
