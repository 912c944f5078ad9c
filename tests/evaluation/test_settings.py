"""What folds may differ in, and what not."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from lesionlab.config import ExperimentConfigLoader
from lesionlab.evaluation import settings
from lesionlab.parameters import Parameters
from lesionlab.settings import CONFIG_LOADER_ARGS

CONF = Path(__file__).parents[2] / "conf"


def of_run(values: dict) -> dict[str, str]:
    return settings.of_run(Parameters.model_validate(values).model_dump(mode="json"))


@pytest.fixture
def parameters():
    """The leave-one-out experiment's parameters with one value changed."""
    values = ExperimentConfigLoader(str(CONF), "cgsamr_brats2015", **CONFIG_LOADER_ARGS)["parameters"]

    def changed(group: str, **values_of_group):
        result = copy.deepcopy(values)
        result[group] = {**result[group], **values_of_group}
        return result

    return changed


def test_folds_differ_in_their_number_and_where_the_scans_lie(parameters):
    plain = of_run(parameters("splits", fold=0))
    assert of_run(parameters("splits", fold=3)) == plain
    assert of_run(parameters("cohort", root="/elsewhere")) == plain
    assert of_run(parameters("run", workers=3)) == plain


@pytest.mark.parametrize(("group", "change"), [("splits", {"seed": 7}), ("unet", {"loss": "ce"})])
def test_folds_share_all_else(parameters, group, change):
    assert of_run(parameters(group, **change)) != of_run(parameters("splits", fold=0))
