"""Worker processes: one per core with one thread each, and the same random numbers in every run."""

from __future__ import annotations

import os
import random
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import joblib
import numpy as np
from joblib.externals.loky import process_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from threadpoolctl import threadpool_limits

from lesionlab.imaging.ants_bridge import reproducible_environment
from lesionlab.stages.engine import Engine
from lesionlab.stages.parent import end_with_parent

Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerLost(RuntimeError):
    """A worker process ended without an answer: killed, most often for want of memory, or crashed in native code.

    Attributes:
        tasks: the names of those that a worker had been given and that were not yielded: one of them killed it.
    """

    def __init__(self, message: str, tasks: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.tasks = frozenset(tasks)


def run_parallel(
    work: Callable[[Task], Result], tasks: Mapping[str, Task], engine: Engine, seed: int = 0
) -> Iterator[tuple[str, Result]]:
    """Yield ``(name, work(task))`` for every task, as they finish.

    Each call has one thread and its own seed, made from the seed and the task's name, so that the results do not depend
    on the number or the kind of workers. With one worker the calls run in this process.

    Args:
        work: called with one task; what it raises ends the run. It must be importable by name unless run here.
        tasks: name to argument; arguments travel to the workers, so let them name files and not hold volumes.
        engine: the workers.
        seed: of the run.

    Raises:
        WorkerLost: a worker process died; what had been yielded before stands, and it says which tasks had begun.
        InputError: the engine's scheduler cannot be used.
    """
    if engine.scheduler is not None and tasks:
        from lesionlab.stages.dask_engine import run_on_dask  # an extra: not everyone has the library

        yield from run_on_dask(work, tasks, engine.scheduler, seed)
        return
    if engine.workers == 1 or not tasks:
        for name, task in tasks.items():
            yield call(work, name, task, seed)
        return
    yield from _run_in_processes(work, tasks, engine.processes(len(tasks)), seed)


def _run_in_processes(
    work: Callable[[Task], Result], tasks: Mapping[str, Task], workers: int, seed: int
) -> Iterator[tuple[str, Result]]:
    # The variables count when a library is loaded: the worker gets them at its start and before it imports anything.
    with environment(seed) as values:
        pool = joblib.Parallel(
            n_jobs=max(workers, _OWN_PROCESS),
            backend="loky",
            return_as="generator_unordered",
            batch_size=1,  # one answer per task: a worker that dies takes no finished one with it
            pre_dispatch=workers,
            initializer=_begin_worker,
            initargs=(values, os.getpid()),
        )
        given: set[str] = set()  # to a worker: the pool takes a task only when there is one for it

        def calls() -> Iterator[Any]:
            for name, task in tasks.items():
                given.add(name)
                yield joblib.delayed(call)(work, name, task, seed)

        try:
            for name, result in pool(calls()):
                yield name, result
                given.remove(name)
        except TerminatedWorkerError as error:
            raise WorkerLost("a worker process died (out of memory, or a crash in native code)", given) from error


#: joblib computes in the calling process with fewer; ``pre_dispatch`` limits how many are at work.
_OWN_PROCESS = 2
#: loky ends a worker that has grown by 0.3 GB, which the libraries of the next stage do in health; a new one takes
#: seconds to load them. By more than this it does not grow in health.
_LEAK_BYTES = 4 * 2**30


def _begin_worker(values: Mapping[str, str], parent: int) -> None:
    """What a worker process does first."""
    os.environ.update(values)
    process_executor._MAX_MEMORY_LEAK_SIZE = _LEAK_BYTES
    end_with_parent(parent)


@contextmanager
def environment(seed: int) -> Iterator[dict[str, str]]:
    """Set the variables for one thread and reproducible ANTs, and put them back afterwards."""
    values = reproducible_environment(seed + 1)  # ANTs takes 0 for "no seed"
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield values
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def call(work: Callable[[Task], Result], name: str, task: Task, seed: int) -> tuple[str, Result]:
    """``(name, work(task))`` with one thread and the task's own random numbers."""
    own_seed = zlib.crc32(f"{seed}/{name}".encode())
    with environment(seed), threadpool_limits(1), _one_itk_thread(), _seeded(own_seed), _torch_seeded(own_seed):
        return name, work(task)


@contextmanager
def _one_itk_thread() -> Iterator[None]:
    """Give SimpleITK one thread where it is loaded; where it is loaded later, the environment limits it."""
    sitk: Any = sys.modules.get("SimpleITK")
    if sitk is None:
        yield
        return
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators, which libraries may draw from, and put their states back afterwards."""
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


@contextmanager
def _torch_seeded(seed: int) -> Iterator[None]:
    """Seed torch and give it one thread, where it is loaded; where it is loaded later, OMP_NUM_THREADS limits it."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
