"""Trained synthesizers -> synthetic slices."""

from kedro.pipeline import Pipeline, node, pipeline

from lesionlab.pipelines.augmentation import nodes


def create_pipeline(**_: object) -> Pipeline:
    """Manipulate the lesions of training subjects and draw the slices that go with them."""
    return pipeline(
        [
            node(
                nodes.synthesize,
                ["plan", "slices", "synthesizers", "folders", "params:augmentation"],
                "synthetic",
                name="synthesize",
            ),
        ],
        tags=["augmentation"],
    )
