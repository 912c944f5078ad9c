"""What a page says of its run, with its numbers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lesionlab.config import ExperimentConfigLoader
from lesionlab.methods.registry import titles
from lesionlab.parameters import Parameters
from lesionlab.reporting import run_facts
from lesionlab.reporting.qc_page import QCSummary
from lesionlab.settings import CONFIG_LOADER_ARGS
from lesionlab.trials.plan import plan_trial

CONF = Path(__file__).parents[2] / "conf"
SPLIT = pd.DataFrame(
    {"subject": list("abcd"), "split": ["train", "train", "validation", "test"], "lesion_ml": [1.25, 30.0, 2.0, None]}
)

COHORT = pd.DataFrame({"path": range(20), "study": "a", "lesion_ml": float("nan")})


@pytest.fixture
def facts(new_slices):
    """Makes the facts of a run on slices of two training subjects, one for validation and one for testing."""

    def make(split: pd.DataFrame = SPLIT, change=bool, trial=None, **changed) -> run_facts.Facts:
        values = ExperimentConfigLoader(str(CONF), "base", **CONFIG_LOADER_ARGS)["parameters"]
        own = {"synthesizers": ["cgsamr"], "arms": ["real", "real+25%", "real+50%"]}
        trials = values["trials"] | {"mine": trial or own}
        options = Parameters.model_validate(values | changed | {"trials": trials})
        slices, synthetic = new_slices("slices", change), new_slices("synthetic", manipulated)
        plan = plan_trial(
            "mine", options.trial("mine"), options.arms, options.recipes(), options.segmenters("mine"), slices.table, 0
        )
        stores = {case.key: synthetic for case in plan.synthesizers}
        plain = options.model_dump(mode="json", by_alias=True)
        return run_facts.Facts(plain, plan, titles(), COHORT, split, slices, stores)

    return make


def manipulated(studies) -> None:
    for name, kind in {"a": "swap", "b": "swap", "c": "mirror", "d_1": "shrink", "d_2": "swap"}.items():
        studies[name].table["manipulation"] = kind


SEVERAL = {
    "synthesizers": ["samr", "cgsamr"],
    "arms": ["real", "real+50%", "synthetic", "real+50% longer"],
    "training_subjects": [1, "all"],
    "seeds": [0, 1, 2],
}


def steps(facts: run_facts.Facts) -> dict[str, str]:
    return {step: f"{setting} {figure}" for step, setting, figure in run_facts.steps(facts)}


def test_several_synthesizers_sizes_and_seeds_are_counted(facts):
    made = facts(trial=SEVERAL)
    assert run_facts.title(made) == "SAMR and CG-SAMR on phantom: what synthetic lesions did to segmentation"
    said = run_facts.summary(made)
    # Of each of 2 sizes and 3 seeds two synthesizers; real, and three arms with either synthesizer.
    assert "12 synthesizers and 42 segmenters trained on 1 and 2 subjects, 3 seeds; tested on 1 subject" in said
    found = steps(made)
    assert {"SAMR", "CG-SAMR"} <= set(found) and found["SAMR"].endswith("6 trainings")
    assert "arms: real, real+50%, synthetic and real+50% longer 42 trainings" in found["U-Net"]
    assert f"{12 * 15} slices" in found["Synthetic slices"]  # of 12 synthesizers each has drawn the same 15


def test_many_synthesizers_are_counted_in_the_title(facts):
    made = facts(trial={**SEVERAL, "synthesizers": ["samr", "cgsamr", "without_atlas"]})
    assert run_facts.title(made).startswith("3 synthesizers on phantom")


def test_a_trial_without_synthesizers_is_called_by_its_segmenters(facts):
    made = facts()
    alone = [case for case in made.plan.segmenters if case.synthesizer is None]
    plan = made.plan.model_copy(update={"synthesizers": (), "segmenters": tuple(alone)})
    made = made._replace(plan=plan, synthetic={})
    assert run_facts.title(made) == "U-Net on phantom: segmentation"
    assert "Synthetic slices" not in steps(made) and "synthetic slices" not in run_facts.figures(made)
    made = made._replace(plan=facts().plan.model_copy(update={"segmenters": ()}))
    assert run_facts.title(made) == "CG-SAMR on phantom: synthesis" and "U-Net" not in steps(made)


def test_figures(facts):
    found = run_facts.figures(facts())
    assert found["subjects"] == "4" and found["training / validation / test"] == "2 / 1 / 1"
    assert found["sequences"] == "T1w, T1ce, T2w, FLAIR, APTw"
    assert (found["real training slices"], found["synthetic slices"]) == ("6", "15")


def test_figures_without_a_validation_subject(facts):
    def none(studies):
        studies["c"].table["split"] = "train"

    made = facts(SPLIT.replace({"split": {"validation": "train"}}), change=none)
    assert run_facts.figures(made)["training / validation / test"] == "3 / 0 / 1"
    assert run_facts.steps(made)


def test_subjects_are_counted_that_gave_slices(facts):
    # A fifth subject was to be tested, but failed on the way.
    more = pd.concat([SPLIT, SPLIT.iloc[-1:].assign(subject="e")])
    assert run_facts.figures(facts(more))["training / validation / test"] == "2 / 1 / 1"


def test_how_much_of_the_lesions_lies_in_the_slices(facts):
    # Two visits of three test slices with 16 lesion pixels each, of 2 x 2 x 5 mm: 0.96 ml a visit, of 1.2 drawn.
    cohort = pd.DataFrame({"study": ["d_1", "d_2"], "lesion_ml": [1.2, 1.2]})
    assert "80% of the lesions' volume" in steps(facts()._replace(cohort=cohort))["Evaluation"]
    unknown = cohort.assign(lesion_ml=float("nan"))
    assert "volume" not in steps(facts()._replace(cohort=unknown))["Evaluation"]


def test_the_split_as_a_table(facts):
    table = run_facts.split_table(facts()).set_index("split")
    assert table["subjects"].to_dict() == {"train": 2, "validation": 1, "test": 1}
    assert table["slices"].to_dict() == {"train": 6, "validation": 3, "test": 6}
    assert table["with lesion"].to_dict() == {"train": 6, "validation": 3, "test": 6}
    volumes = table["lesion volume, ml (least to most)"].to_dict()
    assert volumes == {"train": "1.2 to 30.0", "validation": "2.0 to 2.0", "test": "no masks"}


def test_a_part_of_the_split_without_subjects_has_no_row(facts):
    table = run_facts.split_table(facts(SPLIT.replace({"split": {"validation": "train"}})))
    assert table["split"].tolist() == ["train", "test"]


def test_steps_have_their_settings(facts):
    chosen = {
        "coregister": {"kind": "affine"},
        "brain": {"backend": "hd-bet"},
        "bias": {"method": "n4"},
        "standardize": {"rule": "p99_5"},
        "grid": {"in_plane_mm": 1.5, "size": [96, 112]},
        "atlas": {"align": "rigid"},
        "splits": {"protocol": "leave_one_out"},
        "cgsamr": {"training": {"constant": 30, "decay": 12, "unit": "epochs", "batch_size": 5}},
        "unet": {"training": {"constant": 7, "decay": 0, "unit": "steps", "batch_size": 6}},
    }
    found = steps(facts(**chosen))
    assert found["Scans"] == "phantom 20 scans" and found["Split"] == "leave one out 2 + 1 + 1"
    assert found["Co-registration"].startswith("affine, to T1w")
    assert "hd-bet" in found["Brain extraction"] and "p99_5" in found["Standardization"]
    assert "n4" in found["Bias correction"] and "rigid" in found["Atlas"]
    assert "96 × 112 pixels of 1.5 mm" in found["Grid"]
    assert "42 epochs, batch 5" in found["CG-SAMR"] and "7 steps, batch 6" in found["U-Net"]
    assert "9 swap, 3 mirror, 3 shrink" in found["Synthetic slices"] and "15 slices" in found["Synthetic slices"]


@pytest.mark.parametrize(
    ("stage", "step"),
    [("coregister", "Co-registration"), ("bias", "Bias correction"), ("atlas", "Atlas"), ("tissues", "Tissues")],
)
def test_a_stage_that_is_off_is_no_step(facts, stage, step):
    assert step in steps(facts()) and step not in steps(facts(**{stage: {"enabled": False}}))


def test_quality_control_names_who_stands_out_and_why_others_failed():
    summary = QCSummary(24, ("phantom-03",), {"phantom-07": ("no brain found",)})
    found = run_facts.qc_section(summary, pd.DataFrame(columns=["study", "reason"]))
    assert "24 studies; 1 failed; 1 stand out (phantom-03)" in found.lead
    assert found.points == [("phantom-07", "no brain found")] and not found.filled()
