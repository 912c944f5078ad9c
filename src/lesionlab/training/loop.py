"""The one training loop, for every method: the method updates its networks, the loop does the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor
from torch.optim import Optimizer

from lesionlab.data.batches import Batch, EpochSampler, Slices
from lesionlab.methods.base import Method, at_rest
from lesionlab.training import checkpoint
from lesionlab.training.history import History, Meter
from lesionlab.training.montage import montage, save_pictures
from lesionlab.training.options import TrainingOptions
from lesionlab.training.progress import Progress
from lesionlab.training.randomness import own_randomness, random_state, set_random_state
from lesionlab.training.schedule import make_schedule
from lesionlab.training.tracker import NoTracker, Tracker

if TYPE_CHECKING:
    from lightning.fabric import Fabric

CHECKPOINT = "last.pt"
TRAINED = "method.pt"
HISTORY = "history.csv"
IMAGES = "images"
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}
PREVIEWED = 4  # slices in a preview
DEVICE_SHARE = 0.5  # of the device's free memory that slices may take

Validate = Callable[[Method, int], dict[str, float]]
Augment = Callable[[Batch], Batch]


def fit(
    method: Method,
    slices: Slices,
    options: TrainingOptions,
    folder: str | Path,
    *,
    augment: Augment | None = None,
    tracker: Tracker | None = None,
    validate: Validate | None = None,
    preview: Batch | None = None,
    resume: bool = True,
) -> pd.DataFrame:
    """Train ``method`` in place and leave ``last.pt``, ``method.pt``, ``history.csv`` and ``images/`` in ``folder``.

    Args:
        method: freshly built; a continued run replaces its weights by the checkpoint's.
        slices: the training slices.
        options: length, batch, numerics.
        folder: of this run alone; made where it is missing.
        augment: changes every batch before the method sees it; draws from torch's generator alone, on the device.
        tracker: receives curves and pictures.
        validate: called with the method, at rest, and the step; returns scalars by name.
        preview: slices that pictures are made of; a few training slices by default.
        resume: go on from a checkpoint in ``folder``, where there is one. A finished run is loaded and returned.

    Returns:
        The history: columns ``step``, ``name``, ``value``.

    Raises:
        InputError: slices that do not fit the method; a checkpoint that is damaged or belongs to another run.
        FloatingPointError: a loss that is no longer finite.
    """
    with own_randomness(options.seed):
        run = Run(method, slices, options, Path(folder), tracker or NoTracker(), validate, preview, augment)
        if resume and run.last.exists():
            run.restore()
        run.train()
    return run.history.table()


class Run:
    """One run: the method on its device, its optimizers, and where it stands."""

    def __init__(
        self,
        method: Method,
        slices: Slices,
        options: TrainingOptions,
        folder: Path,
        tracker: Tracker,
        validate: Validate | None,
        preview: Batch | None,
        augment: Augment | None = None,
    ) -> None:
        self.augment = augment
        if options.threads:
            torch.set_num_threads(options.threads)
        self.method, self.options, self.tracker, self.validate = method, options, tracker, validate
        self.last, self.trained = folder / CHECKPOINT, folder / TRAINED
        self.folder = folder
        method.check(Batch(slices.images, slices.labels, slices.atlas, slices.tissues))
        places = torch.linspace(0, len(slices) - 1, min(PREVIEWED, len(slices))).long()
        preview = slices.take(places) if preview is None else preview
        self.fingerprint = checkpoint.fingerprint(method, slices, options)
        from lightning.fabric import Fabric  # takes seconds to load, and most runs of the project train nothing

        self.fabric = Fabric(accelerator=options.device, devices=1, precision=PRECISIONS[options.precision])  # type: ignore[arg-type]
        self.slices = on_device(slices, self.fabric.device)
        self.preview = self._prepare(preview)
        self.optimizers = self._set_up()
        self.sampler = make_sampler(len(slices), options)
        self.schedule = make_schedule(options, len(self.sampler))
        self.history, self.meter, self.step = History(), Meter(), 0
        self._start_clock()

    def _set_up(self) -> dict[str, Optimizer]:
        self.fabric.to_device(self.method)
        if self.options.channels_last:
            self.method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.options.compile:
            for network in self.method.children():
                network.compile()
        made = self.method.optimizers().items()
        return {name: self.fabric.setup_optimizers(optimizer) for name, optimizer in made}  # type: ignore[misc]

    def _prepare(self, batch: Batch) -> Batch:
        """A batch on the device, in the memory format of the networks."""
        layout = torch.channels_last if self.options.channels_last else torch.contiguous_format
        device = self.fabric.device
        return Batch(*(t.to(device, memory_format=layout) if t.ndim == 4 else t.to(device) for t in batch))

    def train(self) -> None:
        """Take the steps that are left."""
        if self.step == self.schedule.steps and self.trained.exists():
            return
        self.method.train()
        batches = endless(self.sampler)
        with Progress(self.method.name, self.schedule.steps, self.step) as progress:
            while self.step < self.schedule.steps:
                self._take_step(next(batches))
                progress.advance()
                self._report(progress)
        checkpoint.save_method(self.method, self.trained)

    def _take_step(self, indices: Any) -> None:
        start = time.perf_counter()
        batch = self._prepare(self.slices.take(indices))
        if self.augment is not None:
            batch = self._prepare(self.augment(batch))
        self.loading += time.perf_counter() - start
        for optimizer in self.optimizers.values():
            self.schedule.apply(optimizer, self.step)
        with lower_precision(self.fabric):
            self.meter.add(self.method.training_step(batch, self._update))
        self.step += 1

    def _update(self, name: str, loss: Tensor) -> None:
        """One step of the named optimizer down this loss."""
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.fabric.device.type, enabled=False):
            self.fabric.backward(loss)
        if self.options.clip_norm:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.options.clip_norm)
        optimizer.step()

    def _report(self, progress: Progress) -> None:
        """After a step: curves, validation, pictures and checkpoint, each when it is due."""
        step, options, final = self.step, self.options, self.step == self.schedule.steps
        if final or step % options.log_every == 0:
            progress.report(self._measure())
        if self.validate and (final or (options.validate_every and step % options.validate_every == 0)):
            with at_rest(self.method):
                self._record(self.validate(self.method, step))
        if step in self._picture_steps():
            self._take_pictures()
        if final or step % options.checkpoint_every == 0:
            self.save()

    def _measure(self) -> dict[str, float]:
        steps = self.meter.count
        means = self.meter.drain()
        broken = [name for name, value in means.items() if value != value or abs(value) == float("inf")]
        if broken:
            raise FloatingPointError(
                f"{self.method.name}: {', '.join(broken)} is no longer finite at step {self.step}; "
                "lower the learning rate, set clip_norm, or train in fp32"
            )
        elapsed = time.perf_counter() - self.since
        rates = {f"rate/{name}": o.param_groups[0]["lr"] for name, o in self.optimizers.items()}
        speed = {"speed/steps_per_second": steps / elapsed, "speed/loader_share": self.loading / elapsed}
        self._record(means | rates | speed)
        self._start_clock()
        return means

    def _start_clock(self) -> None:
        self.since, self.loading = time.perf_counter(), 0.0

    def _record(self, values: dict[str, float]) -> None:
        self.history.add(self.step, values)
        self.tracker.metrics(values, self.step)

    def _picture_steps(self) -> set[int]:
        return {max(1, round(moment * self.schedule.steps)) for moment in self.options.image_moments}

    def _take_pictures(self) -> None:
        pictures = self.method.validation_images(self.preview)
        save_pictures(pictures, self.folder / IMAGES / f"step-{self.step:06d}.npz")
        self.tracker.images(montage(pictures), "montage", self.step)

    def save(self) -> None:
        """Write checkpoint and history."""
        state = {
            "fingerprint": self.fingerprint,
            "step": self.step,
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "sampler": self.sampler.state_dict(),
            "random": random_state(),
            "history": self.history.rows,
            "meter": self.meter.state_dict(),
        }
        checkpoint.save({**checkpoint.contents(self.method), "training": state}, self.last)
        self.history.save(self.folder / HISTORY)

    def restore(self) -> None:
        """Go on where the checkpoint stands; raises ``InputError`` unless it is this run's."""
        content = checkpoint.load(self.last)
        checkpoint.require_same_run(content, self.fingerprint, self.last)
        state = content["training"]
        self.method.load_state_dict(content["weights"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.sampler.load_state_dict(state["sampler"])
        self.history.rows = [tuple(row) for row in state["history"]]
        self.meter.load_state_dict(state["meter"], self.fabric.device)
        set_random_state(state["random"])
        self.step = state["step"]


def make_sampler(count: int, options: TrainingOptions) -> EpochSampler:
    """Full batches only (a batch of one upsets batch norm), unless there are fewer slices than a batch holds."""
    return EpochSampler(count, options.batch_size, options.seed, drop_last=count >= options.batch_size)


def endless(sampler: EpochSampler) -> Iterator[Any]:
    """Batches of indices, epoch after epoch."""
    while True:
        yield from sampler


def on_device(slices: Slices, device: torch.device) -> Slices:
    """The slices on the device where they fit beside the networks, else where they are."""
    tensors = (slices.images, slices.labels, slices.atlas, slices.tissues)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if sum(t.nbytes for t in tensors) > DEVICE_SHARE * free:
            return slices
    return Slices(*(t.to(device) for t in tensors))


@contextmanager
def lower_precision(fabric: Fabric) -> Iterator[None]:
    """Fabric's autocast, without its cache of converted weights.

    A training step updates networks several times; the cache would hand out weights from before an update.
    """
    cached = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        with fabric.autocast():
            yield
    finally:
        torch.set_autocast_cache_enabled(cached)
