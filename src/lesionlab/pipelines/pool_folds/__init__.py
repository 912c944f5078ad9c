"""One table over the folds of an experiment."""

from lesionlab.pipelines.pool_folds.pipeline import create_pipeline

__all__ = ["create_pipeline"]
