"""Worker processes: one thread each, and the same results whatever their number and kind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import joblib
from joblib.externals.loky import process_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from lesionlab.stages.calls import Result, Task, WorkerLost, call, environment
from lesionlab.stages.dask_engine import run_on_dask
from lesionlab.stages.engine import Engine
from lesionlab.stages.parent import end_with_parent


def run_parallel(
    work: Callable[[Task], Result], tasks: Mapping[str, Task], engine: Engine, seed: int = 0, need: int = 0
) -> Iterator[tuple[str, Result]]:
    """Yield ``(name, work(task))`` for every task, as they finish.

    Each call has one thread and its own seed, made from the seed and the task's name, so that the results do not depend
    on the number or the kind of workers. With one worker the calls run in this process.

    Args:
        work: called with one task; what it raises ends the run. It must be importable by name unless run here.
        tasks: name to argument; arguments travel to the workers, so let them name files and not hold volumes.
        engine: the workers.
        seed: of the run.
        need: memory that the largest task takes, bytes: no more processes start here than fit; 0: unknown.

    Raises:
        WorkerLost: a worker process died; what was yielded before stands; its ``tasks`` are those that had begun.
        InputError: the engine's scheduler cannot be used.
    """
    if engine.scheduler is not None and tasks:
        yield from run_on_dask(work, tasks, engine.scheduler, seed)
        return
    if engine.workers == 1 or not tasks:
        for name, task in tasks.items():
            yield call(work, name, task, seed)
        return
    yield from _run_in_processes(work, tasks, engine.processes(len(tasks), need), seed)


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
            initializer=_initialize_worker,
            initargs=(values, os.getpid()),
        )
        given: set[str] = set()  # to a worker: the pool takes a task only when a worker is free

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
#: loky takes a worker that has grown by 0.3 GB for a leaking one and replaces it. The libraries of the next stage take
#: more, and a new worker takes seconds to load them; growth beyond this is a leak.
_LEAK_BYTES = 4 * 2**30


def _initialize_worker(values: Mapping[str, str], parent: int) -> None:
    """Run by each worker process before anything else."""
    os.environ.update(values)
    process_executor._MAX_MEMORY_LEAK_SIZE = _LEAK_BYTES
    end_with_parent(parent)
