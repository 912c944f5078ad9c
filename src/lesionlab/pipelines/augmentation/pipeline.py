"""Trained synthesizer -> synthetic slices."""

from kedro.pipeline import Pipeline, node, pipeline

from lesionlab.pipelines.augmentation import nodes


def create_pipeline(**_: object) -> Pipeline:
    """Manipulate the lesions of training slices, seeded and recorded, and synthesize images for them."""
    return pipeline(
        [
            node(
                nodes.synthesize,
                {
                    "slices": "slices",
                    "cgsamr": "cgsamr",
                    "folders": "folders",
                    "options": "params:augmentation",
                    "seed": "params:seed",
                },
                "synthetic",
                name="synthesize",
            ),
        ],
        tags=["augmentation"],
    )
