"""The trainings see the training split alone, and every protocol the same but for its synthetic slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lesionlab.augmentation.conventional import ConventionalOptions
from lesionlab.config import ExperimentConfigLoader
from lesionlab.datasets import Folders
from lesionlab.errors import InputError
from lesionlab.methods.registry import make_method
from lesionlab.methods.unet import UNetOptions
from lesionlab.parameters import AugmentationOptions, RunOptions
from lesionlab.pipelines.training import nodes
from lesionlab.settings import CONFIG_LOADER_ARGS
from lesionlab.slices.mapped import open_slices
from lesionlab.training.options import TrainingOptions
from lesionlab.training.runs import TrainingRun
from lesionlab.training.validation import validation_dice

CONF = Path(__file__).parents[3] / "conf"
UNET = UNetOptions.model_validate({"network": {"width": 2, "depth": 2}})
STEPS = TrainingOptions(constant=2, decay=0, unit="steps", batch_size=3, device="cpu", log_every=1)
AUGMENTATION = AugmentationOptions()
RUN = RunOptions()
FIRST = "cgsamr/2-subjects/seed-0"  # the synthesizer of all training subjects


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


@pytest.fixture
def train_cgsamr(new_plan):
    """Trains a trial's one synthesizer."""

    def train(slices, folders, augmentation=AUGMENTATION, **plan) -> TrainingRun:
        (run,) = nodes.train_synthesizers(new_plan(slices, **plan), slices, folders, augmentation, RUN).values()
        return run

    return train


@pytest.fixture
def train_unets(new_plan):
    """Trains a trial's segmenters, all synthesizers' slices being the same; runs by arm, the last of each."""

    def train(slices, synthetic, folders, **plan) -> dict[str, TrainingRun]:
        planned = new_plan(slices, **plan)
        drawn = {case.key: synthetic for case in planned.synthesizers}
        runs = nodes.train_segmenters(planned, slices, drawn, folders, AUGMENTATION, RUN)
        assert list(runs) == [case.key for case in planned.segmenters]
        return {case.arm_name: runs[case.key] for case in planned.segmenters}

    return train


@pytest.fixture
def looked(monkeypatch) -> dict[str, dict]:
    """What each training would be given, by its folder's place below the segmenters'; nothing is trained."""
    seen: dict[str, dict] = {}

    def only_look(method, streams, options, folder, key, **others):
        place = folder.relative_to(next(each for each in folder.parents if each.name == "segmenters")).as_posix()
        given = open_slices(streams["slices"], "load")
        seen[place] = {"method": method, "slices": given, "options": options, "key": key, **others}
        return TrainingRun(folder)

    monkeypatch.setattr(nodes, "train_once", only_look)
    return seen


# --- what they see ----------------------------------------------------------------------------------------------------


def test_cgsamr_learns_nothing_from_validation_and_test_subjects(new_slices, folders, train_cgsamr):
    plain = train_cgsamr(new_slices("plain"), folders("plain"))
    others = train_cgsamr(new_slices("others", paint("c", "d_1", "d_2")), folders("others"))
    own = train_cgsamr(new_slices("own", paint("b")), folders("own"))
    assert equal(plain, others) and not equal(plain, own)
    assert plain.subjects() == ["a", "b"]


def test_a_synthesizers_slices_are_changed_by_chance_where_that_is_asked_for(new_slices, folders, train_cgsamr):
    slices, flips = new_slices(), ConventionalOptions(flip_probability=0.5, rotate_probability=0)
    plain, changed = train_cgsamr(slices, folders("x")), AugmentationOptions(synthesizers=flips)
    flipped = train_cgsamr(slices, folders("y"), changed)
    again = train_cgsamr(slices, folders("z"), changed)
    assert equal(flipped, again) and not equal(flipped, plain)
    # What was trained on changed slices is not taken for what was not.
    assert equal(train_cgsamr(slices, folders("y")), plain)


def test_cgsamr_learns_nothing_from_training_subjects_that_a_smaller_set_leaves_out(new_slices, folders, train_cgsamr):
    plain = train_cgsamr(new_slices("plain"), folders("plain"), sizes=(1,))
    (chosen,) = plain.subjects()
    left = ({"a", "b"} - {chosen}).pop()
    others = train_cgsamr(new_slices("others", paint(left)), folders("others"), sizes=(1,))
    own = train_cgsamr(new_slices("own", paint(chosen)), folders("own"), sizes=(1,))
    assert equal(plain, others) and not equal(plain, own)


def test_the_segmenters_learn_nothing_from_validation_and_test_subjects(new_slices, folders, train_unets):
    synthetic = new_slices("synthetic")
    plain = train_unets(new_slices("plain"), synthetic, folders("plain"))
    others = train_unets(new_slices("others", paint("c", "d_1", "d_2")), synthetic, folders("others"))
    own = train_unets(new_slices("own", paint("b")), synthetic, folders("own"))
    for arm in ("real", "real+25%", "real+50%"):
        assert equal(plain[arm], others[arm]) and not equal(plain[arm], own[arm])
        assert plain[arm].subjects() == ["a", "b"]


def test_each_arm_has_its_number_of_real_and_synthetic_slices(new_slices, folders, train_unets, looked):
    slices, synthetic = new_slices(), new_slices("synthetic", paint("a", "b", "c", "d_1", "d_2"))
    train_unets(slices, synthetic, folders("x"), arms=("real", "real+25%", "real+50%", "synthetic", "conventional"))
    seen = {place.split("/")[1]: given["slices"].tensors["images"].numpy() for place, given in looked.items()}
    # Six real training slices: 0, 3 and 6 synthetic ones beside them, the first of those there are; or 6 alone.
    assert {arm: len(images) for arm, images in seen.items()} == {
        "real": 6, "real+25%": 9, "real+50%": 12, "synthetic": 6, "conventional": 6,
    }  # fmt: skip
    real, made = slices.batch(slices.select(split="train")).images, synthetic.batch().images
    np.testing.assert_array_equal(seen.pop("synthetic"), made[:6])
    for images in seen.values():
        np.testing.assert_array_equal(images[:6], real)
        np.testing.assert_array_equal(images[6:], made[: len(images) - 6])


def test_a_smaller_set_of_subjects_has_fewer_slices_of_both_kinds(new_slices, folders, train_unets, looked, new_plan):
    slices = new_slices()
    train_unets(slices, slices, folders("x"), arms=("real", "real+50%"), sizes=(1, "all"))
    counts = {place: len(given["slices"].tensors["images"]) for place, given in looked.items()}
    assert counts == {
        "unet/real/none/1-subjects/seed-0": 3, "unet/real+50%/cgsamr/1-subjects/seed-0": 6,
        "unet/real/none/2-subjects/seed-0": 6, "unet/real+50%/cgsamr/2-subjects/seed-0": 12,
    }  # fmt: skip
    (chosen,) = next(case.subjects for case in new_plan(slices, sizes=(1,)).segmenters)
    own = slices.batch(slices.select(subject=chosen)).images
    np.testing.assert_array_equal(looked["unet/real/none/1-subjects/seed-0"]["slices"].tensors["images"].numpy(), own)


def test_only_the_conventional_arms_slices_are_changed_while_training(new_slices, folders, train_unets, looked):
    slices = new_slices()
    train_unets(slices, slices, folders("x"), arms=("real", "real+50%", "conventional"))
    given = {place.split("/")[1]: each["augment"] is not None for place, each in looked.items()}
    assert given == {"real": False, "real+50%": False, "conventional": True}


def test_every_segmenter_of_a_seed_starts_from_the_same_weights(new_slices, folders, train_unets, looked):
    slices = new_slices()
    train_unets(slices, slices, folders("x"), seeds=(0, 1))

    def start(place: str) -> torch.Tensor:
        method = looked[place]["method"]
        return torch.cat([value.flatten().float() for value in method.state_dict().values()])

    first, *others = [start(place) for place in looked if place.endswith("seed-0")]
    assert len(others) == 2 and all(torch.equal(one, first) for one in others)
    again = [start(place) for place in looked if place.endswith("seed-1")]
    assert len(again) == 3 and not any(torch.equal(one, first) for one in again)


# --- what they refuse to see ------------------------------------------------------------------------------------------


def relabelled(split: str, *names: str):
    """A change of the split that some studies' slices name."""

    def change(studies):
        for name in names:
            studies[name].table["split"] = split

    return change


COHORT = pd.DataFrame(
    {
        "study": ["a", "b", "c", "d_1", "d_2"],
        "subject": ["a", "b", "c", "d", "d"],
        "split": ["train", "train", "validation", "test", "test"],
    }
)


@pytest.fixture
def parameters() -> dict:
    return ExperimentConfigLoader(str(CONF), "base", **CONFIG_LOADER_ARGS)["parameters"]


def test_a_plan_is_made_of_slices_in_the_cohorts_splits(new_slices, parameters):
    plan = nodes.make_plan(new_slices(), COHORT, parameters, "cgsamr")
    assert plan.name == "cgsamr" and [case.subjects for case in plan.synthesizers] == [("a", "b")]
    lying = new_slices("lying", relabelled("train", "d_1", "d_2"))
    with pytest.raises(
        InputError, match=r"leakage: the slices have subjects in another.*d \(train, in the cohort test"
    ):
        nodes.make_plan(lying, COHORT, parameters, "cgsamr")
    with pytest.raises(InputError, match="subjects of the slices are in more than one split.*Given: d"):
        nodes.make_plan(new_slices("torn", relabelled("train", "d_1")), COHORT, parameters, "cgsamr")


def test_a_plan_of_more_subjects_than_there_are_is_refused(new_slices, parameters):
    with pytest.raises(InputError, match="training_subjects: 4. Allowed: at most 2, or all"):
        nodes.make_plan(new_slices(), COHORT, parameters, "comparison")


def test_nothing_is_trained_on_a_test_subjects_slice_that_is_labelled_as_train(new_slices, folders, new_plan):
    torn, at = new_slices(change=relabelled("train", "d_1")), folders("x")
    plan = new_plan(torn)
    with pytest.raises(InputError, match="leakage: subjects of the slices are in more than one split.*Given: d"):
        nodes.train_synthesizers(plan, torn, at, AUGMENTATION, RUN)
    with pytest.raises(InputError, match="leakage: subjects of the slices are in more than one split.*Given: d"):
        nodes.train_segmenters(plan, torn, {FIRST: torn}, at, AUGMENTATION, RUN)
    assert not at.results.exists()


def drawn(**changed):
    """A change of the training subjects' slices: rows that tell of a synthetic slice."""

    def change(studies):
        for name in ("a", "b"):
            for column, value in changed.items():
                studies[name].table[column] = value

    return change


@pytest.mark.parametrize(
    "plant",
    [
        {"subject": "d"},
        {"donor": "d_1"},
        {"source": "synthetic", "record": '{"target": {"subject": "d"}, "donor": null}'},
        {"source": "synthetic", "record": '{"target": {"subject": "a"}, "donor": {"subject": "d"}}'},
    ],
)
def test_no_segmenter_is_trained_on_a_slice_that_a_test_subject_had_a_part_in(new_slices, folders, new_plan, plant):
    slices, at = new_slices(), folders("x")
    plan = new_plan(slices, arms=("real", "real+50%"))
    synthetic = new_slices("synthetic", drawn(**plant))
    told = rf"leakage: unet/real\+50%/{FIRST} has seen subjects.*Given: d \(test\)"
    with pytest.raises(InputError, match=told):
        nodes.train_segmenters(plan, slices, {FIRST: synthetic}, at, AUGMENTATION, RUN)
    assert not (at.model("segmenters") / "unet" / "real+50%").exists()


# --- how long ---------------------------------------------------------------------------------------------------------


def test_every_arm_takes_as_many_steps_unless_it_asks_for_equal_epochs(new_slices, folders, train_unets):
    slices = new_slices()
    runs = train_unets(slices, slices, folders("x"), arms=("real", "real+25%", "synthetic", "conventional", "longer"))
    steps = {arm: run.history()["step"].max() for arm, run in runs.items()}
    # Twice the slices of the baseline, so twice its two steps.
    assert steps == {"real": 2, "real+25%": 2, "synthetic": 2, "conventional": 2, "longer": 4}


@pytest.mark.parametrize(
    ("unit", "arm", "times", "expected"),
    [
        ("steps", "real+50%", 2.0, (100, 60)),
        ("steps", "longer", 2.0, (200, 120)),
        ("steps", "longer", 1.5, (150, 90)),
        ("epochs", "longer", 2.0, (100, 60)),  # equal epochs as they stand
        ("epochs", "real+50%", 2.0, (50, 30)),  # half as many epochs of twice the slices
        ("steps", "real longer", 1.0, (250, 150)),
        ("epochs", "real longer", 1.0, (250, 150)),
    ],
)
def test_lengths_are_scaled_by_what_is_to_be_equal(new_slices, new_plan, unit, arm, times, expected):
    training = TrainingOptions(constant=100, decay=60, unit=unit)
    case = new_plan(new_slices(), arms=("real", arm)).segmenters[-1]
    changed = nodes.lengthened(training, case, times)
    assert (changed.constant, changed.decay) == expected and changed.unit == unit


# --- when they are done again -----------------------------------------------------------------------------------------


def changed(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def test_unchanged_trainings_are_not_touched(new_slices, folders, train_cgsamr, train_unets):
    slices, synthetic = new_slices(), new_slices("synthetic")
    train_cgsamr(slices, folders("x"))
    train_unets(slices, synthetic, folders("x"))
    before = changed(folders("x").results)
    train_cgsamr(slices, folders("x"))
    train_unets(slices, synthetic, folders("x"))
    assert changed(folders("x").results) == before


def test_another_trial_finds_what_both_have(new_slices, folders, train_unets):
    slices, at = new_slices(), folders("x")
    first = train_unets(slices, slices, at, arms=("real", "real+50%"))
    before = changed(at.results)
    other = train_unets(slices, slices, at, name="other", arms=("real", "conventional"), seeds=(0, 1))
    after = changed(at.results)
    assert {name: after[name] for name in before} == before
    assert first["real"].root.parent == other["real"].root.parent
    added = {name.removeprefix("06_models/segmenters/").split("/images")[0] for name in set(after) - set(before)}
    assert {Path(name).parts[1:5] for name in added} == {
        (arm, "none", "2-subjects", seed) for arm, seed in [("conventional", "seed-0"), ("conventional", "seed-1")]
    } | {("real", "none", "2-subjects", "seed-1")}


def test_other_synthetic_slices_do_not_cost_the_segmenter_of_real_ones(new_slices, folders, train_unets):
    slices, at = new_slices(), folders("x")
    train_unets(slices, new_slices("synthetic"), at)
    before = changed(at.model("segmenters"))
    train_unets(slices, new_slices("other", paint("a")), at)
    after = changed(at.model("segmenters"))
    again = {Path(name).parts[1] for name in before if after[name] != before[name]}
    assert again == {"real+25%", "real+50%"}


def test_another_conventional_augmentation_costs_its_own_arm_alone(new_slices, folders, new_plan, looked):
    slices, keys = new_slices(), []
    plan = new_plan(slices, arms=("real", "conventional"))
    for options in (AUGMENTATION, AugmentationOptions.model_validate({"conventional": {"flip_probability": 0.0}})):
        nodes.train_segmenters(plan, slices, {FIRST: slices}, folders("x"), options, RUN)
        keys.append({place: given["key"] for place, given in looked.items()})
    differ = {place for place in keys[0] if keys[0][place] != keys[1][place]}
    assert differ == {"unet/conventional/none/2-subjects/seed-0"}


def test_a_seed_is_never_taken_for_the_trainings_own(new_slices, folders, train_cgsamr, new_recipe):
    # Both runs have 1 for the training's seed; the first has it from the run, whose weights are others.
    slices = new_slices()
    first = train_cgsamr(slices, folders("x"), seed=1)
    again = train_cgsamr(slices, folders("y"), recipes={"cgsamr": new_recipe("cgsamr", seed=1)})
    assert not equal(first, again)


def test_only_what_is_planned_is_handed_on(new_slices, folders, train_unets):
    slices, synthetic, at = new_slices(), new_slices("synthetic"), folders("x")
    train_unets(slices, synthetic, at)
    assert list(train_unets(slices, synthetic, at, arms=("real", "real+50%"))) == ["real", "real+50%"]


def test_cgsamr_without_any_lesion_is_refused_before_it_trains(new_slices, folders, train_cgsamr):
    def healthy(studies):
        for study in studies.values():
            study.labels[study.labels > 1] = 1
            study.table["domain"] = "healthy"

    with pytest.raises(InputError, match="no training slice holds a lesion.*6 training slices.*CG-SAMR to learn from"):
        train_cgsamr(new_slices(change=healthy), folders("x"))
    assert not folders("x").results.exists()


@pytest.mark.parametrize("change", ["seed", "options", "training"])
def test_what_decides_the_result_trains_anew(new_slices, folders, train_cgsamr, new_recipe, change):
    slices, at = new_slices(), folders("x")
    first = weights(train_cgsamr(slices, at))
    if change == "seed":
        again = train_cgsamr(slices, at, seed=1)
    elif change == "options":
        plain = new_recipe("cgsamr")
        weaker = {**plain.options, "weights": {**plain.options["weights"], "confidence": 0.0}}
        again = train_cgsamr(slices, at, recipes={"cgsamr": plain.model_copy(update={"options": weaker})})
    else:
        again = train_cgsamr(slices, at, recipes={"cgsamr": new_recipe("cgsamr", constant=3)})
    assert not all(np.array_equal(a, b) for a, b in zip(first, weights(again), strict=True))


def test_the_runs_seed_is_added_to_the_trainings_own():
    assert nodes.seeded(TrainingOptions(seed=3), 4).seed == 7


# --- what they are given beside slices --------------------------------------------------------------------------------


def test_segmenters_are_given_images_and_labels_alone(new_slices, folders, train_unets, looked):
    train_unets(new_slices(), new_slices("synthetic"), folders("x"))
    for given in looked.values():
        assert given["slices"].tensors["images"].shape[1:] == (2, 16, 16) and given["slices"].tensors["labels"].shape[
            1:
        ] == (16, 16)
        assert given["slices"].fields == ("images", "labels")


def test_without_a_validation_subject_there_is_no_validation(new_slices):
    def none(studies):
        studies["c"].table["split"] = "train"

    slices, by = new_slices(change=none), validation_dice
    assert nodes.validation(slices, by) is None and nodes.judged_on(None, slices) == set()
    slices = new_slices("some")
    with_some = nodes.validation(slices, by)
    assert with_some is not None and with_some.arguments["places"] == [6, 7, 8]  # subject c, after a and b
    assert nodes.judged_on(with_some, slices) == {"c"}


def test_pictures_are_of_validation_slices_with_lesions(new_slices):
    def healthy(studies):
        studies["c"].table.loc[0, "domain"] = "healthy"

    slices = new_slices(change=healthy)
    places = slices.select("validation", "pathological")
    assert len(places) == 2
    assert nodes.preview_places(slices).tolist() == places.tolist()


def test_without_validation_subjects_pictures_are_of_training_slices(new_slices):
    def none(studies):
        studies["c"].table["split"] = "test"

    # Four of the six training slices, spread evenly: 0, 5/3, 10/3 and 5 rounded down.
    assert nodes.preview_places(new_slices(change=none)).tolist() == [0, 1, 3, 5]


def test_the_task_is_what_the_slices_hold(new_slices):
    task = nodes.task_of(new_slices())
    assert task.sequences == ("T1w", "FLAIR") and task.lesion_classes == ("edema", "tumor")
    assert make_method("unet", UNET, task, 0).task == task


def test_trainings_side_by_side_are_those_of_one_after_the_other(new_slices, folders, new_plan):
    slices, at = new_slices(), [folders("alone"), folders("together")]
    plan = new_plan(slices, arms=("real", "conventional"), seeds=(0, 1))
    unet = plan.segmenters[0].recipe
    unet = unet.model_copy(update={"training": unet.training.model_copy(update={"threads": 1})})
    cases = tuple(case.model_copy(update={"recipe": unet}) for case in plan.segmenters)
    plan = plan.model_copy(update={"segmenters": cases})
    alone, together = (
        nodes.train_segmenters(plan, slices, {}, place, AUGMENTATION, run)
        for place, run in zip(at, (RUN, RunOptions(trainings=2)), strict=True)
    )
    assert len(together) == 4 and together.keys() == alone.keys()
    assert all(equal(alone[key], together[key]) for key in alone)
    assert not equal(*(together[key] for key in list(together)[:2]))
