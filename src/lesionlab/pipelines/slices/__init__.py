"""Labelled slices of the preprocessed volumes."""

from lesionlab.pipelines.slices.pipeline import create_pipeline

__all__ = ["create_pipeline"]
