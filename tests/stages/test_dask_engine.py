"""A real scheduler and real worker processes: the same results as without, also when one of them is killed."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import lesionlab
from lesionlab.errors import InputError
from lesionlab.stages import dask_engine
from lesionlab.stages.engine import Engine
from lesionlab.stages.stage import StageError, run_stage
from lesionlab.stages.subject_store import SubjectStore

distributed = pytest.importorskip("distributed", reason="dask.distributed is an extra")

WORK = """
    import os, signal
    from pathlib import Path
    import numpy as np
    import SimpleITK as sitk
    from lesionlab.stages.subject_store import StudyResult
    from lesionlab.imaging.volume import Volume

    STUDIES = "abcdef"

    def work(job):
        study, deaths, folder = job
        died = folder / f"{study}-{os.getpid()}"
        if len(list(folder.glob(f"{study}-*"))) < deaths:
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
        drawn = np.random.rand(8, 8, 8).astype(np.float32)
        smooth = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(drawn), 2.0))
        seed = os.environ["ANTS_RANDOM_SEED"]
        return StudyResult({"T1w": Volume(smooth, np.eye(4))}, {"threads": threads}, {"seed": seed})
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that the test and the workers can both import."""
    (tmp_path / "dask_work.py").write_text(textwrap.dedent(WORK))
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("dask_work", None)
    importlib.invalidate_caches()
    monkeypatch.chdir(tmp_path)
    return importlib.import_module("dask_work")


@contextmanager
def process(*words: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    # Threads are forbidden by the run, not by the cluster: what the machine sets for tests would hide a fault.
    kept = {name: value for name, value in os.environ.items() if "THREADS" not in name and name != "ANTS_RANDOM_SEED"}
    source = str(Path(lesionlab.__file__).parents[1])
    env = {**kept, "PYTHONPATH": os.pathsep.join([source, str(Path.cwd())]), **variables}
    started = subprocess.Popen([sys.executable, "-m", "dask", *words], env=env, stderr=subprocess.DEVNULL, cwd="/")
    try:
        yield started
    finally:
        started.kill()
        started.wait()


@pytest.fixture
def cluster(module: ModuleType) -> Iterator[Callable[..., str]]:
    """Starts a scheduler and two worker processes; gives the scheduler's address."""
    with ExitStack() as stack:

        def start(threads: int = 1, workers: int = 2, **variables: str) -> str:
            file = Path.cwd() / "scheduler.json"
            words = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
            stack.enter_context(process(*words, "--scheduler-file", str(file), **variables))
            while not file.exists():
                time.sleep(0.1)
            for _ in range(workers):
                words = ["worker", "--scheduler-file", str(file), "--no-nanny", "--no-dashboard"]
                stack.enter_context(process(*words, "--nthreads", str(threads), **variables))
            return str(json.loads(file.read_text())["address"])

        yield start


def run(name: str, module: Any, engine: Engine, deaths: dict[str, int] | None = None) -> SubjectStore:
    # The folder is given by a relative path, as Kedro's catalog does: the workers were started elsewhere.
    Path(f"{name}-deaths").mkdir()
    jobs = {study: (study, (deaths or {}).get(study, 0), Path(f"{name}-deaths")) for study in module.STUDIES}
    keys = {study: study for study in jobs}
    return run_stage(Path(name), jobs, module.work, fingerprints=keys, engine=engine, code="1", stage="stage", seed=3)


def test_the_same_bytes_on_one_worker_two_and_a_cluster_of_which_one_dies(
    module: Any, cluster: Any, content: Any
) -> None:
    one = run("one", module, Engine(1))
    two = run("two", module, Engine(2))
    dask = run("dask", module, Engine(scheduler=cluster()), deaths={"c": 1})
    assert len(list(Path("dask-deaths").iterdir())) == 1  # a worker did die in the middle
    assert content(one.root) == content(two.root) == content(dask.root)
    assert len(content(dask.root)) == 6 * 4  # volume, record, measures and receipt of six studies, and nothing else
    assert set(dask.qc()["value"]) == {1.0}  # one ITK thread
    assert dask.record("a") == {"seed": "4"}


def test_a_study_that_kills_its_workers_fails_alone(module: Any, cluster: Any) -> None:
    # With no failure allowed Dask gives up with c what waits behind it at the same worker; alone, that gets through.
    address = cluster(workers=3, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0")
    with pytest.raises(StageError, match=r"1 of 6 studies failed:\n  c: worker processes died of c "):
        run("dask", module, Engine(scheduler=address), deaths={"c": 2})
    assert SubjectStore(Path("dask")).studies() == ["a", "b", "d", "e", "f"]


def test_workers_of_several_threads_give_the_same(module: Any, cluster: Any, content: Any) -> None:
    one = run("one", module, Engine(1))
    dask = run("dask", module, Engine(scheduler=cluster(threads=3, workers=1)))
    assert content(one.root) == content(dask.root)


def test_workers_with_other_code_are_refused(module: Any, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    address = cluster(workers=1)
    here = {**dask_engine._versions(), "antspyx": "0.0.1"}
    monkeypatch.setattr(dask_engine, "_versions", lambda: here)
    with pytest.raises(InputError, match=r"would compute something else.*antspyx 0\.0\.1, as in the run itself"):
        run("dask", module, Engine(scheduler=address))


def test_a_scheduler_that_is_not_there(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_engine, "_CONNECT_S", 1)
    with pytest.raises(InputError, match=r"scheduler cannot be reached. Given: tcp://127.0.0.1:9: .*run.scheduler"):
        run("dask", module, Engine(scheduler="tcp://127.0.0.1:9"))


def test_two_runs_on_one_scheduler_leave_one_another_alone(module: Any, cluster: Any) -> None:
    address = cluster(workers=1)
    first = dask_engine.run_on_dask(abs, {"a": -1, "b": -2}, address, 0)
    next(first)
    with distributed.Client(address, set_as_default=False) as client:

        def plugins() -> set[str]:
            found = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.worker_plugins))
            return {name for name in found if name.startswith(dask_engine._PLUGIN)}  # Dask has one of its own

        own = plugins()
        assert len(list(dask_engine.run_on_dask(abs, {"c": -3}, address, 0))) == 1
        assert plugins() == own and len(own) == 1
        assert len(list(first)) == 1
        assert not plugins()


def test_a_scheduler_that_goes_does_not_hide_why_the_run_ended(module: Any, tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    words = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    with process(*words) as scheduler:
        while not file.exists():
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        with process("worker", address, "--no-nanny", "--no-dashboard", "--nthreads", "1"):
            going = dask_engine.run_on_dask(time.sleep, {"a": 0, "b": 60}, address, 0)
            assert next(going)[0] == "a"
            scheduler.kill()
            scheduler.wait()
            with pytest.raises(KeyError, match="the run's own"):
                going.throw(KeyError("the run's own"))


def test_dask_that_is_not_installed(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_engine, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"Dask is not installed.*pip install -e '.\[dask\]'"):
        run("dask", module, Engine(scheduler="tcp://127.0.0.1:9"))
