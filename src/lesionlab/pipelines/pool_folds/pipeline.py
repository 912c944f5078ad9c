"""Scores of every fold -> one set of tables."""

from functools import partial, update_wrapper

from kedro.pipeline import Pipeline, node, pipeline

from lesionlab.pipelines.pool_folds import nodes


def create_pipeline(trial: str, **_: object) -> Pipeline:
    """Every subject is tested in one fold; here their scores meet."""
    gather = update_wrapper(partial(nodes.gather, trial=trial), nodes.gather)
    return pipeline(
        [
            node(
                gather,
                ["folders", "studies"],
                ["pooled_synthesis_scores", "pooled_segmentation_scores"],
                name="gather",
            ),
            node(
                nodes.tabulate,
                [
                    "pooled_synthesis_scores",
                    "pooled_segmentation_scores",
                    f"params:trials.{trial}",
                    "params:published",
                    "params:statistics",
                    "params:seed",
                ],
                ["pooled_synthesis_table", "pooled_segmentation_table", "pooled_augmentation_table"],
                name="tabulate_folds",
            ),
        ],
        tags=["pool_folds"],
    )
