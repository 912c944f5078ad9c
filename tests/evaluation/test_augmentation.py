"""Which arms tell what synthetic slices add, and which stand together."""

from __future__ import annotations

import pandas as pd
import pytest

from lesionlab.evaluation.augmentation import Line, Results, slice_counts, small_table
from lesionlab.training.options import TrainingOptions
from lesionlab.trials.options import Arm, TrialOptions
from lesionlab.trials.plan import Recipe, SegmenterCase, SynthesizerCase, TrialPlan

UNET = Recipe(method="unet", title="U-Net", options={}, training=TrainingOptions())

ARMS = {
    "real": Arm(),
    "real+50%": Arm(synthetic=1.0),
    "real+50% longer": Arm(synthetic=1.0, equal="epochs"),
    "real longer": Arm(length=2.0),
    "synthetic": Arm(real=False, synthetic=1.0),
    "conventional": Arm(conventional=True),
    "conventional+50%": Arm(conventional=True, synthetic=1.0),
}


def adding(*arms: str) -> list[str]:
    """The arms of a trial, its baseline first, that differ from the baseline by synthetic slices alone."""
    cases = tuple(
        SegmenterCase(
            recipe=UNET,
            arm_name=name,
            arm=ARMS[name],
            synthesizer="cgsamr/1-subjects/seed-0" if ARMS[name].synthetic else None,
            subjects=("a",),
            seed=0,
        )
        for name in arms
    )
    options = TrialOptions(synthesizers=("cgsamr",), arms=arms)
    plan = TrialPlan(name="t", options=options, synthesizers=(), segmenters=cases)
    nothing = pd.DataFrame()
    lines = Results(plan, nothing, nothing, nothing).lines({case.key: (6, 3) for case in cases})
    assert [line.protocol for line in lines] == list(arms)
    return [line.protocol for line in lines if line.adds]


def test_arms_stand_by_synthesizer_beside_those_that_have_none():
    options = TrialOptions(synthesizers=("samr", "cgsamr"), arms=("real", "real+50%"))
    subjects, cases, made = ("a", "b"), [], []
    for name in options.synthesizers:
        recipe = Recipe(
            method=name, title={"samr": "SAMR", "cgsamr": "CG-SAMR"}[name], options={}, training=TrainingOptions()
        )
        made.append(SynthesizerCase(name=name, recipe=recipe, subjects=subjects, seed=0))
    for arm, key in (("real", None), *(("real+50%", case.key) for case in made)):
        arm_options = Arm(synthetic=float(key is not None))
        cases.append(
            SegmenterCase(recipe=UNET, arm_name=arm, arm=arm_options, synthesizer=key, subjects=subjects, seed=0)
        )
    plan = TrialPlan(name="t", options=options, synthesizers=tuple(made), segmenters=tuple(cases))
    nothing = pd.DataFrame()
    assert Results(plan, nothing, nothing, nothing).by_synthesizer() == {
        "SAMR": {"real": "real", "real+50%": "real+50%, SAMR"},
        "CG-SAMR": {"real": "real", "real+50%": "real+50%, CG-SAMR"},
    }


@pytest.mark.parametrize(
    ("arms", "expected"),
    [
        (tuple(ARMS), ["real+50%"]),  # not twice as long, not without the real slices, not by flips besides
        (("conventional", "conventional+50%", "real+50%"), ["conventional+50%"]),
        (("real", "conventional+50%"), []),
    ],
)
def test_an_arm_adds_that_differs_from_the_baseline_by_synthetic_slices_alone(arms, expected):
    assert adding(*arms) == expected


def test_the_small_table_has_slices_dice_with_its_interval_and_published_figures_by_size(line):
    lines = [Line(4, "real", 100, 0), Line(18, "real", 480, 0), Line(18, "real+25%", 480, 240, True)]
    rows = [(4, "real", 0.2), (4, "real+25%", 0.3), (18, "real", 0.5), (18, "real+25%", 0.6)]
    cells = [
        line(protocol=arm, metric="dice", mean=mean, published=0.647, training_subjects=size, **{"class": "edema"})
        for size, arm, mean in rows
    ]
    table = small_table(pd.concat(cells), lines, ["edema", "tumor"])
    assert table.columns == ["real", "synthetic", "edema", "tumor"]
    found = {one.heading: {name: [tuple(cell) for cell in own] for name, own in one.lines} for one in table.sections}
    dice = ("0.600 (0.400 to 0.600)", "0.647")
    # The line of 4 subjects with synthetic slices is in the table of scores, but none of the lines asked for.
    assert list(found) == ["4 training subjects", "18 training subjects"] and list(found["4 training subjects"]) == [
        "real"
    ]
    assert found["18 training subjects"]["real+25%"] == [("480", ""), ("240", ""), dice, ("–", "")]


def test_segmenters_count_real_and_synthetic_training_slices(new_slices, new_plan):
    slices = new_slices()
    # Two training subjects of three slices: 6 real ones.
    plan = new_plan(slices, arms=("real", "real+25%", "synthetic"), sizes=(1, "all"))
    counts = slice_counts(plan, slices)
    assert counts["unet/real/none/2-subjects/seed-0"] == (6, 0)
    assert counts["unet/real+25%/cgsamr/2-subjects/seed-0"] == (6, 3)
    assert counts["unet/synthetic/cgsamr/1-subjects/seed-0"] == (0, 3)


def test_a_segmenter_is_called_by_its_synthesizer_where_there_are_several(new_slices, new_plan):
    one, several = (new_plan(new_slices(), synthesizers=own) for own in (("cgsamr",), ("samr", "cgsamr")))
    assert [one.label(case) for case in one.segmenters] == ["real", "real+25%", "real+50%"]
    assert [several.label(case) for case in several.segmenters][:3] == [
        "real",
        "real+25%, SAMR",
        "real+25%, CG-SAMR",
    ]
