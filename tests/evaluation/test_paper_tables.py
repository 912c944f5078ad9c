"""The papers' tables with ours beside: each figure comes from the line that it says."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from lesionlab.config import ExperimentConfigLoader
from lesionlab.evaluation.paper_tables import Known, rebuilt
from lesionlab.evaluation.sections import PaperTable
from lesionlab.methods.registry import titles
from lesionlab.metrics.statistics import TABLE_COLUMNS
from lesionlab.parameters import Parameters
from lesionlab.settings import CONFIG_LOADER_ARGS
from lesionlab.trials.options import TrialOptions
from lesionlab.trials.plan import SynthesizerCase, TrialPlan

CONF = Path(__file__).parents[2] / "conf"
CLASSES, SEQUENCES = ["edema", "cavity", "tumor"], ["T1w", "T1ce", "T2w", "FLAIR", "APTw"]
ARMS = ("real", "real+25%", "real+50%")


@cache
def options(env: str) -> Parameters:
    return Parameters.model_validate(ExperimentConfigLoader(str(CONF), env, **CONFIG_LOADER_ARGS)["parameters"])


def plan_of(*synthesizers: str, env: str = "base", arms: tuple[str, ...] = ARMS) -> TrialPlan:
    recipes = options(env).recipes()
    cases = tuple(SynthesizerCase(name=name, recipe=recipes[name], subjects=(), seed=0) for name in synthesizers)
    trial = TrialOptions(synthesizers=synthesizers, arms=arms)
    return TrialPlan(name="t", options=trial, synthesizers=cases, segmenters=())


def known(plan: TrialPlan, given: Parameters) -> Known:
    return Known(plan, given.published, given.sequences, given.lesion_classes, given.recipes(), titles())


def line(method: str, protocol: str, synthesizer: str, sequence: str, name: str, metric: str, mean: float) -> dict:
    cell = dict.fromkeys(TABLE_COLUMNS) | {"method": method, "protocol": protocol, "synthesizer": synthesizer}
    cell |= {"sequence": sequence, "class": name, "metric": metric, "mean": mean, "training_subjects": 8}
    return cell


def drawn(method: str, values: dict[str, float], name: str = "edema") -> list[dict]:
    return [line(method, "paired", "none", one, name, "pixel_accuracy", value) for one, value in values.items()]


def segmented(arm: str, synthesizer: str, value: float, metric: str = "dice") -> list[dict]:
    return [line("unet", arm, synthesizer, "all", name, metric, value + 0.01 * at) for at, name in enumerate(CLASSES)]


def made(plan: TrialPlan, synthesis: list[dict], augmentation: list[dict], env: str = "base") -> dict[str, PaperTable]:
    tables = (pd.DataFrame(rows, columns=TABLE_COLUMNS) for rows in (synthesis, augmentation))
    return {table.title: table for table in rebuilt(known(plan, options(env)), *tables)}


def shown(table: PaperTable, heading: str) -> dict[str, list[tuple[str, str]]]:
    (section,) = [one for one in table.sections if one.heading == heading]
    return {name: [tuple(cell) for cell in cells] for name, cells in section.lines}


def test_table_ii_has_ours_published_and_competitors():
    scores = [*segmented("real", "none", 0.5), *segmented("real+50%", "cgsamr", 0.6)]
    smaller = [{**row, "training_subjects": 4, "mean": 0.1} for row in scores]
    tables = made(plan_of("cgsamr"), [], [*smaller, *scores])
    assert list(tables) == ["CG-SAMR 2020, Table II"]  # nothing of the others was scored
    table = tables["CG-SAMR 2020, Table II"]
    assert table.groups == [("Dice", 3)] and table.columns == CLASSES and "trained on 8 subjects" in table.note
    first = shown(table, "Experiment 1: real+50%")
    assert list(first) == ["pix2pix", "pix2pixHD", "Shin et al.", "SAMR", "CG-SAMR"]
    assert first["CG-SAMR"] == [("0.600", "0.807"), ("0.610", "0.840"), ("0.620", "0.835")]
    assert first["SAMR"][0] == ("", "0.789") and first["pix2pix"][1] == ("", "0.453")
    assert shown(table, "Experiment 3: real alone") == {
        "U-Net": [("0.500", "0.647"), ("0.510", "0.610"), ("0.520", "0.672")]
    }


def test_equal_epochs_stand_beside_the_papers_figures():
    """The papers count epochs: their figure at real+50% belongs to the arm of twice the steps, too."""
    scores = [*segmented("real+50%", "cgsamr", 0.6), *segmented("real+50% longer", "cgsamr", 0.7)]
    plan = plan_of("cgsamr", arms=("real", "real+50%", "real+50% longer"))
    table = made(plan, [], scores)["CG-SAMR 2020, Table II"]
    longer = shown(table, "Experiment 1: real+50%, as many epochs as on real slices alone")
    assert longer["CG-SAMR"][0] == ("0.700", "0.807")
    assert shown(table, "Experiment 1: real+50%")["CG-SAMR"][0] == ("0.600", "0.807")
    assert "as many epochs" in table.note


def test_samrs_table_has_its_own_figures_and_its_ablation_where_variants_are_of_samr():
    scores = [*segmented("real", "none", 0.5), *segmented("real+50%", "samr", 0.6)]
    scores += [*segmented("real+50%", "samr", 2.5, "hd95"), *segmented("real+50%", "without_atlas", 0.4)]
    table = made(plan_of("samr", "without_atlas", env="samr_jhu"), [], scores, "samr_jhu")["SAMR 2020, Table 2"]
    assert table.groups == [("Dice", 3), ("HD95, mm", 3), ("sensitivity", 3), ("specificity", 3)]
    first = shown(table, "Experiment 1: real+50%")
    assert first["SAMR"][0] == ("0.600", "0.794") and first["SAMR"][-1] == ("", "0.999")
    assert first["SAMR"][3] == ("2.50", "6.05") and first["pix2pix"][4] == ("", "21.00")
    ablated = shown(table, "Experiment 4: ablation")
    assert ablated["w/o atlas"][0] == ("0.400", "0.677") and ablated["SAMR"][0] == ("0.600", "0.794")
    assert ablated["w/o stretch-out"][0] == ("", "0.684")


def test_table_i_has_means_over_sequences():
    values = dict(zip(SEQUENCES, (0.5, 0.6, 0.7, 0.8, 0.9), strict=True))
    table = made(plan_of("cgsamr"), drawn("cgsamr", values), segmented("real", "none", 0.5))["CG-SAMR 2020, Table I"]
    ours = shown(table, "CG-SAMR")
    assert list(ours) == [*SEQUENCES, "Avg."] and table.columns == [*CLASSES, "SSIM", "PSNR (dB)"]
    assert ours["T2w"][0] == ("0.700", "0.815")
    # (0.5 + .. + 0.9) / 5; the paper's last row has 77.4 %.
    assert ours["Avg."][0] == ("0.700", "0.774") and ours["Avg."][1] == ("", "0.669")
    # Its SSIM 0.812 and PSNR 21.8.
    assert [published for _, published in ours["Avg."][3:]] == ["0.812", "21.8"]


def test_a_mean_that_lacks_a_sequence_is_none():
    table = made(plan_of("cgsamr"), drawn("cgsamr", {"T1w": 0.5}), segmented("real", "none", 0.5))
    assert shown(table["CG-SAMR 2020, Table I"], "CG-SAMR")["Avg."][0] == ("", "0.774")


def test_table_v_takes_parts_away():
    accuracy = drawn("without_atlas", dict.fromkeys(SEQUENCES, 0.25), "lesion")
    scores = [*segmented("real", "none", 0.5), *segmented("real+50%", "without_atlas", 0.4)]
    table = made(plan_of("cgsamr", "without_atlas"), accuracy, scores)["CG-SAMR 2020, Table V"]
    assert table.groups == [("Dice", 3), ("pixel accuracy", 6)]
    ours = shown(table, "Ablation")
    assert ours["w/o atlas"][0] == ("0.400", "0.689")
    assert ours["w/o atlas"][-1] == ("0.250", "0.691")  # 69.1 % in its last column
    assert list(ours)[-1] == "CG-SAMR" and ours["CG-SAMR"][-1] == ("", "0.754")


@pytest.mark.parametrize("synthesizers", [("samr",), ("cgsamr",)])
def test_tables_that_the_trial_has_nothing_for_are_left_out(synthesizers):
    assert made(plan_of(*synthesizers), [], segmented("real", "none", 0.5)) == {}


def test_other_classes_have_no_published_figures():
    mine = options("base").model_copy(update={"lesion_classes": ["lesion"]})
    row = line("unet", "real+50%", "cgsamr", "all", "lesion", "dice", 0.5)
    (table,) = rebuilt(
        known(plan_of("cgsamr"), mine),
        pd.DataFrame(columns=TABLE_COLUMNS),
        pd.DataFrame([row], columns=TABLE_COLUMNS),
    )
    assert shown(table, "Experiment 1: real+50%") == {"CG-SAMR": [("0.500", "")]}
