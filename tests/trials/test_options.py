"""What a trial may say."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from lesionlab.trials.options import Arm, TrialOptions, Variant

ONE = {"synthesizers": ("cgsamr",), "arms": ("real", "real+50%")}


def test_an_arm_is_real_slices_alone_unless_it_says_more():
    assert Arm() == Arm(real=True, synthetic=0.0, conventional=False, equal="steps")


@pytest.mark.parametrize("given", [{"real": False}, {"real": False, "conventional": True}])
def test_an_arm_without_any_slices_is_refused(given):
    with pytest.raises(ValidationError, match="an arm needs slices: set real, or synthetic above 0"):
        Arm(**given)
    assert Arm(**given, synthetic=0.1).synthetic == 0.1


@pytest.mark.parametrize("given", [{"synthetic": -0.5}, {"equal": "slices"}, {"synthetc": 1.0}])
def test_other_arms_are_refused(given):
    with pytest.raises(ValidationError):
        Arm(**given)


def test_a_trial_takes_everybody_once_unless_it_says_more():
    options = TrialOptions(**ONE)
    assert options.training_subjects == ("all",) and options.seeds == (0,)
    assert options.baseline == "real"


@pytest.mark.parametrize(
    "given",
    [
        {"training_subjects": ()},
        {"training_subjects": (0,)},
        {"training_subjects": (-4,)},
        {"training_subjects": ("most",)},
        {"seeds": ()},
        {"seeds": ("x",)},
        {"arm": ("real",)},
    ],
)
def test_other_trials_are_refused(given):
    with pytest.raises(ValidationError):
        TrialOptions(**ONE | given)


def test_a_variant_changes_something_of_a_method():
    assert Variant(of="samr", change={"weights": {"confidence": 0}}, title="plain").of == "samr"
    for wrong in ({"of": 1, "change": {"a": 1}}, {"of": "samr", "change": {}}):
        with pytest.raises(ValidationError):
            Variant(**wrong, title="wrong")
