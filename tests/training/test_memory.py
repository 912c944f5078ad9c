"""What the C library does with freed memory."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from lesionlab.training.memory import keep_freed_memory

BLOCK_MIB = 200
SCRIPT = f"""
import ctypes, sys
from lesionlab.training.memory import keep_freed_memory

def held():  # MiB of this process in memory
    line = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
if sys.argv[1] == "keep":
    assert keep_freed_memory()
before = held()
block = libc.malloc({BLOCK_MIB} << 20)
ctypes.memset(block, 1, {BLOCK_MIB} << 20)
libc.free(block)
print(held() - before)
"""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")


@glibc
@pytest.mark.parametrize(("how", "kept"), [("keep", True), ("give back", False)])
def test_freed_memory_stays_with_the_process_or_goes_back(how, kept):
    said = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True).stdout
    assert (float(said) > BLOCK_MIB / 2) == kept


def test_elsewhere_it_says_no(monkeypatch):
    monkeypatch.setattr("lesionlab.training.memory.sys.platform", "darwin")
    assert keep_freed_memory() is False
