"""Synthetic slices are drawn for manipulated lesions of training subjects, and only once."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lesionlab.datasets import Folders
from lesionlab.parameters import AugmentationOptions
from lesionlab.pipelines.augmentation.nodes import synthesize
from lesionlab.slices.store import SliceStore
from lesionlab.stages.artifact import seal
from lesionlab.training.runs import TrainingRun

OPTIONS = AugmentationOptions()
ARMS = ("real", "real+50%", "real+25%")
FIRST = "cgsamr/2-subjects/seed-0"


class Drawer:
    """Draws a label map's code and the atlas's first plane; notes how many slices it was asked for at once."""

    name = "drawer"
    prior = "atlas"

    def __init__(self):
        self.asked = []

    def parameters(self):
        return iter([torch.zeros(1)])

    def synthesize(self, batch):
        self.asked.append(len(batch))
        return torch.stack([batch.labels / 10, batch.atlas[:, 0] / 10], dim=1)


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


@pytest.fixture
def draw(new_plan, trained, folders):
    """Draws a trial's synthetic slices; all synthesizers are the same training."""

    def drawn(slices, options=OPTIONS, arms=ARMS, **plan) -> dict[str, SliceStore]:
        planned = new_plan(slices, arms=arms, **plan)
        return synthesize(planned, slices, {case.key: trained for case in planned.synthesizers}, folders, options)

    return drawn


def test_as_many_as_the_greediest_arm_asks_for(new_slices, folders, draw, drawer):
    made = draw(new_slices(planes=9))
    assert list(made) == [FIRST]
    assert len(made[FIRST]) == 18 and drawer.asked == [16, 2]  # as many as real ones: 2 subjects of 9
    assert made[FIRST].root == folders.features("synthetic") / FIRST
    few = draw(new_slices("few", planes=3), arms=("real", "real+25%"))
    assert len(few[FIRST]) == 3  # half of 6


def test_targets_and_donors_are_training_subjects(new_slices, draw, drawer):
    made = draw(new_slices(change=move_lesions, planes=9))[FIRST]
    assert set(made.table["subject"]) == {"a", "b"} and set(made.table["split"]) == {"train"}
    assert set(made.table["donor"]) == {"", "a", "b"}


def move_lesions(studies):
    """A swap with a lesion just alike would change nothing."""
    for step, name in enumerate(studies):
        lesion = np.where(studies[name].labels > 1, studies[name].labels, 0)
        moved = np.roll(lesion, step, axis=2)
        studies[name].labels[:] = np.where(moved > 0, moved, np.minimum(studies[name].labels, 1))


def test_a_smaller_set_of_subjects_gives_targets_and_donors_of_its_own_alone(new_slices, draw, drawer, new_plan):
    def third(studies):
        studies["c"].table["split"] = "train"
        move_lesions(studies)

    slices = new_slices(change=third, planes=9)
    made = draw(slices, sizes=(2, "all"))
    small, whole = made["cgsamr/2-subjects/seed-0"], made["cgsamr/3-subjects/seed-0"]
    chosen = set(new_plan(slices, sizes=(2,)).synthesizers[0].subjects)
    assert len(small) == 18 and len(whole) == 27
    assert set(small.table["subject"]) == chosen and set(small.table["donor"]) == {"", *chosen}
    assert set(whole.table["subject"]) == {"a", "b", "c"}


def test_a_single_training_subject_has_no_donor(new_slices, draw, drawer):
    made = draw(new_slices(change=move_lesions), sizes=(1,))["cgsamr/1-subjects/seed-0"]
    assert len(made) == 3 and set(made.table["donor"]) == {""}
    assert not {"swap", "mixture"} & set(made.table["manipulation"])


def test_synthesizers_of_one_seed_draw_the_same_label_maps(new_slices, draw, drawer):
    made = draw(new_slices(change=move_lesions), synthesizers=("samr", "cgsamr"), seeds=(0, 1))
    maps = {key: store.batch().labels for key, store in made.items()}
    np.testing.assert_array_equal(maps["samr/2-subjects/seed-0"], maps["cgsamr/2-subjects/seed-0"])
    assert not np.array_equal(maps["samr/2-subjects/seed-0"], maps["samr/2-subjects/seed-1"])


def test_each_is_drawn_for_its_own_map_with_its_targets_atlas(new_slices, draw, drawer):
    slices = new_slices(planes=9)
    made = draw(slices)[FIRST]
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


def test_unchanged_ones_are_not_drawn_again(new_slices, draw, drawer):
    slices = new_slices()
    draw(slices)
    drawer.asked.clear()
    draw(slices)
    draw(slices, name="another trial")
    assert drawer.asked == []


def test_a_trial_that_asks_for_fewer_takes_the_first_of_those_there_are(new_slices, draw, drawer):
    slices = new_slices(change=move_lesions)
    few = draw(slices, arms=("real", "real+25%"))[FIRST].batch()
    many = draw(slices)[FIRST]  # more of them: drawn anew, and beginning with the same ones
    for one, other in zip(few, many.batch(), strict=True):
        np.testing.assert_array_equal(one, other[:3])
    drawer.asked.clear()
    again = draw(slices, arms=("real", "real+25%"))[FIRST]
    assert drawer.asked == [] and len(again) == 6 and again.fingerprint == many.fingerprint


@pytest.mark.parametrize("change", ["seed", "options", "slices", "training"])
def test_what_they_are_made_from_draws_them_again(new_slices, draw, trained, drawer, change):
    slices = new_slices()
    draw(slices, seeds=(0,))
    drawer.asked.clear()
    if change == "training":
        seal(trained.root, "trained otherwise")
    other = AugmentationOptions.model_validate({"manipulation": {"tolerance": 0.4}}) if change == "options" else OPTIONS
    given = new_slices("others") if change == "slices" else slices
    draw(given, other, seed=int(change == "seed"))
    assert drawer.asked


def test_another_conventional_augmentation_draws_nothing_again(new_slices, draw, drawer):
    slices = new_slices()
    draw(slices)
    drawer.asked.clear()
    draw(slices, AugmentationOptions.model_validate({"conventional": {"flip_probability": 0.0}}))
    assert drawer.asked == []


def test_a_method_that_draws_nothing_is_refused(new_slices, draw, folders, monkeypatch):
    class Segmenter:
        name = "unet"

    monkeypatch.setattr(TrainingRun, "method", lambda self: Segmenter())
    with pytest.raises(TypeError, match="unet synthesizes no images"):
        draw(new_slices())
    assert not (folders.features("synthetic") / FIRST).exists()
