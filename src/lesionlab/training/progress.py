"""How far a run is, and how long it has to go: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType

from tqdm import tqdm  # type: ignore[import-untyped]

log = logging.getLogger(__name__)

SHOWN = ("D/adversarial", "G/total", "U/total")


def duration(seconds: float) -> str:
    """``75`` -> ``1 min 15 s``; hours above 60 minutes."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Progress:
    """Progress of one run; use as a context manager.

    Args:
        title: what is being trained.
        total: steps of the whole run.
        done: steps behind it already (a continued run).
        shown: whether to show anything; of several processes one does.
    """

    def __init__(self, title: str, total: int, done: int, shown: bool = True) -> None:
        self.shown = shown
        self.title, self.total, self.done, self.first = title, total, done, done
        self.start = time.perf_counter()
        self.bar = tqdm(total=total, initial=done, desc=title, unit="step", disable=not (shown and sys.stderr.isatty()))

    def __enter__(self) -> Progress:
        if self.shown:
            after = f", from step {self.done}" if self.done else ""
            log.info("%s: training for %d steps%s", self.title, self.total, after)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()

    def advance(self) -> None:
        """Count one step."""
        self.done += 1
        self.bar.update()

    def seconds_left(self) -> float:
        """Estimated from the mean rate of this run so far."""
        behind = max(self.done - self.first, 1)
        return (time.perf_counter() - self.start) / behind * (self.total - self.done)

    def report(self, values: dict[str, float]) -> None:
        """Show the latest measurements."""
        shown = ", ".join(f"{name} {values[name]:.3g}" for name in SHOWN if name in values)
        self.bar.set_postfix_str(shown)
        if self.shown and self.bar.disable:
            left = duration(self.seconds_left())
            log.info("%s: step %d of %d, %s left; %s", self.title, self.done, self.total, left, shown)
