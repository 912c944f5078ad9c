"""Memory: the estimate of a study's need, what is free, and the peak of a process."""

from __future__ import annotations

import math
import re
import resource
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

import nibabel as nib
import psutil  # type: ignore[import-untyped]

from lesionlab.errors import InputError
from lesionlab.imaging.formats import look
from lesionlab.imaging.scan_path import scan_path

GIB = 2**30

#: What a worker takes for a scan of any size, measured: 0.65 GB for the libraries, 0.85 GB for the network that finds
#: the brain, which the other stages do without.
BASE_BYTES = int(1.6 * GIB)

#: Peak beyond that over the voxels of a study's inputs as float32: 3 to 8 measured over the stages, and a margin.
FACTOR = 12

_FLOAT32, _INT16 = 4, 2  # bytes
_STATUS, _CLEAR, _RESET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs"), "5"
_CGROUPS = Path("/proc/self/cgroup")
#: Files of a control group's limit, use, and statistics, in the second and the first version of control groups.
_GROUP_FILES = {
    Path("/sys/fs/cgroup"): ("memory.max", "memory.current", "inactive_file"),
    Path("/sys/fs/cgroup/memory"): ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


@runtime_checkable
class ReadsFiles(Protocol):
    """A job that knows which files its study is read from."""

    def files(self) -> Iterable[Path]:
        """The files, folders of a series, or parts of files (see :func:`scan_path`)."""
        ...


def require_memory(job: object, limit_gb: float | None, free: int | None = None) -> None:
    """Refuse a study, before anything of it is read, that would take more memory than there is.

    Args:
        job: what the study is made from; only a :class:`ReadsFiles` can be judged.
        limit_gb: what a worker may take; ``None``: what is free.
        free: bytes that studies may take on this machine; ``None``: what is free now.

    Raises:
        InputError: the estimate exceeds the limit or the free memory.
    """
    need = needed_by(job)
    free = free_bytes() if free is None else free
    if limit_gb is not None and need > limit_gb * GIB:
        raise InputError(
            "the study needs more memory than a worker may take",
            given=f"about {need / GIB:.1f} GB, judged by the headers of its files",
            allowed=f"run.memory_gb: {limit_gb:g}",
            cure=f"set run.memory_gb to {need / GIB + 0.1:.1f} (fewer workers may fit then), or leave the study out",
        )
    if need > free:
        raise InputError(
            "the study needs more memory than is free",
            given=f"about {need / GIB:.1f} GB, judged by the headers of its files",
            allowed=f"{free / GIB:.1f} GB, what is free on this machine",
            cure="end other programs and run again, or leave the study out",
        )


def largest_need(jobs: Iterable[object], free: int) -> int:
    """What the largest study takes, bytes, of those that take no more than is free; 0 where none can be judged."""
    return max((need for need in map(_need_or_0, jobs) if need <= free), default=0)


def _need_or_0(job: object) -> int:
    try:
        return needed_by(job)
    except Exception:  # whatever is wrong with its files fails this study alone, in its worker
        return 0


def needed_by(job: object) -> int:
    """An estimate of what a study takes, bytes; 0 where the job is no :class:`ReadsFiles`."""
    return needed_bytes(job.files()) if isinstance(job, ReadsFiles) else 0


def needed_bytes(files: Iterable[Path]) -> int:
    """An estimate of what a study takes: the libraries, and ``FACTOR`` times its voxels as float32."""
    return BASE_BYTES + FACTOR * _FLOAT32 * sum(_voxels(file) for file in files)


def _voxels(path: Path | str) -> int:
    """A scan's number of voxels by its header, of the channel or the series alone that is meant.

    A file that cannot be read counts nothing: the error is raised where its voxels are read.
    """
    try:
        return math.prod(look(path).shape)
    except Exception:  # no scan by itself (a mask of four dimensions, a folder), or a damaged header
        return _voxels_of_all(scan_path(path).place)


def _voxels_of_all(path: Path) -> int:
    """The voxels of the whole file by its header; of other files, as if they held 16-bit numbers."""
    try:
        shape: tuple[int, ...] = nib.load(path).shape  # type: ignore[attr-defined]
        return math.prod(int(size) for size in shape)
    except Exception:  # a damaged header raises anything
        with suppress(OSError):
            files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
            return 0 if path.name.endswith((".nii", ".nii.gz")) else sum(f.stat().st_size for f in files) // _INT16
    return 0


def machine_bytes() -> int:
    """The memory of this machine, or the part of it that a container or a batch job may use."""
    limits = [limit for limit, _ in _groups()]
    return min([int(psutil.virtual_memory().total), *limits])


def free_bytes() -> int:
    """What could be taken now without anything being swapped out or killed."""
    rooms = [limit - used for limit, used in _groups()]
    return max(0, min([int(psutil.virtual_memory().available), *rooms]))


def free_for_workers() -> int:
    """What this process and its workers could take: what is free, and what workers of the stage before still hold."""
    held = 0
    for worker in psutil.Process().children():
        with suppress(psutil.Error):
            held += int(worker.memory_info().rss)
    return min(machine_bytes(), free_bytes() + held)


def _groups() -> list[tuple[int, int]]:
    """Limit and use of each control group this process is in that has a limit, bytes."""
    try:
        lines = _CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    names = {line.split(":", 2)[2].strip("/") for line in lines if line.split(":")[1] in ("", "memory")}
    places = [(root / name, files) for root, files in _GROUP_FILES.items() for name in (names | {""})]
    return [found for place, files in places if (found := _group(place, files)) is not None]


def _group(place: Path, files: tuple[str, str, str]) -> tuple[int, int] | None:
    limit, usage, cache = files
    with suppress(OSError, ValueError):
        statistics = (place / "memory.stat").read_text(encoding="utf-8")
        given_back = re.search(rf"^{cache} (\d+)", statistics, re.MULTILINE)  # cached pages of files, freed on demand
        used = int((place / usage).read_text()) - (int(given_back[1]) if given_back else 0)
        return int((place / limit).read_text()), used
    return None


def reset_peak() -> None:
    """Restart the measurement where the system can; elsewhere the peak stays that of the process's whole life."""
    with suppress(OSError):
        _CLEAR.write_text(_RESET_PEAK)


def peak_bytes() -> int:
    """The most memory this process has held since :func:`reset_peak`, bytes."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="utf-8"))
        if found:
            return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
