"""Runs that end badly: each says why, and what was good before is still there."""

from __future__ import annotations

import errno
import math
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch

from lesionlab.errors import InputError
from lesionlab.methods.base import Task
from lesionlab.methods.registry import make_method
from lesionlab.slices.batches import Slices
from lesionlab.training.alone import alone_in
from lesionlab.training.best import BestRule
from lesionlab.training.checkpoint import load, load_method, save_method
from lesionlab.training.ending import Diverged, describe_broken, not_finite
from lesionlab.training.files import write_whole
from lesionlab.training.history import Meter
from lesionlab.training.loop import fit
from lesionlab.training.runs import train_once
from lesionlab.training.space import room_wanted


def finite(path) -> bool:
    return all(torch.isfinite(t).all() for t in load(path)["weights"].values() if t.is_floating_point())


@pytest.mark.parametrize("name", ["cgsamr", "unet"])
def test_nan_stops_the_run_before_anything_is_saved(tmp_path, slices, bare, fresh, options, name):
    slices.tensors["images"][:] = math.nan
    method, slices = (fresh(), slices) if name == "cgsamr" else (unet(), bare)
    with pytest.raises(
        Diverged, match=r"no longer finite at step 1\. No checkpoint had been written yet\. Cure: lower"
    ):
        fit(method, slices, options.model_copy(update={"checkpoint_every": 1}), tmp_path)
    assert not (tmp_path / "last.pt").exists() and not (tmp_path / "method.pt").exists()


def unet(rate: float = 2e-4, **options):
    task = Task(sequences=("T1w", "FLAIR"), lesion_classes=("edema", "tumor"))
    return make_method("unet", {"network": {"width": 2, "depth": 2}, "adam": {"rate": rate}, **options}, task)


class Breaks(torch.nn.Module):
    """A U-Net whose output is inf in its ``at``-th forward pass."""

    def __init__(self, network, at):
        super().__init__()
        self.network, self.at, self.done = network, at, 0

    def forward(self, images):
        self.done += 1
        return self.network(images) * (math.inf if self.done == self.at else 1)


def test_the_step_is_named_though_losses_are_looked_at_later(tmp_path, bare, options):
    method = unet()
    method.U = Breaks(method.U, at=4)
    seldom = options.model_copy(update={"log_every": 6, "checkpoint_every": 3})
    with pytest.raises(Diverged) as caught:
        fit(method, bare, seldom, tmp_path)
    assert caught.value.step == 4 and caught.value.saved == 3
    assert f"The last good checkpoint, {tmp_path / 'last.pt'}, is of step 3." in str(caught.value)
    assert "U/total" in str(caught.value)
    assert load(tmp_path / "last.pt")["training"]["step"] == 3 and finite(tmp_path / "last.pt")


def test_weights_that_break_behind_the_last_loss_are_not_saved(tmp_path, bare, options):
    # A rate of 1e39 after a finite loss: the weights overflow in the step's update, which no loss has seen yet.
    method = unet(rate=1e39)
    with pytest.raises(Diverged, match=r"weights\.U\.\S+ and \d+ more tensors are no longer finite at step 1"):
        fit(method, bare, options.model_copy(update={"checkpoint_every": 1}), tmp_path)
    assert not (tmp_path / "last.pt").exists()


@pytest.mark.parametrize("name", ["cgsamr", "unet"])
def test_a_rate_of_a_thousand_stops_the_run(tmp_path, slices, bare, options, name):
    task = Task(sequences=("T1w", "FLAIR"), lesion_classes=("edema", "tumor"))
    sizes = {"generator": {"width": 2, "downs": 2}, "discriminator": {"width": 2}, "unet": {"width": 2, "depth": 2}}
    method = unet(1e3) if name == "unet" else make_method("cgsamr", {**sizes, "adam": {"rate": 1e3}}, task)
    with pytest.raises(Diverged, match=r"at step \d+\..*lower the learning rate"):
        fit(method, bare if name == "unet" else slices, options.model_copy(update={"constant": 50}), tmp_path)
    assert not (tmp_path / "method.pt").exists()


def test_which_broke_first():
    assert describe_broken({"a": (7, math.nan), "b": (6, math.inf), "c": (6, 1.0)}, 1e4) == (
        "b, c",
        "are no longer finite",
        6,
    )
    assert describe_broken({"a": (2, -2e4)}, 1e4) == ("a", "is beyond the loss_limit of 10000", 2)


def test_the_meter_finds_what_broke():
    meter = Meter(limit=10.0)
    for step, value in enumerate([1.0, -11.0, math.nan, 2.0], start=1):
        meter.add({"a": torch.tensor(value), "b": torch.tensor(1.0)}, step)
    assert meter.broken() == {"a": (2, -11.0)}
    unlimited = Meter(None)
    unlimited.add({"a": torch.tensor(1e30)}, 1)
    assert unlimited.broken() == {}
    unlimited.add({"a": torch.tensor(math.inf)}, 2)
    assert unlimited.broken() == {"a": (2, math.inf)}


def test_a_meter_refuses_other_names():
    meter = Meter()
    meter.add({"a": torch.tensor(1.0)})
    with pytest.raises(ValueError, match="gave b, those before a"):
        meter.add({"b": torch.tensor(1.0)})


def test_not_finite_names_what_is_broken():
    bad = torch.tensor([1.0, math.nan])
    assert not_finite({"good": torch.ones(2), "deep": {0: {"bad": bad}}, "count": torch.tensor(3)}) == ["deep.0.bad"]
    assert not_finite({}) == []


# A full disk


@contextmanager
def tiny_disk(path):
    """A file system of 64 kB; skips where none can be mounted."""
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", path], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path):
    with tiny_disk(tmp_path / "disk") as disk:
        path = disk / "last.pt"
        save_method(unet(), path)
        before = path.read_bytes()
        (disk / "other").write_bytes(bytes(shutil.disk_usage(disk).free - (8 << 10)))
        with pytest.raises(InputError, match=r"last\.pt: the disk is full.*make room; the same command") as caught:
            save_method(unet(), path)
        assert path.read_bytes() == before and sorted(p.name for p in disk.iterdir()) == ["last.pt", "other"]
        assert caught.value.given.startswith("0.0 MB free")


def test_a_run_whose_disk_is_full_says_so_and_goes_on_when_there_is_room(tmp_path, bare, options):
    straight = unet()
    fit(straight, bare, options, tmp_path / "straight")
    often = options.model_copy(update={"checkpoint_every": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then writing fails by EFBIG, as on a disk with a quota
    size = (tmp_path / "straight" / "last.pt").stat().st_size
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, hard))
        with pytest.raises(InputError, match="the disk is full"):
            fit(unet(), bare, often, tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert not list((tmp_path / "run").glob("*.p*"))
    again = unet()
    fit(again, bare, options, tmp_path / "run")
    assert all(
        torch.equal(a, b) for a, b in zip(again.state_dict().values(), straight.state_dict().values(), strict=True)
    )


def test_a_disk_without_room_for_the_checkpoints_is_told_before_the_first_step(tmp_path, bare, options):
    with tiny_disk(tmp_path / "disk") as disk, pytest.raises(InputError, match="lacks the room") as caught:
        fit(unet(network={"width": 8, "depth": 2}), bare, options, disk / "run")
    assert (
        not list((disk / "run").glob("*.pt"))
        and "nothing was begun" in caught.value.cure
        and caught.value.given.startswith("0.00 GiB")
    )


@pytest.mark.parametrize("best", [None, BestRule(measure="validation/x", goal="max")])
def test_the_room_that_is_asked_for_is_what_a_training_takes(tmp_path, bare, options, best):
    method = make_method("unet", {"network": {"width": 16, "depth": 3}}, unet().task)
    wanted = room_wanted(method, options.model_copy(update={"best": best}))
    fit(method, bare, options, tmp_path)
    last, weights = ((tmp_path / name).stat().st_size for name in ("last.pt", "method.pt"))
    # Files hold a few names and numbers beside the tensors.
    assert wanted == pytest.approx(2 * (last + (weights if best else 0)), rel=0.05)


def test_other_errors_of_writing_stay_what_they_are(tmp_path):
    def fails(file):
        raise PermissionError(errno.EACCES, "no")

    with pytest.raises(PermissionError):
        write_whole(tmp_path / "file", fails)
    assert not any(tmp_path.iterdir())


# Two runs into one folder

HOLDER = """
import sys, time
from pathlib import Path
from lesionlab.slices.batches import Slices
from lesionlab.training.alone import alone_in
with alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_into_a_folder_is_refused_with_who_holds_it(tmp_path, bare, bare_streams, options):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        (tmp_path / "precious").write_text("of the first run")
        for train in (
            lambda: fit(unet(), bare, options, tmp_path),
            lambda: train_once(unet(), bare_streams, options, tmp_path, "k"),
        ):
            with pytest.raises(InputError, match=f"another run is at work.*process {holder.pid} on"):
                train()
        assert (tmp_path / "precious").exists() and not (tmp_path / "last.pt").exists()
    finally:
        holder.kill()
        holder.wait()
    train_once(unet(), bare_streams, options, tmp_path, "k")  # a killed process lets go


def test_who_holds_a_folder_may_enter_again(tmp_path):
    with alone_in(tmp_path), alone_in(tmp_path):
        pass
    with alone_in(tmp_path):
        pass


# What does not fit


def test_a_batch_larger_than_the_set_is_refused(tmp_path, bare, options):
    large = options.model_copy(update={"batch_size": 8})
    with pytest.raises(InputError, match=r"batch is larger than the training set\. Given: batch_size 8, 7 slices"):
        fit(unet(), bare, large, tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("device", ["cuda", "mps", "tpu", "gpuu"])
def test_a_device_that_is_not_there_is_refused(tmp_path, bare, options, device):
    if (device == "cuda" and torch.cuda.is_available()) or (device == "mps" and torch.backends.mps.is_available()):
        pytest.skip("it is there")
    with pytest.raises(InputError, match=f"Given: training device {device}. Allowed: auto, cpu"):
        fit(unet(), bare, options.model_copy(update={"device": device}), tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_checkpoint_of_another_method_is_refused(tmp_path, slices, bare, fresh, options):
    fit(unet(), bare, options, tmp_path)
    with pytest.raises(InputError, match=r"Given: method = unet.*Allowed: method = cgsamr"):
        fit(fresh(), slices, options, tmp_path)


def test_a_checkpoint_of_another_number_of_sequences_is_refused(tmp_path, bare, options):
    fit(unet(), bare, options, tmp_path)
    task = Task(sequences=("T1w",), lesion_classes=("edema", "tumor"))
    one = Slices(images=bare.tensors["images"][:, :1], labels=bare.tensors["labels"])
    method = make_method("unet", {"network": {"width": 2, "depth": 2}}, task)
    with pytest.raises(
        InputError, match=r"task\.sequences = \['T1w', 'FLAIR'\].*Allowed: .*task\.sequences = \['T1w'\]"
    ):
        fit(method, one, options, tmp_path)


def test_a_run_does_not_go_on_from_a_cut_checkpoint_nor_remove_it(tmp_path, bare, options):
    fit(unet(), bare, options, tmp_path)
    path = tmp_path / "last.pt"
    cut = path.read_bytes()[:-100]
    path.write_bytes(cut)
    with pytest.raises(InputError, match=r"last\.pt: the checkpoint cannot be read"):
        fit(unet(), bare, options, tmp_path)
    assert path.read_bytes() == cut


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, sentinel):
        self.sentinel = str(sentinel)

    def __reduce__(self):
        return os.mkdir, (self.sentinel,)


@pytest.mark.parametrize("kind", ["torch", "legacy", "pickle"])
def test_code_in_a_checkpoint_never_runs(tmp_path, bare, options, kind):
    sentinel, path = tmp_path / "executed", tmp_path / "run" / "last.pt"
    path.parent.mkdir()
    content = {"format": 1, "weights": Bomb(sentinel)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "torch")
    for reads in (lambda: load(path), lambda: load_method(path), lambda: fit(unet(), bare, options, path.parent)):
        with pytest.raises(InputError, match="cannot be read"):
            reads()
    assert not sentinel.exists()
    torch.load(path, weights_only=False) if kind != "pickle" else pickle.loads(path.read_bytes())
    assert sentinel.exists()  # the bomb was live
