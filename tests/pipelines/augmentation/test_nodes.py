"""Synthetic slices are drawn for manipulated lesions of training subjects, and only once."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lesionlab.data.artifact import seal
from lesionlab.datasets import Folders
from lesionlab.parameters import AugmentationOptions
from lesionlab.pipelines.augmentation.nodes import synthesize
from lesionlab.training.runs import TrainingRun

OPTIONS = AugmentationOptions(ratios={"real+25%": 0.5, "real+150%": 3.0})


class Drawer:
    """Draws a label map's code and the atlas's first plane; notes how many slices it was asked for at once."""

    name = "drawer"

    def __init__(self):
        self.asked = []

    def synthesize(self, labels, prior):
        self.asked.append(len(labels))
        return torch.stack([labels / 10, prior[:, 0] / 10], dim=1)


@pytest.fixture
def drawer(monkeypatch) -> Drawer:
    made = Drawer()
    monkeypatch.setattr(TrainingRun, "method", lambda self: made)
    return made


@pytest.fixture
def trained(tmp_path) -> TrainingRun:
    (tmp_path / "cgsamr").mkdir()
    seal(tmp_path / "cgsamr", "trained")
    return TrainingRun(tmp_path / "cgsamr")


@pytest.fixture
def folders(tmp_path) -> Folders:
    return Folders(tmp_path, tmp_path)


def test_as_many_as_the_largest_protocol_asks_for(new_slices, folders, trained, drawer):
    made = synthesize(new_slices(), trained, folders, OPTIONS, seed=0)
    assert len(made) == 18 and drawer.asked == [16, 2]  # 3 x 6 training slices
    assert made.root == folders.features("synthetic")


def test_targets_and_donors_are_training_subjects(new_slices, folders, trained, drawer):
    def move_lesions(studies):  # a swap with a lesion just alike would change nothing
        for step, name in enumerate(studies):
            lesion = np.where(studies[name].labels > 1, studies[name].labels, 0)
            moved = np.roll(lesion, step, axis=2)
            studies[name].labels[:] = np.where(moved > 0, moved, np.minimum(studies[name].labels, 1))

    made = synthesize(new_slices(change=move_lesions), trained, folders, OPTIONS, seed=0)
    assert set(made.table["subject"]) == {"a", "b"} and set(made.table["split"]) == {"train"}
    assert set(made.table["donor"]) == {"", "a", "b"}


def test_each_is_drawn_for_its_own_map_with_its_targets_atlas(new_slices, folders, trained, drawer):
    slices = new_slices()
    made = synthesize(slices, trained, folders, OPTIONS, seed=0)
    given = made.batch()
    for number, record in enumerate(json.loads(text) for text in made.table["record"]):
        target = record["target"]["index"]
        np.testing.assert_array_equal(given.atlas[number], slices.atlas()[target])
        inside = given.labels[number] > 0
        np.testing.assert_array_equal(inside, slices.labels()[target] > 0)  # the target's brain, unchanged
        drawn = given.images[number][:, inside]
        np.testing.assert_allclose(drawn[0], given.labels[number][inside] / 10, atol=1e-6)
        np.testing.assert_allclose(drawn[1], given.atlas[number, 0][inside] / 10, atol=1e-6)
    assert any(not np.array_equal(m, slices.labels()[0]) for m in given.labels)


def test_unchanged_ones_are_not_drawn_again(new_slices, folders, trained, drawer):
    slices = new_slices()
    synthesize(slices, trained, folders, OPTIONS, seed=0)
    drawer.asked.clear()
    synthesize(slices, trained, folders, OPTIONS, seed=0)
    assert drawer.asked == []


@pytest.mark.parametrize("change", ["seed", "options", "slices", "training"])
def test_what_they_are_made_from_draws_them_again(new_slices, folders, trained, drawer, change):
    slices = new_slices()
    synthesize(slices, trained, folders, OPTIONS, seed=0)
    drawer.asked.clear()
    if change == "training":
        seal(trained.root, "trained otherwise")
    other = AugmentationOptions(ratios={"real+50%": 1.0}) if change == "options" else OPTIONS
    given = new_slices("others") if change == "slices" else slices
    synthesize(given, trained, folders, other, seed=int(change == "seed"))
    assert drawer.asked


def test_a_method_that_draws_nothing_is_refused(new_slices, folders, trained, monkeypatch):
    class Segmenter:
        name = "unet"

    monkeypatch.setattr(TrainingRun, "method", lambda self: Segmenter())
    with pytest.raises(TypeError, match="unet synthesizes no images"):
        synthesize(new_slices(), trained, folders, OPTIONS, seed=0)
    assert not folders.features("synthetic").exists()
