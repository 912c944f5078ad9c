"""Which arms tell what synthetic slices add."""

from __future__ import annotations

import pandas as pd
import pytest

from lesionlab.pipelines.report.results import Results
from lesionlab.trials.options import Arm, TrialOptions
from lesionlab.trials.plan import SegmenterCase, TrialPlan

ARMS = {
    "real": Arm(),
    "real+50%": Arm(synthetic=1.0),
    "real+50% longer": Arm(synthetic=1.0, equal="epochs"),
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
