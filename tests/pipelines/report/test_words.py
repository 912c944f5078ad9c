"""The report's sentences say what was done, with its numbers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lesionlab.config import ExperimentConfigLoader
from lesionlab.parameters import Parameters
from lesionlab.pipelines.report import words
from lesionlab.settings import CONFIG_LOADER_ARGS
from lesionlab.trials.plan import plan_trial

CONF = Path(__file__).parents[3] / "conf"
SPLIT = pd.DataFrame(
    {"subject": list("abcd"), "split": ["train", "train", "validation", "test"], "lesion_ml": [1.25, 30.0, 2.0, None]}
)

COHORT = pd.DataFrame({"path": range(20), "study": "a", "lesion_ml": float("nan")})


@pytest.fixture
def facts(new_slices):
    """Makes the facts of a run on slices of two training subjects, one for validation and one for testing."""

    def make(split: pd.DataFrame = SPLIT, change=bool, trial=None, **changed) -> words.Facts:
        values = ExperimentConfigLoader(str(CONF), "base", **CONFIG_LOADER_ARGS)["parameters"]
        trials = values["trials"] | {"mine": trial or values["trials"]["cgsamr"]}
        options = Parameters.model_validate(values | changed | {"trials": trials})
        slices, synthetic = new_slices("slices", change), new_slices("synthetic", manipulated)
        plan = plan_trial("mine", options.trials["mine"], options.arms, options.recipes(), slices.table, 0)
        return words.Facts(options, plan, COHORT, split, slices, {case.key: synthetic for case in plan.synthesizers})

    return make


def manipulated(studies) -> None:
    for name, kind in {"a": "swap", "b": "swap", "c": "mirror", "d_1": "shrink", "d_2": "swap"}.items():
        studies[name].table["manipulation"] = kind


def steps(facts: words.Facts) -> dict[str, str]:
    return {step.name: f"{step.text} {step.figure}" for step in words.steps(facts)}


SEVERAL = {
    "synthesizers": ["samr", "cgsamr"],
    "arms": ["real", "real+50%", "synthetic", "real+50% longer"],
    "training_subjects": [1, "all"],
    "seeds": [0, 1, 2],
}


def test_segmenters_count_real_and_synthetic_training_slices(facts):
    # Two training subjects of three slices: 6 real ones.
    assert facts().counts == {
        "real/none/2-subjects/seed-0": (6, 0),
        "real+25%/cgsamr/2-subjects/seed-0": (6, 3),
        "real+50%/cgsamr/2-subjects/seed-0": (6, 6),
    }
    counts = facts(trial=SEVERAL).counts
    assert counts["real+50%/samr/1-subjects/seed-2"] == (3, 3)
    assert counts["synthetic/cgsamr/2-subjects/seed-0"] == (0, 6)


def test_several_synthesizers_sizes_and_seeds_are_told(facts):
    made = facts(trial=SEVERAL)
    assert words.title(made) == "SAMR and CG-SAMR on phantom: what synthetic lesions did to segmentation"
    said = words.summary(made)
    assert "SAMR and CG-SAMR each learnt to draw" in said and "on the slices of 1 and 2 subjects. They then" in said
    assert "Everything was trained 3 times, from other weights." in said
    told = steps(made)
    assert {"SAMR", "CG-SAMR"} <= set(told)
    # Of each seed and size: real; three arms with either synthesizer.
    assert told["U-Net"].startswith("42 segmenters (real, real+50%, synthetic and real+50% longer)")
    assert f"{12 * 15} slices" in told["Synthetic slices"]  # 12 synthesizers, of which each has drawn the same 15


def test_many_synthesizers_are_counted_in_the_title(facts):
    made = facts(trial={**SEVERAL, "synthesizers": ["samr", "cgsamr", "without_atlas"]})
    assert words.title(made).startswith("3 synthesizers on phantom")
    assert "from label map alone, against six discriminators" in steps(made)["w/o atlas"]


def test_a_segmenter_is_called_by_its_synthesizer_where_there_are_several(facts):
    one, several = facts().plan, facts(trial=SEVERAL).plan
    assert [one.label(case) for case in one.segmenters] == ["real", "real+25%", "real+50%"]
    labels = list(dict.fromkeys(several.label(case) for case in several.segmenters))
    assert labels[:3] == ["real", "real+50%, SAMR", "real+50%, CG-SAMR"]


def test_figures(facts):
    found = words.figures(facts())
    assert found["subjects"] == "4" and found["training / validation / test"] == "2 / 1 / 1"
    assert found["sequences"] == "T1w, T1ce, T2w, FLAIR, APTw"
    assert (found["real training slices"], found["synthetic slices"]) == ("6", "15")


def test_figures_without_a_validation_subject(facts):
    def none(studies):
        studies["c"].table["split"] = "train"

    made = facts(SPLIT.replace({"split": {"validation": "train"}}), change=none)
    assert words.figures(made)["training / validation / test"] == "3 / 0 / 1"
    assert words.steps(made)


def test_subjects_are_counted_that_gave_slices(facts):
    # A fifth subject was to be tested, but failed on the way.
    more = pd.concat([SPLIT, SPLIT.iloc[-1:].assign(subject="e")])
    assert words.figures(facts(more))["training / validation / test"] == "2 / 1 / 1"


def test_equal_epochs_are_not_told_as_equal_steps(facts):
    assert steps(facts())["Evaluation"].endswith(" 1 subject")
    assert "with and without them, for equal numbers of steps, and tested" in words.summary(facts())
    told = "for equal numbers of steps (but for real+50% longer, SAMR and real+50% longer, CG-SAMR)"
    assert told in words.summary(facts(trial=SEVERAL)) and told in steps(facts(trial=SEVERAL))["U-Net"]


def test_the_step_names_the_bias_correction_that_was_run(facts):
    assert "classes of tissue" in steps(facts())["Bias correction"]
    assert steps(facts(bias={"method": "n4"}))["Bias correction"].startswith("N4")


def test_a_variant_without_atlas_is_not_told_to_have_drawn_from_one(facts):
    trial = {"synthesizers": ["cgsamr", "without_atlas"], "arms": ["real", "real+50%"]}
    assert "from label maps and an atlas, on" in words.summary(facts())
    assert "but for those without, an atlas" in words.summary(facts(trial=trial))
    assert "from label maps, on" in words.summary(facts(trial=trial | {"synthesizers": ["without_atlas"]}))


def test_leaving_one_out_is_not_told_as_drawn_at_random(facts):
    assert "divided at random" in steps(facts())["Split"]
    told = steps(facts(splits={"protocol": "leave_one_out"}))["Split"]
    assert "One subject was left out" in told and "random" not in told
    assert "dealt to 7 folds" in steps(facts(splits={"protocol": "folds", "folds": 7}))["Split"]


def test_how_much_of_the_lesions_lies_in_the_slices(facts):
    # Two visits of three test slices with 16 lesion pixels each, of 2 x 2 x 5 mm: 0.96 ml a visit, of 1.2 drawn.
    cohort = pd.DataFrame({"study": ["d_1", "d_2"], "lesion_ml": [1.2, 1.2]})
    assert "80% of the lesions' volume" in steps(facts()._replace(cohort=cohort))["Evaluation"]
    unknown = cohort.assign(lesion_ml=float("nan"))
    assert "volume" not in steps(facts()._replace(cohort=unknown))["Evaluation"]


def test_the_summary_has_its_numbers(facts):
    said = words.summary(facts())
    assert "5 MR sequences" in said and "slices of 2 subjects" in said and "tested on 1 subject" in said


def test_the_split_as_a_table(facts):
    table = words.split_table(facts()).set_index("split")
    assert table["subjects"].to_dict() == {"train": 2, "validation": 1, "test": 1}
    assert table["slices"].to_dict() == {"train": 6, "validation": 3, "test": 6}
    assert table["with lesion"].to_dict() == {"train": 6, "validation": 3, "test": 6}
    volumes = table["lesion volume, ml (least to most)"].to_dict()
    assert volumes == {"train": "1.2 to 30.0", "validation": "2.0 to 2.0", "test": "no masks"}


def test_a_part_of_the_split_without_subjects_has_no_row(facts):
    table = words.split_table(facts(SPLIT.replace({"split": {"validation": "train"}})))
    assert table["split"].tolist() == ["train", "test"]


def test_steps_tell_what_was_done_and_how(facts):
    chosen = {
        "coregister": {"kind": "affine"},
        "brain": {"backend": "hd-bet"},
        "standardize": {"rule": "p99_5"},
        "grid": {"in_plane_mm": 1.5, "size": [96, 112]},
        "atlas": {"align": "rigid"},
        "cgsamr_training": {"constant": 30, "decay": 12, "unit": "epochs", "batch_size": 5},
        "unet_training": {"constant": 7, "decay": 0, "unit": "steps", "batch_size": 6},
    }
    told = steps(facts(**chosen))
    assert "raw head scans" in told["Scans"] and "20 scans" in told["Scans"]
    assert "2 + 1 + 1" in told["Split"]
    assert "affine" in told["Co-registration"] and "T1w" in told["Co-registration"]
    assert "hd-bet" in told["Brain extraction"] and "p99_5" in told["Standardization"]
    assert "96 × 112 pixels of 1.5 mm" in told["Grid"] and "rigid" in told["Atlas"]
    assert "42 epochs, batch 5" in told["CG-SAMR"] and "7 steps, batch 6" in told["U-Net"]
    assert "9 swap, 3 mirror, 3 shrink" in told["Synthetic slices"] and "15 slices" in told["Synthetic slices"]


@pytest.mark.parametrize(
    ("stage", "step"),
    [("coregister", "Co-registration"), ("bias", "Bias correction"), ("atlas", "Atlas"), ("tissues", "Tissues")],
)
def test_a_stage_that_is_off_is_no_step(facts, stage, step):
    assert step in steps(facts()) and step not in steps(facts(**{stage: {"enabled": False}}))


def test_scans_from_files_are_not_said_to_be_generated(facts):
    told = steps(facts(cohort={"name": "mine", "source": "files", "layout": "phantom"}))
    assert "generated" not in told["Scans"] and "read and checked" in told["Scans"]


def test_the_terms_of_the_generator_are_named_as_weighted(facts):
    assert "a reconstruction term that the paper has not" in steps(facts())["CG-SAMR"]
    letter = {"weights": {"reconstruction": 0, "confidence": 0}}
    assert "with feature matching, shape consistency." in steps(facts(cgsamr=letter))["CG-SAMR"]


def test_a_generator_that_is_not_the_papers_is_said_to_be_otherwise(facts):
    of_the_papers = {"generator": {"upsampling": "transposed", "show_labels": False}}
    assert "Otherwise" not in steps(facts(cgsamr=of_the_papers))["CG-SAMR"]
    ours = {"generator": {"upsampling": "resized", "show_labels": True}}
    told = steps(facts(cgsamr=ours))["CG-SAMR"]
    assert "pixels are doubled before they are convolved and its last layers see the label map." in told


def test_every_floor_is_explained():
    assert set(words.floors(["edema", "tumor"])) == {"mean image", "atlas", "all tumor", "all normal"}
    assert words.floors(["rim", "core"])["all core"] == "every brain pixel called core"
