"""Processes that train: started, listened to, ended together."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lesionlab.training.stop import SIGNALS

_LAST_LINES = 40  # of a process's output that an error repeats


class Processes:
    """The processes that this one waits for; signals to stop are handed on to each.

    Attributes:
        asked: a signal came; a process that starts after it is ended at once.
    """

    def __init__(self) -> None:
        self.asked = False
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.RLock()  # a signal's handler may interrupt its holder

    def run(self, words: Sequence[str], environment: Mapping[str, str], name: str = "") -> tuple[int, list[str]]:
        """Run a command to its end, show what it writes to stderr, each line after ``name``.

        Returns:
            Its exit status and the last lines.
        """
        # A pipe that nobody writes to: it closes when this process ends, however that comes about.
        pipe = subprocess.PIPE
        process = subprocess.Popen(words, env=dict(environment), stdin=pipe, stderr=pipe, text=True)
        with self.handing_on_signals(), self._looking_after(process):
            lines = _pass_on(process, name)
        return process.returncode, lines

    @contextmanager
    def handing_on_signals(self) -> Iterator[None]:
        """While entered, signals to stop go to all processes; in the main thread alone, as Python allows no other."""
        before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.signal(number, lambda *_: self.terminate()) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def terminate(self) -> None:
        """Ask all of them to stop."""
        with self._lock:
            self.asked = True
            for process in self._running:
                process.terminate()

    @contextmanager
    def _looking_after(self, process: subprocess.Popen[str]) -> Iterator[None]:
        """Count a process among those at work; end it where this block ends before it."""
        with self._lock:
            self._running.add(process)
            if self.asked:
                process.terminate()
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(process)
            if process.poll() is None:
                process.terminate()
                process.wait()


def _pass_on(process: subprocess.Popen[str], name: str) -> list[str]:
    """Show what a process writes, to its end; the last lines."""
    last: deque[str] = deque(maxlen=_LAST_LINES)
    for line in process.stderr or ():
        sys.stderr.write(f"{name}: {line}" if name else line)
        last.append(line)
    process.wait()
    return list(last)
