"""One training run: its state, its steps, and what it writes on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from lesionlab.errors import InputError
from lesionlab.methods.base import Method, inference_mode
from lesionlab.slices.batches import Batch, SliceSource
from lesionlab.training import checkpoint
from lesionlab.training.best import Best
from lesionlab.training.device import compile_networks, on_device, open_device, warn_of_norms
from lesionlab.training.ending import Diverged, describe_broken, earliest, not_finite
from lesionlab.training.history import History, Meter, Stopwatch
from lesionlab.training.identity import identify, require_same_run
from lesionlab.training.loader import Loader, make_samplers, reads_ahead
from lesionlab.training.montage import montage, save_pictures
from lesionlab.training.options import TrainingOptions
from lesionlab.training.progress import Progress
from lesionlab.training.randomness import random_state, seed_everything, seed_of, set_random_state, undisturbed
from lesionlab.training.ranks import Ranks
from lesionlab.training.schedule import make_schedule
from lesionlab.training.space import require_room
from lesionlab.training.stepping import Stepper
from lesionlab.training.stop import Interrupted, StopRequest
from lesionlab.training.tracker import Tracker

CHECKPOINT = "last.pt"
BEST = "best.pt"
COMING_BEST = "best.next.pt"  # until the checkpoint names it
TRAINED = "method.pt"
HISTORY = "history.csv"
IMAGES = "images"
PREVIEWED = 4  # slices in a preview
PICTURE_AXES = 4

Validate = Callable[[Method, int], dict[str, float]]
Augment = Callable[[Batch], Batch]


class Run:
    """One run: the method on its device, its optimizers, and where it stands. Writes nothing before it trains."""

    def __init__(
        self,
        method: Method,
        streams: Mapping[str, SliceSource],
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
        self.folder, self.last, self.trained = folder, folder / CHECKPOINT, folder / TRAINED
        self.best_file, self.coming_best = folder / BEST, folder / COMING_BEST
        require_fitting(method, streams)
        streams = {name: streams[name] for name in method.streams}  # in the method's order, which seeds their samplers
        self.best = Best(options.best)
        if validate is None:
            self.best.require({})
        self.samplers = make_samplers(streams, options)
        self.schedule = make_schedule(options, max(len(sampler) for sampler in self.samplers.values()))
        self.identity = identify(method, streams, options)
        self.fabric = open_device(options)
        self.ranks = Ranks.of(self.fabric)
        self._join_ranks(streams)
        first = next(iter(streams.values()))
        places = torch.linspace(0, len(first) - 1, min(PREVIEWED, len(first))).long()
        self.preview = self._prepare(first.take(places) if preview is None else preview)
        self.streams = {name: on_device(slices, self.fabric.device) for name, slices in streams.items()}
        self.optimizers = self._set_up()
        self.stepper = Stepper(
            method,
            self.optimizers,
            self.fabric,
            self.ranks,
            options.clip_norm,
            options.accumulate,
            self.schedule.steps,
        )
        self.history, self.meter, self.watch = History(), Meter(options.loss_limit), Stopwatch()
        self.step = 0
        self.saved: int | None = None  # step of the last checkpoint

    def _join_ranks(self, streams: Mapping[str, SliceSource]) -> None:
        """Processes draw different random numbers, and begin with the same weights."""
        if self.ranks.size > 1:
            make_samplers(streams, self.options, self.ranks.size)  # refuses what cannot be divided
            if not self.ranks.leads:
                seed_everything(seed_of(self.options.seed, self.ranks.rank))
            warn_of_norms(self.method, self.fabric.device, self.options.sync_batch_norm)

    def _set_up(self) -> dict[str, Optimizer]:
        self.fabric.to_device(self.method)
        if self.ranks.size > 1:
            if self.options.sync_batch_norm and self.fabric.device.type == "cuda":
                torch.nn.SyncBatchNorm.convert_sync_batchnorm(self.method)
            self.ranks.copy_first(self.method.state_dict().values())
        if self.options.channels_last:
            self.method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.options.compile:
            compile_networks(self.method)
        made = self.method.optimizers().items()
        return {name: self.fabric.setup_optimizers(optimizer) for name, optimizer in made}  # type: ignore[misc]

    def _prepare(self, batch: Batch) -> Batch:
        """A batch on the device, in the memory format of the networks."""
        layout = torch.channels_last if self.options.channels_last else torch.contiguous_format
        device = self.fabric.device
        return batch.map(lambda t: t.to(device, memory_format=layout) if t.ndim == PICTURE_AXES else t.to(device))

    def train(self) -> None:
        """Take the steps that are left, and leave the trained method."""
        began = self.step
        if not self.finished():
            self.method.train()
            if self.ranks.leads:
                require_room(self.method, self.options, self.folder)
            if not self.step:
                self._require_measure()
            self._take_steps()
        self._finish(trained_now=self.step > began)

    def finished(self) -> bool:
        """Whether the last step is taken, or patience has ended the run before."""
        return self.step >= self.schedule.steps or self.best.exhausted

    def _take_steps(self) -> None:
        ahead = any(reads_ahead(slices, self.fabric.device) for slices in self.streams.values())
        with (
            StopRequest(self.options.max_minutes) as request,
            Loader(self.streams, self.samplers, self.ranks, ahead) as self.loader,
            Progress(self.method.name, self.schedule.steps, self.step, shown=self.ranks.leads) as progress,
        ):
            self.watch.restart()
            while not self.finished():
                self._take_step()
                progress.advance()
                self._report(progress)
                why = request.why(self.finished())
                if self.ranks.any(why is not None):
                    self._stop(why or "as another process of it was asked")

    def _stop(self, why: str) -> None:
        """Leave all that is needed to go on (a finished run its trained method too), and say so."""
        if self.saved != self.step:
            self.save()
        if self.finished():
            self._finish(trained_now=True)
        self.ranks.any(False)  # no process ends before the first has written: torchrun would end that one too
        kept = self.last if self.last.exists() else self.trained
        raise Interrupted(self.method.name, why, self.step, self.schedule.steps, kept)

    def _require_measure(self) -> None:
        """Raise ``InputError`` at once where validation, hours later, would not give what the best is chosen by."""
        if self.ranks.leads and self.validate and self.options.best:
            with undisturbed(), inference_mode(self.method):
                self.best.require(self.validate(self.method, self.step))

    def _finish(self, trained_now: bool) -> None:
        """Leave ``method.pt``, its weights in the method, and no more beside it than the options keep; repeatable."""
        if not self.ranks.leads:
            return
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

    def _take_step(self) -> None:
        with self.watch.load():
            batches = {name: self._prepare(batch) for name, batch in self.loader.take().items()}
            if self.augment is not None:
                batches = {name: self._prepare(self.augment(batch)) for name, batch in batches.items()}
        for optimizer in self.optimizers.values():
            self.schedule.apply(self.method, optimizer, self.step)
        self.step += 1
        self.meter.add(self.stepper.take(batches, self.step - 1), self.step)

    def _report(self, progress: Progress) -> None:
        """After a step: curves, validation, pictures and checkpoint, each when it is due."""
        with self.watch.pause():
            if self.validate and (self._is_due(self.options.validate_every) or self.step == self.schedule.steps):
                self._run_validation(self.validate)
        final = self.finished()
        if final or self._is_due(self.options.log_every):
            progress.report(self._measure())
        with self.watch.pause():
            if self.ranks.leads and self.step in self._picture_steps():
                self._take_pictures()
            if final or self._is_due(self.options.checkpoint_every):
                self.save()

    def _is_due(self, every: int | None) -> bool:
        return every is not None and self.step % every == 0

    def _run_validation(self, validate: Validate) -> None:
        """The first process validates and keeps the best; all know how it went, since it may end the run."""
        if self.ranks.leads:
            with inference_mode(self.method):
                values = validate(self.method, self.step)
            self._record(values)
            if self.best.see(values, self.step) and self.options.best:
                self._require_finite({"weights": self.method.state_dict()})
                chosen = {"measure": self.options.best.measure, "value": self.best.value, "step": self.step}
                checkpoint.save_method(self.method, self.coming_best, best=chosen)
        self.best.load_state_dict(self.ranks.from_first(self.best.state_dict()))

    def _measure(self) -> dict[str, float]:
        self._require_sane_losses()
        speed = self.watch.rates(self.meter.count)
        self._join_losses()
        means = self.meter.drain()
        rates = {f"rate/{name}": o.param_groups[0]["lr"] for name, o in self.optimizers.items()}
        self._record(means | rates | speed)
        self.watch.restart()
        return means

    def _record(self, values: dict[str, float]) -> None:
        self.history.add(self.step, values)
        if self.ranks.leads:
            self.tracker.metrics(values, self.step)

    def _join_losses(self) -> None:
        """Losses so far as means over the processes' parts, in each process."""
        if self.meter.count:
            self.ranks.average([self.meter.sums])

    def _require_sane_losses(self) -> None:
        """Losses are looked at when an entry or a checkpoint is due, since each look waits for the device."""
        broken = earliest(self.ranks.gather(self.meter.broken()))
        if broken:
            raise self._diverged(*describe_broken(broken, self.options.loss_limit))

    def _require_finite(self, state: dict[str, Any]) -> None:
        broken = not_finite(state)
        if broken:
            more = f" and {len(broken) - 1} more tensors" if len(broken) > 1 else ""
            raise self._diverged(broken[0] + more, f"{'are' if more else 'is'} no longer finite", self.step)

    def _diverged(self, what: str, how: str, step: int) -> Diverged:
        return Diverged(self.method.name, what, how, step, self.last, self.saved)

    def _picture_steps(self) -> set[int]:
        return {max(1, round(moment * self.schedule.steps)) for moment in self.options.image_moments}

    def _take_pictures(self) -> None:
        pictures = self.method.pictures(self.preview)
        save_pictures(pictures, self.folder / IMAGES / f"step-{self.step:06d}.npz")
        self.tracker.images(montage(pictures), "montage", self.step)

    def save(self) -> None:
        """Write checkpoint and history; raises ``Diverged``, and leaves the old ones, where this state is no good."""
        self._require_sane_losses()
        self._join_losses()
        content = checkpoint.contents(self.method)
        state = {
            "identity": self.identity,
            "step": self.step,
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "samplers": self.loader.state_dict(),
            "method": self.method.training_state(),
            "random": self.ranks.gather(random_state()),
            "history": self.history.rows,
            "meter": self.meter.state_dict(),
            "best": self.best.state_dict(),
        }
        self._require_finite({"weights": content["weights"], "optimizers": state["optimizers"]})
        if self.ranks.leads:
            checkpoint.save({**content, "training": state}, self.last)
            checkpoint.settle_best(self.coming_best, self.best_file, self.best.step)
            self.history.save(self.folder / HISTORY)
        self.saved = self.step

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
        for name, sampler in self.samplers.items():
            sampler.load_state_dict(state["samplers"][name])
        self.method.load_training_state(state["method"])
        self.history.rows = [tuple(row) for row in state["history"]]
        self.meter.load_state_dict(state["meter"], self.fabric.device)
        self.best.load_state_dict(state["best"])
        self.step = self.saved = state["step"]
        if self.ranks.leads:
            checkpoint.settle_best(self.coming_best, self.best_file, self.best.step)
        self._restore_randomness(state["random"])

    def _restore_randomness(self, states: list[dict[str, Any]]) -> None:
        """Each process goes on with its own random numbers; one that was not there before begins with fresh ones."""
        if self.ranks.rank < len(states):
            set_random_state(states[self.ranks.rank])
        else:
            seed_everything(seed_of(self.options.seed, self.ranks.rank, self.step))

    def _restore_finished(self) -> None:
        """Take a finished run for what it is, though its last checkpoint was not kept."""
        given = checkpoint.load(self.trained).get("identity") if self.trained.exists() else None
        if given is not None:
            require_same_run(given, self.identity, self.trained)
            self.history, self.step = History.read(self.folder / HISTORY), self.schedule.steps

    def _is_trained_already(self) -> bool:
        """Whether ``method.pt`` is there, and of this run."""
        return self.trained.exists() and checkpoint.load(self.trained).get("identity") == self.identity


def require_fitting(method: Method, streams: Mapping[str, SliceSource]) -> None:
    """Raise ``InputError`` unless the streams are those of the method, and pictures and all label maps fit it."""
    given = {name: sorted(slices.fields) for name, slices in streams.items()}
    wanted = {name: sorted(stream.fields) for name, stream in method.streams.items()}
    if given != wanted:
        raise InputError(
            f"{method.name} is given other streams of slices than it names",
            given=given,
            allowed=wanted,
            cure="give each stream with its fields, see Method.streams",
        )
    first = {name: slices.take([0]) for name, slices in streams.items()}
    method.check(first)
    for slices in streams.values():
        for labels in slices.label_maps():
            method.check_labels(labels)
