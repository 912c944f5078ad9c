"""The synthesizer and the downstream segmenters."""

from lesionlab.pipelines.training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
