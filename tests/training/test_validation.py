"""Dice on validation slices, with a segmenter whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lesionlab.slices.cutting import StudySlices
from lesionlab.slices.store import SliceStore
from lesionlab.training.validation import validation_accuracy, validation_dice


class Segmenter(torch.nn.Module):
    """Calls everything brain a tumor."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def segment(self, images):
        brain = (images[:, 0] > -1).long() * 3
        return torch.nn.functional.one_hot(brain, 4).movedim(-1, 1).float()


@pytest.fixture
def store(tmp_path):
    """One slice of a training subject, and of one for validation: 100 brain pixels, 12 of them edema, 4 tumor."""
    import pandas as pd

    def study(subject: str, split: str, edema: int) -> StudySlices:
        labels = np.zeros((1, 16, 16), np.uint8)
        labels[:, 3:13, 3:13], labels[:, 5:9, 5:9], labels[:, 6:8, 6:8] = 1, edema, 3
        images = np.where(labels[:, None] > 0, 0.5, -1).astype(np.float32)
        empty = np.zeros((1, 0, 16, 16), np.float32)
        about = {"subject": subject, "study": subject, "plane": 0, "split": split, "domain": "pathological"}
        about |= {"spacing_x": 1.0, "spacing_y": 1.0, "spacing_z": 1.0, "fill": 0.4, "clipped": 0, "source": "real"}
        about |= {"manipulation": "none", "donor": "", "record": "{}"}
        return StudySlices(images, labels, empty, empty, pd.DataFrame([about]))

    studies = [study("a", "train", 1), study("c", "validation", 2)]
    return SliceStore.write(tmp_path / "slices", studies, ["T1w"], ["edema", "tumor"])


def test_validation_is_the_dice_of_the_validation_subjects(store):
    validate = validation_dice(store.root, store.select(split="validation").tolist(), store.classes)
    # Of the 100 brain pixels of the validation slice 4 are tumor: 2 x 4 / (100 + 4); edema is missed.
    expected = {"validation/dice_edema": 0.0, "validation/dice_tumor": 8 / 104, "validation/dice": 4 / 104}
    assert validate(Segmenter(), 7) == pytest.approx(expected)


def test_no_checkpoint_is_chosen_by_a_class_that_validation_has_not(store):
    validate = validation_dice(store.root, store.select(split="train").tolist(), store.classes)
    # The training slice has no edema: finding none would be worth as much as a perfect tumor.
    assert validate(Segmenter(), 7) == pytest.approx({"validation/dice_tumor": 8 / 104, "validation/dice": 8 / 104})


class Synthesizer(torch.nn.Module):
    """Paints brain as it is, edema 20 grey levels too bright, tumor 10."""

    prior = "atlas"

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def synthesize(self, batch):
        assert batch.fields == ("labels", "atlas")
        return torch.tensor([-1.0, 0.5, 0.5 + 20 / 127.5, 0.5 + 10 / 127.5])[batch.labels].unsqueeze(1)


def test_validation_is_the_pixel_accuracy_of_the_validation_subjects(store):
    validate = validation_accuracy(store.root, store.select(split="validation").tolist(), store.classes)
    # At most 16 of 255 grey levels off is right: brain and tumor are, edema is not.
    expected = {"_brain": 1.0, "_edema": 0.0, "_tumor": 1.0, "": 2 / 3}
    found = validate(Synthesizer(), 7)
    assert found == pytest.approx({f"validation/pixel_accuracy{name}": value for name, value in expected.items()})


def test_a_class_that_no_validation_slice_has_is_left_out(store):
    validate = validation_accuracy(store.root, store.select(split="train").tolist(), store.classes)
    assert set(validate(Synthesizer(), 7)) == {
        f"validation/pixel_accuracy{name}" for name in ("", "_brain", "_tumor")
    }  # the training slice has no edema
