"""Scores of every fold -> one set of tables."""

from functools import partial, update_wrapper

from kedro.pipeline import Pipeline, node, pipeline

from lesionlab.pipelines.pool_folds import nodes


def create_pipeline(trial: str, **_: object) -> Pipeline:
    """Every subject is tested in one fold; here their scores meet."""
    gather, gather_plan, gather_leakage = (
        update_wrapper(partial(function, trial=trial), function)
        for function in (nodes.gather, nodes.gather_plan, nodes.gather_leakage)
    )
    scores = ["pooled_synthesis_scores", "pooled_segmentation_scores"]
    about = ["params:published", "params:statistics", "params:seed"]
    return pipeline(
        [
            node(gather, ["folders", "studies"], scores, name="gather"),
            node(gather_plan, "folders", "pooled_plan", name="gather_plan"),
            node(gather_leakage, "folders", "pooled_leakage", name="gather_leakage"),
            node(nodes.claims, ["pooled_plan", *scores, *about], "pooled_claims", name="hold_folds_against_claims"),
            node(
                nodes.tabulate,
                [*scores, "pooled_plan", *about],
                ["pooled_synthesis_table", "pooled_segmentation_table", "pooled_augmentation_table"],
                name="tabulate_folds",
            ),
        ],
        tags=["pool_folds"],
    )
