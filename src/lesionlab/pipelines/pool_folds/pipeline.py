"""Scores of every fold -> one set of tables and a page."""

from functools import partial, update_wrapper

from kedro.pipeline import Pipeline, node, pipeline

from lesionlab.evaluation import claims, tables
from lesionlab.pipelines.evaluation.nodes import note_settings
from lesionlab.pipelines.pool_folds import nodes, page


def create_pipeline(trial: str, **_: object) -> Pipeline:
    """Every subject is tested in one fold; here their scores meet."""
    gather, gather_plan, gather_leakage, make_page = (
        update_wrapper(partial(function, trial=trial), function)
        for function in (nodes.gather, nodes.gather_plan, nodes.gather_leakage, page.make_page)
    )
    scores = ["pooled_synthesis_scores", "pooled_segmentation_scores"]
    made = ["pooled_synthesis_table", "pooled_segmentation_table", "pooled_augmentation_table"]
    about = ["params:published", "params:statistics", "params:seed"]
    read = ["pooled_plan", "pooled_claims", "pooled_leakage", "pooled_segmentation_scores", *made, "parameters"]
    return pipeline(
        [
            node(note_settings, "parameters", "settings_now", name="note_settings_now"),
            node(gather, ["folders", "studies", "settings_now"], scores, name="gather"),
            node(gather_plan, "folders", "pooled_plan", name="gather_plan"),
            node(gather_leakage, "folders", "pooled_leakage", name="gather_leakage"),
            node(claims.held, ["pooled_plan", *scores, *about], "pooled_claims", name="hold_folds_against_claims"),
            node(tables.tabulate, [*scores, "pooled_plan", *about], made, name="tabulate_folds"),
            node(make_page, ["folders", *read], "pooled_report", name="make_page"),
        ],
        tags=["pool_folds"],
    )
