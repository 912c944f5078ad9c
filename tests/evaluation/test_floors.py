"""Floors beside what methods reach."""

from __future__ import annotations

import pandas as pd
import pytest

from lesionlab.evaluation import floors

FLOORS = {"atlas": "The atlas itself.", "mean image": "not scored"}
CLASSES = ["edema", "tumor"]


@pytest.fixture
def results(line) -> pd.DataFrame:
    accuracy = {"metric": "pixel_accuracy", "sequence": "T1w", "class": "tumor"}
    return pd.concat([line(method="CG-SAMR", mean=0.7, **accuracy), line(method="atlas", mean=0.3, **accuracy)])


def test_floors_stand_beside_ours(results):
    table = floors.table(results, FLOORS, CLASSES, "pixel_accuracy")
    assert table.title == "Floors, pixel accuracy"
    assert table.frame.to_numpy().tolist() == [["atlas", "The atlas itself.", "0.300", "0.700"]]


def test_floors_stand_beside_every_method_of_the_largest_training_set(results):
    """Another method, .1 below ours, and both of fewer subjects, who have no part in it."""
    other = results[results["method"] == "CG-SAMR"].assign(method="SAMR", mean=0.6)
    largest = pd.concat([results, other])
    both = pd.concat([largest.assign(training_subjects=4, mean=0.0), largest])
    (row,) = floors.table(both, FLOORS, CLASSES, "pixel_accuracy").frame.to_dict("records")
    assert (row["reaches"], row["ours"]) == ("0.300", "CG-SAMR 0.700, SAMR 0.600")
    said = floors.headline(both, FLOORS, CLASSES, "pixel_accuracy", "Pixel accuracy", {"SAMR": "the older"})
    assert said == "Pixel accuracy, mean over lesion classes: CG-SAMR 0.700, the older 0.600; floors: atlas 0.300."
