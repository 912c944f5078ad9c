"""The report's sentences say what was done, with its numbers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lesionlab.config import ExperimentConfigLoader
from lesionlab.parameters import Parameters
from lesionlab.pipelines.report import nodes, words
from lesionlab.settings import CONFIG_LOADER_ARGS

CONF = Path(__file__).parents[3] / "conf"
SPLIT = pd.DataFrame(
    {"subject": list("abcd"), "split": ["train", "train", "validation", "test"], "lesion_ml": [1.25, 30.0, 2.0, None]}
)

COHORT = pd.DataFrame({"path": range(20), "study": "a", "lesion_ml": float("nan")})


@pytest.fixture
def facts(new_slices):
    """Makes the facts of a run on slices of two training subjects, one for validation and one for testing."""

    def make(split: pd.DataFrame = SPLIT, change=bool, **changed) -> words.Facts:
        values = ExperimentConfigLoader(str(CONF), "base", **CONFIG_LOADER_ARGS)["parameters"]
        options = Parameters.model_validate(values | changed)
        slices, synthetic = new_slices("slices", change), new_slices("synthetic", manipulated)
        counts = nodes.protocol_counts(slices, options)
        return words.Facts(options, COHORT, split, slices, synthetic, counts)

    return make


def manipulated(studies) -> None:
    for name, kind in {"a": "swap", "b": "swap", "c": "mirror", "d_1": "shrink", "d_2": "swap"}.items():
        studies[name].table["manipulation"] = kind


def steps(facts: words.Facts) -> dict[str, str]:
    return {step.name: f"{step.text} {step.figure}" for step in words.steps(facts)}


def test_protocols_count_real_and_synthetic_training_slices(facts):
    # Two training subjects of three slices: 6 real ones.
    assert facts().counts == {"real": (6, 0), "real+25%": (6, 3), "real+50%": (6, 6)}


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
    assert "for equal numbers of steps" in words.summary(facts())
    epochs = facts(unet_training={"unit": "epochs", "constant": 5, "decay": 5})
    assert "equal numbers of epochs, so that more slices mean more steps" in words.summary(epochs)


def test_leaving_one_out_is_not_told_as_drawn_at_random(facts):
    assert "divided at random" in steps(facts())["Split"]
    told = steps(facts(splits={"protocol": "leave_one_out"}))["Split"]
    assert "One subject was left out" in told and "random" not in told


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


def test_every_floor_is_explained():
    assert set(words.floors(["edema", "tumor"])) == {"mean image", "atlas", "all tumor", "all normal"}
    assert words.floors(["rim", "core"])["all core"] == "every brain pixel called core"
