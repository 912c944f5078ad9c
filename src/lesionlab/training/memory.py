"""How the C library gives memory back."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # mallopt's names for them, malloc.h
KEPT = (2**30, 2**25)  # bytes, larger blocks still go back at once; older libraries refuse more than the second


def keep_freed_memory() -> bool:
    """Let this process reuse freed blocks of up to 1 GiB instead of returning them to the system; false: no glibc.

    A training step on a CPU asks for the same blocks again and again. By default each large one is mapped, zeroed
    page by page by the kernel, and unmapped: 3 to 12 % of a step's time.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or not any(mallopt(MMAP_THRESHOLD, size) == 1 for size in KEPT):
        return False
    return mallopt(TRIM_THRESHOLD, max(KEPT)) == 1  # last, for alone it would end glibc's own adaptation
