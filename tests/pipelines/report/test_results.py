"""Which arms tell what synthetic slices add, and which stand together."""

from __future__ import annotations

import pandas as pd
import pytest

from lesionlab.pipelines.report.results import Results
from lesionlab.training.options import TrainingOptions
from lesionlab.trials.options import METHOD_TITLES, Arm, TrialOptions
from lesionlab.trials.plan import Recipe, SegmenterCase, SynthesizerCase, TrialPlan

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
        recipe = Recipe(method=name, title=METHOD_TITLES[name], options={}, training=TrainingOptions())
        made.append(SynthesizerCase(name=name, recipe=recipe, subjects=subjects, seed=0))
    for arm, key in (("real", None), *(("real+50%", case.key) for case in made)):
        arm_options = Arm(synthetic=float(key is not None))
        cases.append(SegmenterCase(arm_name=arm, arm=arm_options, synthesizer=key, subjects=subjects, seed=0))
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
