"""Synthetic slices from manipulated lesions of the training subjects."""

from lesionlab.pipelines.augmentation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
