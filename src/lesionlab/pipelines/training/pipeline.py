"""Slices -> plan -> trained synthesizers; slices and synthetic slices -> trained segmenters."""

from functools import partial, update_wrapper

from kedro.pipeline import Pipeline, node, pipeline

from lesionlab.pipelines.training import nodes


def create_pipeline(trial: str, **_: object) -> Pipeline:
    """Everything a trial trains, from the slices."""
    make_plan = update_wrapper(partial(nodes.make_plan, name=trial), nodes.make_plan)
    return pipeline(
        [
            node(make_plan, ["slices", "cohort", "parameters"], "plan", name="make_plan"),
            node(
                nodes.train_synthesizers,
                ["plan", "slices", "folders", "params:augmentation", "params:run"],
                "synthesizers",
                name="train_synthesizers",
            ),
            node(
                nodes.train_segmenters,
                {
                    "plan": "plan",
                    "slices": "slices",
                    "synthetic": "synthetic",
                    "folders": "folders",
                    "augmentation": "params:augmentation",
                    "run_options": "params:run",
                },
                "segmenters",
                name="train_segmenters",
            ),
        ],
        tags=["training"],
    )
