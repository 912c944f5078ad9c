"""The workers of an existing Dask cluster: the same calls as in processes of this machine, with the same results.

joblib's own Dask backend does not serve here (docs/decisions.md, 2026-12-01): it waits forever for a task whose worker
was killed, and computes in the calling process where the cluster has one thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import queue
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from functools import cache, partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lesionlab.errors import InputError
from lesionlab.stages.calls import Result, Task, WorkerLost, call, environment

#: The option in the configuration, for messages.
_OPTION = "run.scheduler"
_CONNECT_S = 15
_CHECK_S = 60  # without a result until the number of workers is looked at
_PLUGIN = "lesionlab-environment"
#: What has to be the same on both sides for the results to be the same.
_LIBRARIES = ("antspyx", "SimpleITK", "numpy", "scipy", "nibabel")

_log = logging.getLogger(__name__)

#: One study at a time in each worker process, whatever its threads: random numbers, variables and the working folder
#: belong to the process.
_one_at_a_time = threading.Lock()


def run_on_dask(
    work: Callable[[Task], Result], tasks: Mapping[str, Task], scheduler: str, seed: int
) -> Iterator[tuple[str, Result]]:
    """Yield ``(name, work(task))`` for every task, as the cluster's workers finish them.

    A task whose worker dies is given to another one. Dask gives up tasks that were at several workers when these died,
    running or waiting there; only one by one can it be found out which of them kills its worker.

    Args:
        work: importable by the workers, which have to see the same files.
        tasks: name to argument.
        scheduler: its address, ``tcp://host:8786``.
        seed: of the run.

    Raises:
        InputError: ``distributed`` is not installed, the scheduler cannot be reached or speaks another version, or a
            worker runs other code or libraries than this process.
        WorkerLost: Dask gave up some tasks; raised when all others have been yielded.
    """
    distributed = _library()
    lost: list[str] = []
    with environment(seed) as values, _client(distributed, scheduler) as client:
        plugin = f"{_PLUGIN}-{uuid.uuid4().hex}"  # another run on this scheduler has its own
        client.register_plugin(_plugin(distributed, values), name=plugin)
        remote = partial(_call_on_worker, work, seed, _versions(), str(Path.cwd()))
        futures = {client.submit(remote, name, task, pure=False): name for name, task in tasks.items()}
        try:
            for future in _finished(client, futures):
                name = futures.pop(future)  # without a reference the cluster frees the result
                try:
                    yield future.result()
                except distributed.KilledWorker:
                    lost.append(name)
                except CancelledError as error:
                    raise _gone(scheduler) from error
        finally:
            _clean_up(client, list(futures), plugin)
    if lost:
        text = f"worker processes died of {', '.join(lost)} (out of memory, or a crash in native code)"
        raise WorkerLost(text, lost)


def _library() -> Any:
    if find_spec("distributed") is None:
        raise InputError(
            "Dask is not installed",
            given=f"{_OPTION} is set",
            allowed="an environment that holds dask.distributed",
            cure="pip install -e '.[dask]' in the checkout, here and on the workers, or leave the option out",
        )
    import distributed

    return distributed


def _client(distributed: Any, scheduler: str) -> Any:
    try:
        return distributed.Client(scheduler, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(
            "the Dask scheduler cannot be reached",
            given=f"{scheduler}: {type(error).__name__}: {error}",
            allowed="the address of a running scheduler, such as tcp://host:8786",
            cure=f"start it (docs/running.md), or correct {_OPTION}; if it runs, see that its version of distributed "
            f"is {distributed.__version__} and that no firewall lies between",
        ) from error


def _plugin(distributed: Any, values: Mapping[str, str]) -> Any:
    class Environment(distributed.WorkerPlugin):  # type: ignore[misc, name-defined]
        """Sets a worker's variables before it loads any library of ours; for workers that come later too."""

        def setup(self, worker: object) -> None:
            os.environ.update(values)

    return Environment()


def _clean_up(client: Any, futures: list[Any], plugin: str) -> None:
    """Cancel what is left. A scheduler that is gone must not hide, by its own error, why the run ended."""
    for step in (partial(client.cancel, futures), partial(client.unregister_worker_plugin, plugin)):
        try:
            step()
        except (Exception, CancelledError) as error:  # a lost connection raises anything
            _log.debug("not cancelled on the scheduler: %r", error)


def _finished(client: Any, futures: Mapping[Any, str]) -> Iterator[Any]:
    """The futures as they end, with a result or an error. Logs a warning where no worker is left."""
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for future in futures:
        future.add_done_callback(done.put)
    while futures:
        try:
            yield done.get(timeout=_CHECK_S)
        except queue.Empty:
            if not client.scheduler_info()["workers"]:
                _log.warning("the cluster has no worker: %d studies wait for one", len(futures))


def _gone(scheduler: str) -> InputError:
    return InputError(
        "the Dask scheduler has gone, or has dropped the run",
        given=scheduler,
        allowed="a scheduler that stays until the run ends",
        cure="start it again and run again: finished studies are kept",
    )


def _call_on_worker(
    work: Callable[[Task], Result], seed: int, expected: Mapping[str, str], folder: str, name: str, task: Task
) -> tuple[str, Result]:
    """One call on a worker, once its versions are checked; in the run's folder, since paths may be relative."""
    _check_versions(expected)
    with _one_at_a_time, contextlib.chdir(folder):
        return call(work, name, task, seed)


def _check_versions(expected: Mapping[str, str]) -> None:
    found = _versions()
    other = {name: (found[name], wanted) for name, wanted in expected.items() if found[name] != wanted}
    if other:
        raise InputError(
            f"a Dask worker on {platform.node()} would compute something else",
            given=", ".join(f"{name} {there}" for name, (there, _) in other.items()),
            allowed=", ".join(f"{name} {here}" for name, (_, here) in other.items()) + ", as in the run itself",
            cure="start the workers from the same environment as the run, and start them again after a change",
        )


@cache
def _versions() -> dict[str, str]:
    """Python, libraries and our own code, as they are in this process."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    libraries = {name: version(name) for name in _LIBRARIES}
    return {"Python": platform.python_version(), **libraries, "lesionlab's code": digest.hexdigest()}
