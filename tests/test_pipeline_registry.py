"""The pipelines that are registered, and the catalog that serves them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from kedro.pipeline import Pipeline

from lesionlab.pipeline_registry import register_pipelines
from lesionlab.settings import HOOKS

CATALOG = Path(__file__).parents[1] / "conf" / "base" / "catalog.yml"
IN_ORDER = [
    "provide_scans",
    "find_studies",
    "describe_cohort",
    "split",
    "say_plan",
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
    "train_cgsamr",
    "synthesize",
    "train_unets",
    "score_synthesis",
    "score_segmentation",
    "note_settings",
    "tabulate",
    "make_report",
]


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Pipeline]:
    return register_pipelines()


@pytest.fixture(scope="module")
def catalog() -> dict[str, dict]:
    return yaml.safe_load(CATALOG.read_text(encoding="utf-8"))


def names(pipeline: Pipeline) -> set[str]:
    return {node.name for node in pipeline.nodes}


def test_every_part_has_a_name(pipelines):
    rooms = {"cohort", "preprocess", "slices", "training", "augmentation", "evaluation", "report", "pool_folds"}
    assert set(pipelines) == rooms | {"cgsamr_augment_eval", "__default__"}
    assert all(pipeline.nodes for pipeline in pipelines.values())


def test_the_main_job_holds_every_room(pipelines):
    main = pipelines["cgsamr_augment_eval"]
    assert names(main) == set(IN_ORDER)
    for room in set(pipelines) - {"pool_folds"}:
        assert names(pipelines[room]) <= names(main)
    assert names(pipelines["__default__"]) == names(main)
    assert not names(pipelines["pool_folds"]) & names(main)


def test_the_main_job_needs_nothing_that_is_not_there_yet(pipelines):
    free = {name for name in pipelines["cgsamr_augment_eval"].inputs() if not name.startswith("params:")}
    assert free == {"folders", "parameters"}  # both come from the configuration


def test_preprocess_runs_from_the_scans_to_the_slices(pipelines):
    assert names(pipelines["preprocess"]) == set(IN_ORDER[: IN_ORDER.index("make_slices") + 1])


def test_each_stage_runs_after_the_one_it_reads(pipelines):
    order = [node.name for node in pipelines["cgsamr_augment_eval"].nodes]
    beside = (
        "describe_cohort",
        "tissues",
        "score_truth",
        "measure_quality",
        "draw_strips",
        "qc_page",
        "score_synthesis",
        "note_settings",
    )
    places = [order.index(name) for name in IN_ORDER if name not in beside]
    assert places == sorted(places)


@pytest.mark.parametrize(("tag", "nodes"), [("cgsamr", {"train_cgsamr"}), ("unet", {"train_unets"})])
def test_a_tag_chooses_a_part(pipelines, tag, nodes):
    assert names(pipelines["cgsamr_augment_eval"].only_nodes_with_tags(tag)) == nodes


def test_every_rooms_name_is_the_tag_of_its_nodes(pipelines):
    for room in ("cohort", "slices", "training", "augmentation", "evaluation", "report", "pool_folds"):
        assert names(pipelines[room].only_nodes_with_tags(room)) == names(pipelines[room])
    tagged = names(pipelines["cgsamr_augment_eval"].only_nodes_with_tags("preprocess"))
    assert tagged == set(IN_ORDER[IN_ORDER.index("say_plan") : IN_ORDER.index("qc_page") + 1])


def test_the_catalog_has_what_the_pipelines_use_and_nothing_else(pipelines, catalog):
    used = {name for pipeline in pipelines.values() for name in pipeline.datasets()}
    used = {name for name in used if not name.startswith("params:") and name != "parameters"}
    assert used == set(catalog)


def test_no_two_datasets_share_a_file(catalog):
    paths = [entry["filepath"] for name, entry in catalog.items() if name != "folders"]
    assert len(paths) == len(set(paths))


def test_what_depends_on_the_split_lies_with_the_fold(catalog):
    shared = {name for name, entry in catalog.items() if "${globals:workspace}" in entry.get("filepath", "")}
    stages = {"scans", "studies", "quarantine", "coregistered", "brains", "unbiased"}
    stages |= {"cohort_scans", "cohort_presence", "cohort_oddities", "cohort_page"}
    assert {name for name in shared if not name.startswith("pooled_")} == stages
    assert all(
        re.match(r"\$\{globals:(workspace|results)\}/0\d_", e["filepath"]) for e in catalog.values() if "filepath" in e
    )


def test_the_hooks_are_registered():
    assert [type(hook).__name__ for hook in HOOKS] == [
        "LockHooks",
        "RequirementHooks",
        "QuarantineHooks",
        "TrackingHooks",
    ]
