"""Progress of a stage: log lines with the time left."""

from __future__ import annotations

import logging
import time

_log = logging.getLogger(__name__)


class Progress:
    """Tells study by study how far a stage is, and the time left, judged by the studies done so far."""

    def __init__(self, stage: str, total: int) -> None:
        self.stage, self.total, self.done, self.start = stage, total, 0, time.monotonic()

    def step(self, study: str, reason: str | None) -> None:
        """One more study is done, or, where there is a reason, has failed."""
        self.done += 1
        if reason is not None:
            _log.error("%s: study %s failed: %s", self.stage, study, reason)
        left = (time.monotonic() - self.start) / self.done * (self.total - self.done)
        _log.info("%s: %d/%d studies, %s left", self.stage, self.done, self.total, duration(left))


def duration(seconds: float) -> str:
    """A duration as people say it: ``"1 min 12 s"``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes) + [f"{rest} s"] * (not hours)
    return " ".join(parts)
