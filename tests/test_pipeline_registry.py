"""The pipelines that are registered, and the catalog that serves them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from kedro.pipeline import Pipeline

from lesionlab.methods.base import Synthesizer
from lesionlab.methods.registry import with_capability
from lesionlab.pipeline_registry import register_pipelines, trial_pipelines
from lesionlab.settings import HOOKS

CATALOG = Path(__file__).parents[1] / "conf" / "base" / "catalog.yml"
REPORTED = ("augmentation", "claims", "paper", "segmentation", "synthesis", "samples", "memorisation", "training")
IN_ORDER = [
    "provide_scans",
    "find_studies",
    "describe_cohort",
    "split",
    "log_plan",
    "coregister",
    "brain",
    "bias",
    "landmarks",
    "standardize",
    "grid",
    "build_atlas",
    "align_atlas",
    "tissues",
    "score_truth",
    "measure_quality",
    "draw_strips",
    "qc_page",
    "make_slices",
    "make_plan",
    "train_synthesizers",
    "synthesize",
    "train_segmenters",
    "check_leakage",
    "score_synthesis",
    "score_segmentation",
    "measure_samples",
    "measure_diversity",
    "look_for_copies",
    "judge_slices",
    "infer_membership",
    "measure_reliability",
    "hold_against_claims",
    "note_settings",
    "tabulate",
    *(SECTIONS := tuple(f"{name}_section" for name in REPORTED)),
    "make_report",
]
OF_A_TRIAL = IN_ORDER[IN_ORDER.index("make_plan") :]
MAIN = "cgsamr_augment_eval"
TRIALS = trial_pipelines()


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Pipeline]:
    return register_pipelines()


@pytest.fixture(scope="module")
def catalog() -> dict[str, dict]:
    return yaml.safe_load(CATALOG.read_text(encoding="utf-8"))


def names(pipeline: Pipeline) -> set[str]:
    return {node.name for node in pipeline.nodes}


def of_trial(trial: str) -> set[str]:
    """The nodes of a trial's pipeline: those of a trial carry its name, the others are everybody's."""
    return {f"{trial}.{name}" if name in OF_A_TRIAL else name for name in IN_ORDER}


def test_every_part_has_a_name(pipelines):
    pools = {f"{trial}_pool_folds" for trial in TRIALS}
    trials = {f"{name}_augment_eval" for name in with_capability(Synthesizer)} | {"ablation_eval", "comparison_eval"}
    assert MAIN in trials and set(TRIALS.values()) == trials
    assert set(pipelines) == {"cohort", "preprocess", "slices", "__default__"} | trials | pools
    assert all(pipeline.nodes for pipeline in pipelines.values())


@pytest.mark.parametrize("trial", TRIALS)
def test_a_trial_holds_every_room(pipelines, trial):
    whole = pipelines[TRIALS[trial]]
    assert names(whole) == of_trial(trial)
    for room in ("cohort", "preprocess", "slices"):
        assert names(pipelines[room]) <= names(whole)
    assert not names(pipelines[f"{trial}_pool_folds"]) & names(whole)


def test_the_default_is_the_main_job(pipelines):
    assert names(pipelines["__default__"]) == names(pipelines[MAIN])


@pytest.mark.parametrize("pipeline", TRIALS.values())
def test_a_trial_needs_nothing_that_is_not_there_yet(pipelines, pipeline):
    free = {name for name in pipelines[pipeline].inputs() if not name.startswith("params:")}
    assert free == {"folders", "parameters"}  # both come from the configuration


def test_what_a_trial_compares_is_read_from_its_plan(pipelines):
    for trial, name in TRIALS.items():
        for pipeline, plan in ((name, f"{trial}.cleared_plan"), (f"{trial}_pool_folds", f"{trial}.pooled_plan")):
            readers = [node for node in pipelines[pipeline].nodes if plan in node.inputs]
            assert any("tabulate" in node.name for node in readers)
            assert not {one for one in pipelines[pipeline].inputs() if one.startswith("params:trials")}


def test_trials_share_the_preparation_and_nothing_that_they_leave(pipelines):
    made = {trial: pipelines[name].all_outputs() for trial, name in TRIALS.items()}
    prepared = pipelines["preprocess"].all_outputs()
    for trial, outputs in made.items():
        own = outputs - prepared
        assert prepared <= outputs and own and {name.partition(".")[0] for name in own} == {trial}


def test_preprocess_runs_from_the_scans_to_the_slices(pipelines):
    assert names(pipelines["preprocess"]) == set(IN_ORDER[: IN_ORDER.index("make_slices") + 1])


def test_each_stage_runs_after_the_one_it_reads(pipelines):
    order = [node.name.removeprefix("cgsamr.") for node in pipelines[MAIN].nodes]
    beside = (
        "describe_cohort",
        "tissues",
        "score_truth",
        "measure_quality",
        "draw_strips",
        "qc_page",
        "score_synthesis",
        "measure_samples",
        "measure_diversity",
        "look_for_copies",
        "judge_slices",
        "infer_membership",
        "measure_reliability",
        "hold_against_claims",
        "note_settings",
        *SECTIONS,
    )
    places = [order.index(name) for name in IN_ORDER if name not in beside]
    assert places == sorted(places)


def test_what_was_seen_is_looked_at_after_the_last_training_and_told_in_the_report(pipelines):
    main = pipelines[MAIN]
    assert "cgsamr.train_segmenters" in names(main.to_nodes("cgsamr.check_leakage"))
    after = names(main.from_nodes("cgsamr.check_leakage"))
    assert "cgsamr.make_report" in after
    scored = ("score_synthesis", "score_segmentation", "measure_samples", "measure_diversity", "look_for_copies")
    scored += ("judge_slices", "infer_membership", "measure_reliability", "hold_against_claims", "tabulate")
    assert after >= {f"cgsamr.{name}" for name in scored}


def test_every_rooms_name_is_the_tag_of_its_nodes(pipelines):
    for room in ("cohort", "slices"):
        assert names(pipelines[room].only_nodes_with_tags(room)) == names(pipelines[room])
    main = pipelines[MAIN]
    tagged = names(main.only_nodes_with_tags("preprocess"))
    assert tagged == set(IN_ORDER[IN_ORDER.index("log_plan") : IN_ORDER.index("qc_page") + 1])
    rooms = {
        "training": {"make_plan", "train_synthesizers", "train_segmenters"},
        "augmentation": {"synthesize"},
        "evaluation": set(IN_ORDER[IN_ORDER.index("check_leakage") : IN_ORDER.index("tabulate") + 1]),
        "report": {*SECTIONS, "make_report"},
    }
    for room, own in rooms.items():
        assert names(main.only_nodes_with_tags(room)) == {f"cgsamr.{name}" for name in own}
    pool = pipelines["cgsamr_pool_folds"]
    assert names(pool.only_nodes_with_tags("pool_folds")) == names(pool)


def test_the_catalog_has_what_the_pipelines_use_and_nothing_else(pipelines, catalog):
    used = {name for pipeline in pipelines.values() for name in pipeline.datasets()}
    used = {name for name in used if not name.startswith("params:") and name != "parameters"}
    patterns = {name for name in catalog if name.startswith("{trial}.")}
    written = {pattern.replace("{trial}", trial) for pattern in patterns for trial in TRIALS}
    # Each run has to look for leakage itself, and to say itself with which parameters it pools; sections are made anew.
    kept_nowhere = {f"{trial}.{name}" for trial in TRIALS for name in ("cleared_plan", "settings_now", *SECTIONS)}
    assert used - kept_nowhere == (set(catalog) - patterns) | written and kept_nowhere <= used


def test_no_two_datasets_share_a_file(catalog):
    paths = [entry["filepath"] for name, entry in catalog.items() if name != "folders"]
    assert len(paths) == len(set(paths))


def test_what_depends_on_the_split_lies_with_the_fold(catalog):
    shared = {name for name, entry in catalog.items() if "${globals:workspace}" in entry.get("filepath", "")}
    stages = {"scans", "studies", "lesions", "quarantine", "coregistered", "brains", "unbiased"}
    stages |= {"cohort_scans", "cohort_presence", "cohort_oddities", "cohort_page"}
    assert {name for name in shared if not name.startswith("{trial}.pooled_")} == stages
    assert all(
        re.match(r"\$\{globals:(workspace|results)\}/0\d_", e["filepath"]) for e in catalog.values() if "filepath" in e
    )


def test_what_a_trial_leaves_lies_in_a_folder_of_its_name(catalog):
    for name, entry in catalog.items():
        assert name.startswith("{trial}.") == ("/{trial}/" in entry.get("filepath", "")), name


def test_the_hooks_are_registered():
    assert [type(hook).__name__ for hook in HOOKS] == [
        "LockHooks",
        "RequirementHooks",
        "QuarantineHooks",
        "TrackingHooks",
        "EndingHooks",
    ]
