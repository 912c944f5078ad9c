"""The length of a run, and the learning rate over it."""

from __future__ import annotations

from dataclasses import dataclass

from torch.optim import Optimizer

from lesionlab.errors import InputError
from lesionlab.methods.base import Method
from lesionlab.training.options import TrainingOptions


@dataclass(frozen=True)
class Schedule:
    """Steps at the full rate, then steps over which it decays."""

    constant: int
    decay: int

    @property
    def steps(self) -> int:
        """Length of the run."""
        return self.constant + self.decay

    def apply(self, method: Method, optimizer: Optimizer, step: int) -> None:
        """Set the rate of every parameter group for a step, by the method's own rule (:meth:`Method.rate`)."""
        for group in optimizer.param_groups:
            full = group.setdefault("initial_lr", group["lr"])
            group["lr"] = full * method.rate(step, self.constant, self.decay)


def make_schedule(options: TrainingOptions, steps_per_epoch: int) -> Schedule:
    """The schedule of a run in steps; raises ``InputError`` for a run of no steps."""
    scale = steps_per_epoch if options.unit == "epochs" else 1
    schedule = Schedule(options.constant * scale, options.decay * scale)
    if schedule.steps < 1:
        raise InputError(
            "a training run has no steps",
            given=f"constant {options.constant}, decay {options.decay} {options.unit}",
            allowed="at least one step in all",
            cure="raise constant or decay",
        )
    return schedule
