"""Slices -> trained synthesizer; slices and synthetic slices -> trained segmenters."""

from kedro.pipeline import Pipeline, node, pipeline

from lesionlab.pipelines.training import nodes


def create_pipeline(**_: object) -> Pipeline:
    """CG-SAMR on the training subjects, and one U-Net for each protocol, all with equal numbers of steps."""
    return pipeline(
        [
            node(
                nodes.train_cgsamr,
                {
                    "slices": "slices",
                    "folders": "folders",
                    "options": "params:cgsamr",
                    "training": "params:cgsamr_training",
                    "seed": "params:seed",
                },
                "cgsamr",
                name="train_cgsamr",
                tags=["cgsamr"],
            ),
            node(
                nodes.train_unets,
                {
                    "slices": "slices",
                    "synthetic": "synthetic",
                    "folders": "folders",
                    "options": "params:unet",
                    "training": "params:unet_training",
                    "augmentation": "params:augmentation",
                    "seed": "params:seed",
                },
                "unets",
                name="train_unets",
                tags=["unet"],
            ),
        ],
        tags=["training"],
    )
