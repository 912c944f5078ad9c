"""One table over the folds of a leave-one-out experiment."""

from lesionlab.pipelines.pool_folds.pipeline import create_pipeline

__all__ = ["create_pipeline"]
