"""One training run: its state, its steps, and what it writes on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lesionlab.data.batches import Batch, EpochSampler, Slices
from lesionlab.errors import InputError
from lesionlab.methods.base import Method, at_rest
from lesionlab.training import checkpoint
from lesionlab.training.best import Best
from lesionlab.training.device import lower_precision, on_device, open_device
from lesionlab.training.ending import Diverged, not_finite, say_broken
from lesionlab.training.history import History, Meter, Stopwatch
from lesionlab.training.identity import identify, require_same_run
from lesionlab.training.montage import montage, save_pictures
from lesionlab.training.options import TrainingOptions
from lesionlab.training.progress import Progress
from lesionlab.training.randomness import random_state, set_random_state, undisturbed
from lesionlab.training.schedule import make_schedule
from lesionlab.training.stop import Interrupted, StopRequest
from lesionlab.training.tracker import Tracker

CHECKPOINT = "last.pt"
BEST = "best.pt"
TRAINED = "method.pt"
HISTORY = "history.csv"
IMAGES = "images"
PREVIEWED = 4  # slices in a preview

Validate = Callable[[Method, int], dict[str, float]]


class Run:
    """One run: the method on its device, its optimizers, and where it stands. Writes nothing before it trains."""

    def __init__(
        self,
        method: Method,
        slices: Slices,
        options: TrainingOptions,
        folder: Path,
        tracker: Tracker,
        validate: Validate | None,
        preview: Batch | None,
    ) -> None:
        if options.threads:
            torch.set_num_threads(options.threads)
        self.method, self.options, self.tracker, self.validate = method, options, tracker, validate
        self.folder, self.last, self.trained = folder, folder / CHECKPOINT, folder / TRAINED
        self.best_file = folder / BEST
        method.check(Batch(slices.images, slices.labels, slices.atlas, slices.tissues))
        self.sampler = make_sampler(len(slices), options)
        self.schedule = make_schedule(options, len(self.sampler))
        places = torch.linspace(0, len(slices) - 1, min(PREVIEWED, len(slices))).long()
        preview = slices.take(places) if preview is None else preview
        self.identity = identify(method, slices, options)
        self.fabric = open_device(options)
        self.slices = on_device(slices, self.fabric.device)
        self.preview = self._prepare(preview)
        self.optimizers = self._set_up()
        self.history, self.meter, self.watch = History(), Meter(options.loss_limit), Stopwatch()
        self.best = Best(options.best)
        if validate is None:
            self.best.require({})
        self.step = 0
        self.saved: int | None = None  # step of the last checkpoint

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
        """Take the steps that are left, and leave the trained method."""
        began = self.step
        if not self.finished():
            self.method.train()
            if not self.step:
                self._require_measure()
            self._take_steps()
        self._finish(trained_now=self.step > began)

    def finished(self) -> bool:
        """Whether the last step is taken, or patience has ended the run before."""
        return self.step >= self.schedule.steps or self.best.exhausted

    def _take_steps(self) -> None:
        batches = endless(self.sampler)
        self.watch.restart()
        with (
            StopRequest(self.options.max_minutes) as request,
            Progress(self.method.name, self.schedule.steps, self.step) as progress,
        ):
            while not self.finished():
                self._take_step(next(batches))
                progress.advance()
                self._report(progress)
                if why := request.why(self.finished()):
                    self._stop(why)

    def _stop(self, why: str) -> None:
        """Leave all that is needed to go on (a finished run its trained method too), and say so."""
        if self.saved != self.step:
            self.save()
        if self.finished():
            self._finish(trained_now=True)
        kept = self.last if self.last.exists() else self.trained
        raise Interrupted(self.method.name, why, self.step, self.schedule.steps, kept)

    def _require_measure(self) -> None:
        """Raise ``InputError`` at once where validation, hours later, would not give what the best is chosen by."""
        if self.validate and self.options.best:
            with undisturbed(), at_rest(self.method):
                self.best.require(self.validate(self.method, self.step))

    def _finish(self, trained_now: bool) -> None:
        """Leave ``method.pt``, its weights in the method, and no more beside it than the options keep; repeatable."""
        if not trained_now and self._is_trained_already():
            self.method.load_state_dict(checkpoint.load(self.trained)["weights"])
        else:
            if self.options.trained == "best":
                self.method.load_state_dict(checkpoint.load(self.best_file)["weights"])
            checkpoint.save_method(self.method, self.trained, identity=self.identity)
        if self.options.trained == "best":
            self.best_file.unlink(missing_ok=True)
        if not self.options.keep_last:
            self.last.unlink(missing_ok=True)

    def _take_step(self, indices: Any) -> None:
        with self.watch.load():
            batch = self._prepare(self.slices.take(indices))
        for optimizer in self.optimizers.values():
            self.schedule.apply(optimizer, self.step)
        self.step += 1
        with lower_precision(self.fabric):
            self.meter.add(self.method.training_step(batch, self._update), self.step)

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
        with self.watch.pause():
            if self.validate and (self._is_due(self.options.validate_every) or self.step == self.schedule.steps):
                self._run_validation(self.validate)
        final = self.finished()
        if final or self._is_due(self.options.log_every):
            progress.report(self._measure())
        with self.watch.pause():
            if self.step in self._picture_steps():
                self._take_pictures()
            if final or self._is_due(self.options.checkpoint_every):
                self.save()

    def _is_due(self, every: int | None) -> bool:
        return every is not None and self.step % every == 0

    def _run_validation(self, validate: Validate) -> None:
        with at_rest(self.method):
            values = validate(self.method, self.step)
        self._record(values)
        if self.best.see(values, self.step) and self.options.best:
            self._require_sane_losses()
            self._require_finite({"weights": self.method.state_dict()})
            chosen = {"measure": self.options.best.measure, "value": self.best.value, "step": self.step}
            checkpoint.save_method(self.method, self.best_file, best=chosen)

    def _measure(self) -> dict[str, float]:
        self._require_sane_losses()
        speed = self.watch.rates(self.meter.count)
        means = self.meter.drain()
        rates = {f"rate/{name}": o.param_groups[0]["lr"] for name, o in self.optimizers.items()}
        self._record(means | rates | speed)
        self.watch.restart()
        return means

    def _record(self, values: dict[str, float]) -> None:
        self.history.add(self.step, values)
        self.tracker.metrics(values, self.step)

    def _require_sane_losses(self) -> None:
        """Losses are looked at when an entry or a checkpoint is due, since each look waits for the device."""
        broken = self.meter.broken()
        if broken:
            raise self._diverged(*say_broken(broken, self.options.loss_limit))

    def _require_finite(self, state: dict[str, Any]) -> None:
        broken = not_finite(state)
        if broken:
            more = f" and {len(broken) - 1} more tensors" if len(broken) > 1 else ""
            raise self._diverged(broken[0] + more, "no longer finite", self.step)

    def _diverged(self, what: str, how: str, step: int) -> Diverged:
        return Diverged(self.method.name, what, how, step, self.last, self.saved)

    def _picture_steps(self) -> set[int]:
        return {max(1, round(moment * self.schedule.steps)) for moment in self.options.image_moments}

    def _take_pictures(self) -> None:
        pictures = self.method.validation_images(self.preview)
        save_pictures(pictures, self.folder / IMAGES / f"step-{self.step:06d}.npz")
        self.tracker.images(montage(pictures), "montage", self.step)

    def save(self) -> None:
        """Write checkpoint and history; raises ``Diverged``, and leaves the old ones, where this state is no good."""
        self._require_sane_losses()
        content = checkpoint.contents(self.method)
        optimizers = {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        self._require_finite({"weights": content["weights"], "optimizers": optimizers})
        state = {
            "identity": self.identity,
            "step": self.step,
            "optimizers": optimizers,
            "sampler": self.sampler.state_dict(),
            "random": random_state(),
            "history": self.history.rows,
            "meter": self.meter.state_dict(),
            "best": self.best.state_dict(),
        }
        checkpoint.save({**content, "training": state}, self.last)
        self.saved = self.step
        self.history.save(self.folder / HISTORY)

    def restore(self) -> None:
        """Go on from the folder's checkpoint, if there is one; raises ``InputError`` unless it is this run's."""
        if not self.last.exists():
            self._restore_finished()
            return
        content = checkpoint.load(self.last)
        state = content.get("training", {})
        require_same_run(state.get("identity", {}), self.identity, self.last)
        self.method.load_state_dict(content["weights"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.sampler.load_state_dict(state["sampler"])
        self.history.rows = [tuple(row) for row in state["history"]]
        self.meter.load_state_dict(state["meter"], self.fabric.device)
        self.best.load_state_dict(state["best"])
        set_random_state(state["random"])
        self.step = self.saved = state["step"]

    def _restore_finished(self) -> None:
        """Take a finished run for what it is, though its last checkpoint was not kept."""
        given = checkpoint.load(self.trained).get("identity") if self.trained.exists() else None
        if given is not None:
            require_same_run(given, self.identity, self.trained)
            self.history, self.step = History.read(self.folder / HISTORY), self.schedule.steps

    def _is_trained_already(self) -> bool:
        """Whether ``method.pt`` is there, and of this run."""
        return self.trained.exists() and checkpoint.load(self.trained).get("identity") == self.identity


def make_sampler(count: int, options: TrainingOptions) -> EpochSampler:
    """Full batches only: a batch of one upsets batch norm. Raises ``InputError`` where there is not one full batch."""
    if options.batch_size > count:
        raise InputError(
            "a batch is larger than the training set",
            given=f"batch_size {options.batch_size}, {count} slices",
            allowed=f"at most {count}",
            cure="lower batch_size, or train on more slices",
        )
    return EpochSampler(count, options.batch_size, options.seed, drop_last=True)


def endless(sampler: EpochSampler) -> Iterator[Any]:
    """Batches of indices, epoch after epoch."""
    while True:
        yield from sampler
