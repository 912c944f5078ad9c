"""A Kedro hook: while a run is at work nobody else changes what it has made or read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from lesionlab.datasets.folders import Folders
from lesionlab.parameters import RunOptions
from lesionlab.stages.lock import hold, keep_locks, release_locks

_FOLDERS = "folders"


class LockHooks:
    """Locks the results for the whole run, and each store from its first use to the run's end.

    A run that makes anything below the results owns them, so that a second one cannot lay another split over the one
    that the first is at work with; one that only reads shares them. Each fold has results of its own. What folds make
    together (tables of the workspace) is replaced file by file, each whole.
    """

    @hook_impl(wrapper=True, tryfirst=True)
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> Iterator[None]:
        """Take the lock before any other hook begins; let go where one refuses the run, which ends no other way.

        Raises:
            InputError: another run is at work there, for longer than ``run.wait_minutes``.
        """
        release_locks()  # of a run in this process that was interrupted, in a notebook
        try:
            _lock_results(pipeline, catalog)
            return (yield)
        except BaseException:
            release_locks()
            raise

    @hook_impl(wrapper=True, tryfirst=True)
    def after_pipeline_run(self) -> Iterator[None]:
        """Let others write, when the other hooks have read what they report."""
        try:
            return (yield)
        finally:
            release_locks()

    @hook_impl(wrapper=True, tryfirst=True)
    def on_pipeline_error(self) -> Iterator[None]:
        """Let others write."""
        try:
            return (yield)
        finally:
            release_locks()


def _lock_results(pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    # Kedro types only those parameters that the chosen nodes take; the others come as plain mappings.
    keep_locks(RunOptions.model_validate(catalog.load("params:run")).wait_minutes)
    folders: Folders = catalog.load(_FOLDERS)
    made = {name for node in pipeline.nodes for name in node.outputs}
    used = {name for node in pipeline.nodes for name in node.inputs} | made
    below = {name for name in used if _lies_below(name, catalog, folders.results)}
    if below:
        hold(folders.results, alone=bool(below & made))


def _lies_below(name: str, catalog: CatalogProtocol, folder: Path) -> bool:
    path = catalog[name]._describe().get("filepath") if name in catalog else None
    return path is not None and Path(str(path)).is_relative_to(folder)
