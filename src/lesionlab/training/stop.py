"""Requests to stop: a cluster's signals, and a budget of time."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # SLURM's preemption and its warning; a machine that shuts down
_S_PER_MINUTE = 60


class Interrupted(RuntimeError):
    """A run stopped before its end because it was asked to; its checkpoint holds all of it.

    Callers may let it through: the same command goes on from there. A process that ends by it should exit with
    ``exit_status``, which tells schedulers to try again.
    """

    exit_status = os.EX_TEMPFAIL

    def __init__(self, method: str, why: str, step: int | None, steps: int | None, checkpoint: Path | str) -> None:
        self.why, self.step = why, step
        self.arguments = {
            "method": method,
            "why": why,
            "step": step,
            "steps": steps,
            "checkpoint": str(checkpoint),
        }
        where = f" after step {step} of {steps}," if step is not None else ""
        super().__init__(
            f"{method}: stopped{where} {why}. Nothing is lost: {checkpoint} holds the run, "
            "and the same command goes on from there"
        )


class StopRequest:
    """Notes that a run is to stop, while entered; the run looks at it between two steps.

    Signals are caught in the main thread alone (Python allows no other), and afterwards handled as before.

    Args:
        minutes: after which the run is to stop; None: never.
    """

    def __init__(self, minutes: float | None = None) -> None:
        self.minutes, self.start = minutes, time.monotonic()
        self.signal: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number).name

    def why(self, finished: bool = False) -> str | None:
        """Why the run is to stop now, as the end of a sentence; None where it is not.

        A signal is meant for the process, so it counts for a run that is finished too; the budget does not.
        """
        if self.signal:
            return f"as {self.signal} asked"
        if not finished and self.minutes is not None and time.monotonic() - self.start >= self.minutes * _S_PER_MINUTE:
            return f"its max_minutes of {self.minutes:g} being over"
        return None
