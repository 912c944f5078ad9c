"""A plan names every training once, with the subjects that it is made from."""

from __future__ import annotations

import pandas as pd
import pytest

from lesionlab.errors import InputError
from lesionlab.training.options import TrainingOptions
from lesionlab.trials.options import Arm, TrialOptions
from lesionlab.trials.plan import Recipe, TrialPlan, plan_trial

ARMS = {
    "real": Arm(),
    "half": Arm(synthetic=0.5),
    "both": Arm(synthetic=1.0),
    "conventional": Arm(conventional=True),
}
STEPS = TrainingOptions(constant=1, decay=1)
RECIPES = {
    name: Recipe(method=name, title=name.upper(), options={}, training=STEPS) for name in ("samr", "cgsamr", "unused")
}
SPLITS = {"a": "train", "b": "train", "c": "train", "v": "validation", "t": "test"}
SLICES = pd.DataFrame({"subject": list(SPLITS), "split": list(SPLITS.values()), "domain": "pathological"})


UNET = {"unet": Recipe(method="unet", title="U-Net", options={}, training=STEPS)}
MDGRU = {"mdgru": Recipe(method="mdgru", title="MDGRU", options={}, training=STEPS)}


def plan(seed: int = 0, segmenters: dict[str, Recipe] = UNET, **options) -> TrialPlan:
    given = {"synthesizers": ("samr", "cgsamr"), "arms": ("real", "half", "both"), **options}
    return plan_trial("mine", TrialOptions(**given), ARMS, RECIPES, segmenters, SLICES, seed)


def test_every_arm_is_trained_with_every_synthesizer_on_every_set_and_seed():
    made = plan(training_subjects=(2, "all"), seeds=(0, 3), arms=("real", "conventional", "both"))
    sets = [f"{size}-subjects/seed-{seed}" for size in (2, 3) for seed in (0, 3)]
    assert [case.key for case in made.synthesizers] == [f"{one}/{own}" for own in sets for one in ("samr", "cgsamr")]
    arms = ["real/none", "conventional/none", "both/samr", "both/cgsamr"]
    assert [case.key for case in made.segmenters] == [f"unet/{arm}/{own}" for own in sets for arm in arms]


def test_a_segmenter_sees_its_own_synthesizers_slices_of_the_same_subjects_and_seed():
    made = plan(training_subjects=(1, 2), seeds=(0, 1, 2))
    drawn = [case for case in made.segmenters if case.synthesizer]
    assert len(drawn) == 2 * 3 * 2 * 2
    for case in drawn:
        source = made.synthesizer(case.synthesizer)
        assert (source.subjects, source.seed, source.name) == (case.subjects, case.seed, case.synthesizer_name)
    assert {case.synthesizer_name for case in made.segmenters if not case.synthesizer} == {"none"}


def test_nothing_is_trained_twice():
    made = plan(training_subjects=(3, "all", 2, 2))
    keys = [case.key for case in (*made.synthesizers, *made.segmenters)]
    assert len(keys) == len(set(keys))
    assert {len(case.subjects) for case in made.segmenters} == {2, 3}  # all are three


def test_only_training_subjects_are_planned():
    made = plan(training_subjects=("all",))
    assert {case.subjects for case in (*made.synthesizers, *made.segmenters)} == {("a", "b", "c")}


def test_the_trials_seeds_are_added_to_the_runs():
    assert [case.seed for case in plan(seed=10, seeds=(0, 5), arms=("real",)).segmenters] == [10, 15]


def test_arms_without_synthetic_slices_draw_none():
    made = plan(arms=("real", "conventional"))
    assert [made.ratio(case.key) for case in made.synthesizers] == [0.0, 0.0]
    assert [case.synthesizer for case in made.segmenters] == [None, None]


def test_a_trial_may_have_synthesizers_alone_or_segmenters_alone():
    drawers, finders = plan(segmenters={}, arms=()), plan(synthesizers=(), arms=("real",))
    assert [case.name for case in drawers.synthesizers] == ["samr", "cgsamr"] and drawers.segmenters == ()
    assert finders.synthesizers == () and [case.arm_name for case in finders.segmenters] == ["real"]
    assert drawers.shown() == drawers and finders.shown() == finders


def test_several_segmenters_are_trained_in_each_arm():
    made = plan(segmenters=UNET | MDGRU, synthesizers=("samr",), arms=("real", "both"))
    assert [made.label(case) for case in made.segmenters] == [
        "real, U-Net", "both, U-Net", "real, MDGRU", "both, MDGRU",
    ]  # fmt: skip


def test_claims_are_those_of_the_trials_methods_and_of_their_variants():
    claimed = (("cgsamr", "samr"), ("samr", "shin"))
    recipes = {name: one.model_copy(update={"claims": claimed}) for name, one in RECIPES.items()}
    recipes["less"] = recipes["cgsamr"].model_copy(update={"title": "less"})
    options = TrialOptions(synthesizers=("samr", "cgsamr", "less"))
    made = plan_trial("mine", options, ARMS, recipes, UNET, SLICES, 0)
    assert made.claims() == (("cgsamr", "samr"), ("cgsamr", "less"))


def test_as_many_slices_are_drawn_as_the_greediest_arm_takes():
    made = plan()
    assert {made.ratio(case.key) for case in made.synthesizers} == {1.0}
    assert {plan(arms=("real", "half")).ratio(case.key) for case in made.synthesizers} == {0.5}


def test_too_many_subjects_are_refused():
    with pytest.raises(InputError, match="fewer training subjects than a trial asks for.*training_subjects: 4.*most 3"):
        plan(training_subjects=(2, 4))


def test_pictures_are_of_the_largest_set_and_the_first_seed():
    shown = plan(training_subjects=(1, "all", 2), seeds=(4, 0)).shown()
    assert [case.key for case in shown.synthesizers] == ["samr/3-subjects/seed-4", "cgsamr/3-subjects/seed-4"]
    assert {(len(case.subjects), case.seed) for case in shown.segmenters} == {(3, 4)}
    assert len(shown.segmenters) == 5


def test_a_segmenters_label_names_its_synthesizer_only_beside_another():
    several, single = plan(), plan(synthesizers=("samr",))
    assert [several.label(case) for case in several.segmenters] == [
        "real", "half, SAMR", "half, CGSAMR", "both, SAMR", "both, CGSAMR",
    ]  # fmt: skip
    assert [single.label(case) for case in single.segmenters] == ["real", "half", "both"]


def test_the_table_names_everybody():
    table = plan(training_subjects=(2,), arms=("real", "both"), synthesizers=("samr",)).table()
    assert table["training"].tolist() == [
        "samr/2-subjects/seed-0", "unet/real/none/2-subjects/seed-0", "unet/both/samr/2-subjects/seed-0",
    ]  # fmt: skip
    assert table["what"].tolist() == ["synthesizer", "segmenter", "segmenter"]
    assert table["members"].nunique() == 1 and len(table["members"][0].split()) == 2
