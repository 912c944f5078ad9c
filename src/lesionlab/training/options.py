"""The options of a training run, whatever the method."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lesionlab.training.best import BestRule

# What may differ between a run and its continuation without changing its result.
WITHOUT_EFFECT = {
    "log_every",
    "checkpoint_every",
    "validate_every",
    "image_moments",
    "device",
    "threads",
    "devices",
    "memory",
    "loss_limit",
    "max_minutes",
    "keep_last",
}


class TrainingOptions(BaseModel):
    """Length, batch, numerics and bookkeeping of a run; defaults are CG-SAMR's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    constant: int = Field(250, ge=0, description="epochs or steps at the full learning rate")
    decay: int = Field(250, ge=0, description="epochs or steps over which it then falls linearly to 0")
    unit: Literal["epochs", "steps"] = Field(
        "epochs",
        description="what `constant` and `decay` count; steps make runs on data sets of unequal size comparable",
    )
    batch_size: int = Field(8, ge=1, description="slices per step, over all devices and parts together")
    accumulate: int = Field(
        1, ge=1, description="parts that a batch is taken in, to save memory; gradients are means over them"
    )
    seed: int = Field(0, ge=0, description="order of slices and everything drawn while training")
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = Field(True, description="faster convolutions on CPUs and GPUs; same result up to rounding")
    compile: bool = Field(False, description="torch.compile each network; pays off in long runs")
    clip_norm: float | None = Field(None, gt=0, description="largest gradient norm of an update; null: no clipping")
    loss_limit: float | None = Field(
        1e4, gt=0, description="a loss above it, either sign, stops the run as nan does; null: only what is not finite"
    )
    device: str = Field("auto", description="auto, cpu, cuda or mps")
    devices: int = Field(1, ge=1, description="processes of the run on this machine, a device each")
    sync_batch_norm: bool = Field(
        True, description="with several CUDA devices: batch norm over the whole batch; CPUs look at a process's part"
    )
    memory: Literal["load", "map"] = Field(
        "load", description="map: slices stay in their files and are read batch by batch, one batch ahead"
    )
    shuffle_block: int = Field(
        1, ge=1, description="neighbouring slices that stay close in the order, for slow disks; 1: all mixed with all"
    )
    shuffle_buffer: int = Field(1024, ge=1, description="slices that are mixed once the blocks are in random order")
    threads: int | None = Field(None, ge=1, description="CPU threads; null: as torch chooses")
    log_every: int = Field(50, ge=1, description="steps between entries of the history, each a mean over them")
    validate_every: int | None = Field(None, ge=1, description="steps between validations; null: at the end alone")
    checkpoint_every: int = Field(500, ge=1, description="steps between checkpoints")
    best: BestRule | None = Field(
        None, description="keeps the best checkpoint by a validation measure as best.pt; null: the last alone"
    )
    trained: Literal["last", "best"] = Field("last", description="which of them becomes method.pt, the trained method")
    keep_last: bool = Field(
        True, description="false: a finished run's last.pt, two thirds of its disk, is removed; it is not needed again"
    )
    max_minutes: float | None = Field(
        None,
        gt=0,
        description="the run then stops with a checkpoint, as by a cluster's signal, and the same command goes on, "
        "so that no result depends on the clock",
    )
    image_moments: tuple[float, ...] = Field(
        (0.05, 0.5, 1.0), description="when pictures are taken, as parts of the run"
    )

    @model_validator(mode="after")
    def _best_needs_a_rule(self) -> Self:
        if self.trained == "best" and self.best is None:
            raise ValueError("trained: best needs a rule that says what is best; give best: {measure: ..., goal: max}")
        return self

    def decisive(self) -> dict[str, object]:
        """The options that a continued run must share with the run it continues, JSON-able."""
        chooses = {"validate_every"} if self.best else set()
        return self.model_dump(mode="json", exclude=WITHOUT_EFFECT - chooses)
