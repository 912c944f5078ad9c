"""The trainings see the training split alone, and every protocol the same but for its synthetic slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lesionlab.data.batches import Slices
from lesionlab.datasets import Folders
from lesionlab.errors import InputError
from lesionlab.methods.cgsamr import CGSAMROptions
from lesionlab.methods.registry import make_method
from lesionlab.methods.unet import UNetOptions
from lesionlab.parameters import AugmentationOptions
from lesionlab.pipelines.training import nodes
from lesionlab.training.options import TrainingOptions
from lesionlab.training.runs import TrainingRun

NETWORK = {"width": 2, "depth": 2}
CGSAMR = CGSAMROptions.model_validate(
    {
        "generator": {"width": 2, "downs": 2, "encoder_blocks": 0, "decoder_blocks": 0},
        "discriminator": {"width": 2},
        "unet": NETWORK,
    }
)
UNET = UNetOptions.model_validate({"network": NETWORK})
STEPS = TrainingOptions(constant=2, decay=0, unit="steps", batch_size=3, device="cpu", log_every=1)
AUGMENTATION = AugmentationOptions(ratios={"real+25%": 0.5, "real+50%": 1.0})


def paint(*names: str):
    """A change to the pictures of some studies."""

    def change(studies):
        for name in names:
            studies[name].images[studies[name].images > -1] = 0.7

    return change


def weights(run: TrainingRun) -> list[np.ndarray]:
    return [value.numpy() for value in run.method().state_dict().values()]


def equal(one: TrainingRun, other: TrainingRun) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


@pytest.fixture
def folders(tmp_path):
    """Folders of an experiment by name."""
    return lambda name: Folders(tmp_path / name, tmp_path / name)


def train_cgsamr(slices, folders, seed=0) -> TrainingRun:
    return nodes.train_cgsamr(slices, folders, CGSAMR, STEPS, seed)


def train_unets(slices, synthetic, folders, seed=0):
    return nodes.train_unets(slices, synthetic, folders, UNET, STEPS, AUGMENTATION, seed)


# --- what they see ----------------------------------------------------------------------------------------------------


def test_cgsamr_learns_nothing_from_validation_and_test_subjects(new_slices, folders):
    plain = train_cgsamr(new_slices("plain"), folders("plain"))
    others = train_cgsamr(new_slices("others", paint("c", "d_1", "d_2")), folders("others"))
    own = train_cgsamr(new_slices("own", paint("b")), folders("own"))
    assert equal(plain, others) and not equal(plain, own)


def test_the_segmenters_learn_nothing_from_validation_and_test_subjects(new_slices, folders):
    synthetic = new_slices("synthetic")
    plain = train_unets(new_slices("plain"), synthetic, folders("plain"))
    others = train_unets(new_slices("others", paint("c", "d_1", "d_2")), synthetic, folders("others"))
    own = train_unets(new_slices("own", paint("b")), synthetic, folders("own"))
    for protocol in ("real", "real+25%", "real+50%"):
        assert equal(plain[protocol], others[protocol]) and not equal(plain[protocol], own[protocol])


def test_each_protocol_has_its_number_of_synthetic_slices(new_slices, folders, monkeypatch):
    seen: dict[str, Slices] = {}

    def only_look(method, slices, options, folder, key, **_):
        seen[folder.name] = slices
        folder.mkdir(parents=True)
        return TrainingRun(folder)

    monkeypatch.setattr(nodes, "train_once", only_look)
    slices, synthetic = new_slices(), new_slices("synthetic", paint("a", "b", "c", "d_1", "d_2"))
    train_unets(slices, synthetic, folders("x"))
    # Six real training slices: 0, 3 and 6 synthetic ones beside them, the first of those there are.
    assert {protocol: len(given) for protocol, given in seen.items()} == {"real": 6, "real+25%": 9, "real+50%": 12}
    real, made = slices.batch(slices.select(split="train")).images, synthetic.batch().images
    for given in seen.values():
        np.testing.assert_array_equal(given.images[:6].numpy(), real)
        np.testing.assert_array_equal(given.images[6:].numpy(), made[: len(given) - 6])


def test_every_segmenter_starts_from_the_same_weights(new_slices, folders, monkeypatch):
    starts = []

    def only_look(method, slices, options, folder, key, **_):
        starts.append(torch.cat([value.flatten().float() for value in method.state_dict().values()]))
        folder.mkdir(parents=True)

    monkeypatch.setattr(nodes, "train_once", only_look)
    slices = new_slices()
    train_unets(slices, slices, folders("x"))
    train_unets(slices, slices, folders("y"), seed=1)
    assert all(torch.equal(start, starts[0]) for start in starts[:3])
    assert not torch.equal(starts[3], starts[0])


# --- when they are done again -----------------------------------------------------------------------------------------


def changed(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def test_unchanged_trainings_are_not_touched(new_slices, folders):
    slices, synthetic = new_slices(), new_slices("synthetic")
    train_cgsamr(slices, folders("x"))
    train_unets(slices, synthetic, folders("x"))
    before = changed(folders("x").results)
    train_cgsamr(slices, folders("x"))
    train_unets(slices, synthetic, folders("x"))
    assert changed(folders("x").results) == before


def test_other_synthetic_slices_do_not_cost_the_segmenter_of_real_ones(new_slices, folders):
    slices, at = new_slices(), folders("x")
    train_unets(slices, new_slices("synthetic"), at)
    before = changed(at.model("unet"))
    train_unets(slices, new_slices("other", paint("a")), at)
    after = changed(at.model("unet"))
    again = {name for name in before if after[name] != before[name]}
    assert "real/method.pt" not in again and {"real+25%/method.pt", "real+50%/method.pt"} <= again


def test_a_seed_is_never_taken_for_the_trainings_own(new_slices, folders):
    # Both runs have 1 for the training's seed; the first has it from the run, whose weights are others.
    slices, at = new_slices(), folders("x")
    first = weights(nodes.train_cgsamr(slices, at, CGSAMR, STEPS, 1))
    again = nodes.train_cgsamr(slices, at, CGSAMR, STEPS.model_copy(update={"seed": 1}), 0)
    assert not all(np.array_equal(a, b) for a, b in zip(first, weights(again), strict=True))


def test_segmenters_of_protocols_no_longer_configured_are_gone(new_slices, folders):
    slices, synthetic, at = new_slices(), new_slices("synthetic"), folders("x")
    train_unets(slices, synthetic, at)
    fewer = AugmentationOptions(ratios={"real+50%": 1.0})
    assert list(nodes.train_unets(slices, synthetic, at, UNET, STEPS, fewer, 0)) == ["real", "real+50%"]


def test_cgsamr_without_any_lesion_is_refused_before_it_trains(new_slices, folders):
    def healthy(studies):
        for study in studies.values():
            study.labels[study.labels > 1] = 1
            study.table["domain"] = "healthy"

    with pytest.raises(InputError, match="no training slice holds a lesion.*6 training slices"):
        train_cgsamr(new_slices(change=healthy), folders("x"))


@pytest.mark.parametrize("change", ["seed", "options", "training"])
def test_what_decides_the_result_trains_anew(new_slices, folders, change):
    slices, at = new_slices(), folders("x")
    first = weights(train_cgsamr(slices, at))
    if change == "seed":
        again = nodes.train_cgsamr(slices, at, CGSAMR, STEPS, 1)
    elif change == "options":
        weaker = CGSAMR.model_copy(update={"weights": CGSAMR.weights.model_copy(update={"confidence": 0.0})})
        again = nodes.train_cgsamr(slices, at, weaker, STEPS, 0)
    else:
        again = nodes.train_cgsamr(slices, at, CGSAMR, STEPS.model_copy(update={"constant": 3}), 0)
    assert not all(np.array_equal(a, b) for a, b in zip(first, weights(again), strict=True))


def test_the_runs_seed_is_added_to_the_trainings_own():
    assert nodes.seeded(TrainingOptions(seed=3), 4).seed == 7


# --- validation and pictures ------------------------------------------------------------------------------------------


class Segmenter(torch.nn.Module):
    """Calls everything brain a tumor, four slices at a time or fewer."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.sizes = []

    def segment(self, images):
        self.sizes.append(len(images))
        brain = (images[:, 0] > -1).long() * 3
        return torch.nn.functional.one_hot(brain, 4).movedim(-1, 1).float()


def test_validation_is_the_dice_of_the_validation_subjects(new_slices):
    def small_tumor_in_training(studies):
        studies["a"].labels[:, 6, 6] = 2

    validate = nodes.validation_dice(new_slices(change=small_tumor_in_training))
    # Of the 100 brain pixels of each validation slice 4 are tumor: 2 x 4 / (100 + 4); edema is missed.
    expected = {"validation/dice_edema": 0.0, "validation/dice_tumor": 8 / 104}
    assert validate(Segmenter(), 7) == pytest.approx(expected)


def test_without_a_validation_subject_there_is_no_validation(new_slices):
    def none(studies):
        studies["c"].table["split"] = "train"

    assert nodes.validation_dice(new_slices(change=none)) is None


def test_segmenting_takes_some_slices_at_a_time():
    segmenter = Segmenter()
    images = torch.full((10, 2, 4, 4), -1.0)
    images[7] = 0.5
    found = nodes.segment(segmenter, images, size=4)
    assert segmenter.sizes == [4, 4, 2]
    assert found.shape == (10, 4, 4) and (found[7] == 3).all() and not found[:7].any()


def test_pictures_are_of_validation_slices_with_lesions(new_slices):
    def healthy(studies):
        studies["c"].table.loc[0, "domain"] = "healthy"

    slices = new_slices(change=healthy)
    preview = nodes.preview_of(slices)
    places = slices.select("validation", "pathological")
    assert len(places) == 2
    np.testing.assert_array_equal(preview.images.numpy(), slices.batch(places).images)


def test_without_validation_subjects_pictures_are_of_training_slices(new_slices):
    def none(studies):
        studies["c"].table["split"] = "test"

    slices = new_slices(change=none)
    preview = nodes.preview_of(slices)
    # Four of the six training slices, spread evenly: 0, 5/3, 10/3 and 5 rounded down.
    np.testing.assert_array_equal(preview.images.numpy(), slices.batch([0, 1, 3, 5]).images)


def test_the_task_is_what_the_slices_hold(new_slices):
    task = nodes.task_of(new_slices())
    assert task.sequences == ("T1w", "FLAIR") and task.lesion_classes == ("edema", "tumor")
    assert make_method("unet", UNET, task, 0).task == task
