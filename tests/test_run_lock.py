"""The results belong to one run at a time, from its first hook to its last."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.framework.hooks import hook_impl
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline, node, pipeline

from lesionlab.datasets import FoldersDataset, TextDataset, WholeParquetDataset
from lesionlab.errors import InputError
from lesionlab.parameters import RunOptions
from lesionlab.run_lock import LockHooks
from lesionlab.stages.lock import StoreLock, release_locks


@pytest.fixture(autouse=True)
def let_go() -> Iterator[None]:
    yield
    release_locks()


def catalog(root: Path, results: str = "", **options: Any) -> DataCatalog:
    """An experiment's datasets; with ``results`` those of one fold."""
    place = root / results
    return DataCatalog(
        {
            "folders": FoldersDataset(workspace={"path": str(root)}, results={"path": str(place)}),
            "params:run": MemoryDataset(RunOptions(**options).model_dump()),  # as where no node takes it
            "studies": WholeParquetDataset(filepath=str(root / "studies.parquet")),
            "cohort": WholeParquetDataset(filepath=str(place / "cohort.parquet")),
            "page": TextDataset(filepath=str(root.parent / "elsewhere" / "page.html")),
        }
    )


def copying(source: str, target: str) -> Pipeline:
    return pipeline([node(lambda data: data, source, target, name="copy")])


SPLITS, READS, PAGE = copying("studies", "cohort"), copying("cohort", "page"), copying("notes", "page")


def manager(*others: Any) -> Any:
    made = _create_hook_manager()
    for hooks in (LockHooks(), *others):
        made.register(hooks)
    return made.hook


def begin(pipe: Pipeline, data: DataCatalog, *others: Any) -> Any:
    hooks = manager(*others)
    hooks.before_pipeline_run(run_params={}, pipeline=pipe, catalog=data)
    return hooks


def free(folder: Path, alone: bool = True) -> bool:
    """Whether another run could have the folder now."""
    lock = StoreLock(folder, notes=False)
    try:
        (lock.own if alone else lock.share)()
    except InputError:
        return False
    lock.release()
    return True


@pytest.mark.parametrize("end", ["after_pipeline_run", "on_pipeline_error"])
def test_a_run_that_makes_the_cohort_owns_the_results_to_its_end(tmp_path: Path, end: str) -> None:
    root = tmp_path / "data"
    hooks = begin(SPLITS, catalog(root))
    assert not free(root, alone=False)
    getattr(hooks, end)(run_params={}, pipeline=SPLITS, catalog=None, **_only(end))
    assert free(root)


def _only(end: str) -> dict[str, Any]:
    return {"run_result": {}} if end == "after_pipeline_run" else {"error": ValueError()}


def test_a_run_that_only_reads_shares_them_and_one_that_does_neither_leaves_them(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    begin(PAGE, catalog(root))
    assert free(root)
    begin(READS, catalog(root))
    assert free(root, alone=False) and not free(root)


def test_a_second_run_is_refused_before_it_writes(tmp_path: Path) -> None:
    first = tmp_path / "data"
    first.mkdir()
    lock = StoreLock(first)
    lock.own()
    with pytest.raises(InputError, match="another run is at work in data"):
        begin(SPLITS, catalog(first))
    lock.release()
    assert free(first)


def test_it_waits_as_long_as_it_may(tmp_path: Path) -> None:
    lock = StoreLock(tmp_path, notes=False)
    lock.own()
    waiter = threading.Thread(target=begin, args=(SPLITS, catalog(tmp_path, wait_minutes=5)))
    waiter.start()
    time.sleep(0.1)
    assert waiter.is_alive()
    lock.release()
    waiter.join(timeout=60)
    assert not waiter.is_alive() and not free(tmp_path)


def test_folds_run_side_by_side(tmp_path: Path) -> None:
    begin(SPLITS, catalog(tmp_path, "fold0"))
    assert not free(tmp_path / "fold0")
    (tmp_path / "fold1").mkdir()
    assert free(tmp_path / "fold1") and free(tmp_path)


@pytest.mark.parametrize("first", [True, False])
def test_nothing_stays_locked_where_another_hook_refuses_the_run(tmp_path: Path, first: bool) -> None:
    class Refuses:
        @hook_impl(tryfirst=first)
        def before_pipeline_run(self) -> None:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        begin(SPLITS, catalog(tmp_path), Refuses())
    assert free(tmp_path)


def test_hooks_that_report_at_the_end_still_find_the_results_locked(tmp_path: Path) -> None:
    found = []

    class Reports:
        @hook_impl
        def after_pipeline_run(self) -> None:
            found.append(free(tmp_path))

    hooks = begin(SPLITS, catalog(tmp_path), Reports())
    hooks.after_pipeline_run(run_params={}, run_result={}, pipeline=SPLITS, catalog=None)
    assert found == [False] and free(tmp_path)


def test_a_run_that_was_interrupted_in_a_notebook_does_not_stop_the_next(tmp_path: Path) -> None:
    begin(SPLITS, catalog(tmp_path))  # ended by the keyboard: no hook is called
    begin(SPLITS, catalog(tmp_path))
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "studies.parquet")
