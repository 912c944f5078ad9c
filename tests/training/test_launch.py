"""Two real processes on the CPU, started by torchrun, train as one does."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lesionlab.errors import InputError
from lesionlab.methods.base import Task
from lesionlab.methods.registry import make_method
from lesionlab.slices.cutting import StudySlices
from lesionlab.slices.mapped import Selection
from lesionlab.slices.store import SliceStore
from lesionlab.training.best import BestRule
from lesionlab.training.checkpoint import load
from lesionlab.training.launch import Maker, fit_on_devices
from lesionlab.training.options import TrainingOptions
from lesionlab.training.runs import train_once
from lesionlab.training.side_by_side import Place, side_by_side
from lesionlab.training.stop import Interrupted

TASK = Task(sequences=("T1w", "FLAIR"), lesion_classes=("edema", "tumor"))

# Losses that are means over slices, norms that look at single slices: what makes parts of a batch add up exactly.
CGSAMR = {
    "generator": {"width": 2, "downs": 2, "encoder_blocks": 1, "decoder_blocks": 1, "norm": "instance"},
    "discriminator": {"width": 2, "norm": "instance"},
    "unet": {"width": 2, "depth": 2, "norm": "instance"},
    "weights": {"shape_consistency": 0.0},
    "lambda_cm": {"threshold": 0.999},
}
UNET = {"network": {"width": 4, "depth": 2, "norm": "instance"}, "loss": "ce"}
CGSAMR_FIELDS, UNET_FIELDS = ("images", "labels", "atlas"), ("images", "labels")

SPIES = """
import atexit, json, os, signal
import torch.distributed

def note(path, **what):
    with open(path, "a") as file:
        file.write(json.dumps({"rank": os.environ.get("RANK"), "run": os.environ.get("MLFLOW_RUN_ID"), **what}) + "\\n")

def note_end(path):
    note(path, ends_bound=torch.distributed.is_initialized())

class Spy:
    def __init__(self, path, stop=0, fail=0):
        self.path, self.stop, self.fail = path, stop, fail
        atexit.register(note_end, path)
    def metrics(self, values, step):
        note(self.path, step=step, names=sorted(values))
        if step == self.stop:
            os.kill(int(os.environ["LAUNCHER"]), signal.SIGTERM)
        if step == self.fail:
            raise OSError("the tracker is down")
    def images(self, array, name, step):
        note(self.path, picture=name, step=step)

def scoring(path):
    def validate(method, step):
        note(path, validated=step, training=method.training)
        return {"validation/score": float(step)}
    return validate
"""


@pytest.fixture
def store(tmp_path) -> Path:
    """Nine random slices of 16 x 16."""
    draw = np.random.default_rng(1)
    table = pd.DataFrame({"subject": "a", "study": "a", "plane": np.arange(9), "split": "train"})
    table = table.assign(domain="pathological", spacing_x=1.0, spacing_y=1.0, spacing_z=5.0, fill=0.5, clipped=0)
    table = table.assign(source="real", manipulation="none", donor="", record="{}")
    images, atlas, tissues = (draw.random((9, c, 16, 16), np.float32) * 2 - 1 for c in (2, 6, 3))
    labels = draw.integers(0, 4, (9, 4, 4), np.uint8).repeat(4, 1).repeat(4, 2)
    studies = [StudySlices(images, labels, atlas, tissues, table)]
    SliceStore.write(tmp_path / "store", studies, TASK.sequences, TASK.lesion_classes)
    return tmp_path / "store"


@pytest.fixture
def twenty(options) -> TrainingOptions:
    """Twenty steps of four slices."""
    return options.model_copy(update={"constant": 20, "decay": 0, "batch_size": 4, "log_every": 5})


@pytest.fixture
def spies(tmp_path, monkeypatch) -> Path:
    """A module that the processes can import, and the file that it writes to."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "spies.py").write_text(SPIES)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "code"), *filter(None, sys.path)]))
    monkeypatch.setenv("LAUNCHER", str(os.getpid()))
    monkeypatch.syspath_prepend(tmp_path / "code")
    return tmp_path / "notes"


def stream(fields, store, *places) -> dict[str, list[Selection]]:
    """All slices of the store, or those at some places, then at others, .."""
    return {"slices": [Selection(store=store, places=these, fields=fields) for these in places or [None]]}


def notes(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def ends_bound(notes) -> bool:
    """Whether the leading process ended with gloo's threads at work, which may abort it."""
    (bound,) = (line["ends_bound"] for line in notes if "ends_bound" in line)
    return bound


def furthest(one, other) -> float:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


def two(options, **changes) -> TrainingOptions:
    return options.model_copy(update={"devices": 2, "threads": 1, **changes})


def test_two_processes_train_a_gan_as_one_does_and_one_alone_writes(tmp_path, store, twenty, spies):
    one, both, fresh = (make_method("cgsamr", CGSAMR, TASK) for _ in range(3))
    parts = stream(CGSAMR_FIELDS, store, (8, 7, 6), (0, 1, 2, 3, 4, 5))
    # Five steps: then rounding shows, for D is ill-conditioned on such small slices (see test_stepping.py).
    rule = BestRule(measure="validation/score")
    five = twenty.model_copy(update={"constant": 5, "log_every": 2, "best": rule, "image_moments": (1.0,)})
    scored = Maker(target="spies:scoring", arguments={"path": str(spies)})
    fit_on_devices(one, parts, five, tmp_path / "one", validate=scored)
    spies.unlink()
    run = train_once(
        both,
        parts,
        two(five, memory="map"),
        tmp_path / "two",
        "key",
        tracker=Maker(target="spies:Spy", arguments={"path": str(spies)}),
        validate=scored,
        where=Place(environment={"MLFLOW_RUN_ID": "abc"}),
    )
    assert furthest(one, both) < 1e-5 < 5e-4 < furthest(one, fresh)
    assert furthest(run.method(), both) == 0
    written = notes(spies)
    assert {(line["rank"], line["run"]) for line in written} == {("0", "abc")}
    assert [line["step"] for line in written if "names" in line] == [2, 4, 5, 5]
    assert [line["validated"] for line in written if "validated" in line] == [0, 5]
    assert [line["step"] for line in written if "picture" in line] == [5]
    assert not ends_bound(written)
    means = [pd.read_csv(tmp_path / f / "history.csv").query("name == 'G/total'").value for f in ("one", "two")]
    assert means[1].to_numpy() == pytest.approx(means[0].to_numpy(), rel=1e-4)  # over both processes' slices
    states = load(tmp_path / "two" / "last.pt")["training"]["random"]
    assert len(states) == 2 and not states[0]["torch"].equal(states[1]["torch"])


def test_two_processes_train_a_gan_for_long_as_one_does_that_takes_its_batches_in_two(tmp_path, store, twenty):
    one, both, fresh = (make_method("cgsamr", CGSAMR, TASK) for _ in range(3))
    parts = stream(CGSAMR_FIELDS, store, tuple(range(9)))
    fit_on_devices(one, parts, twenty.model_copy(update={"accumulate": 2, "threads": 1}), tmp_path / "one")
    fit_on_devices(both, parts, two(twenty), tmp_path / "two")
    # The same sums in the same order: halves of a batch, then their mean. Rounding has no part in it.
    assert furthest(one, both) == 0 < 5e-4 < furthest(one, fresh)


def test_two_processes_train_a_unet_as_one_does(tmp_path, store, twenty):
    one, both, fresh = (make_method("unet", UNET, TASK) for _ in range(3))
    fit_on_devices(one, stream(UNET_FIELDS, store), twenty, tmp_path / "one")
    fit_on_devices(both, stream(UNET_FIELDS, store), two(twenty), tmp_path / "two")
    assert furthest(one, both) < 1e-5 < 1e-3 < furthest(one, fresh)


def test_a_stopped_run_goes_on_with_another_number_of_processes(tmp_path, store, twenty, spies):
    straight, part, continued = (make_method("unet", UNET, TASK) for _ in range(3))
    parts = stream(UNET_FIELDS, store)
    fit_on_devices(straight, parts, twenty, tmp_path / "straight")
    with pytest.raises(Interrupted, match="step 1 of 20, its max_minutes"):
        fit_on_devices(part, parts, twenty.model_copy(update={"max_minutes": 1e-9}), tmp_path / "run")
    stops = Maker(target="spies:Spy", arguments={"path": str(spies), "stop": 10})
    part = make_method("unet", UNET, TASK)
    with pytest.raises(Interrupted, match=r"unet: stopped after step 1\d of 20.*the same command goes on"):
        fit_on_devices(part, parts, two(twenty), tmp_path / "run", tracker=stops)
    assert 10 <= load(tmp_path / "run" / "last.pt")["training"]["step"] < 20
    assert not ends_bound(notes(spies))
    fit_on_devices(continued, parts, twenty, tmp_path / "run")
    assert furthest(straight, continued) < 1e-5


def test_what_the_processes_refuse_is_refused_here(tmp_path, store, twenty):
    odd = two(twenty, batch_size=3)
    with pytest.raises(InputError, match=r"batch_size 3, accumulate 1, 2 processes\. Allowed: multiples of 2"):
        fit_on_devices(make_method("unet", UNET, TASK), stream(UNET_FIELDS, store), odd, tmp_path / "run")


def test_other_failures_are_told_with_their_trace(tmp_path, store, twenty, spies):
    fails = Maker(target="spies:Spy", arguments={"path": str(spies), "fail": 5})
    method = make_method("unet", UNET, TASK)
    with pytest.raises(RuntimeError, match=r"ended with status 1(?s:.*)in metrics(?s:.*)OSError: the tracker is down"):
        fit_on_devices(method, stream(UNET_FIELDS, store), two(twenty), tmp_path / "run", tracker=fails)
    assert not list((tmp_path / "run" / ".runs").glob("job-*"))


def test_one_process_alone_refuses_to_be_several(tmp_path, store, twenty):
    from lesionlab.training.loop import fit

    slices = Selection(store=store, fields=UNET_FIELDS).in_memory()
    with pytest.raises(InputError, match="devices 2, without torchrun"):
        fit(make_method("unet", UNET, TASK), slices, two(twenty), tmp_path)


def side(store, folder, options, tracker=None):
    """Two trainings at once, of other seeds."""

    def work(seed, where):
        method = make_method("unet", UNET, TASK, seed)
        return train_once(
            method, stream(UNET_FIELDS, store), options, folder / str(seed), "key", tracker=tracker, where=where
        )

    return side_by_side({str(seed): partial(work, seed) for seed in (0, 1)}, 2)


def test_trainings_side_by_side_end_in_the_weights_of_trainings_alone(tmp_path, store, twenty):
    together = side(store, tmp_path / "together", twenty)
    for seed in (0, 1):
        alone = make_method("unet", UNET, TASK, seed)
        fit_on_devices(alone, stream(UNET_FIELDS, store), twenty, tmp_path / "alone" / str(seed))
        assert furthest(alone, together[str(seed)].method()) == 0
    assert furthest(together["0"].method(), together["1"].method()) > 0


def test_a_signal_stops_all_trainings_side_by_side_and_they_go_on(tmp_path, store, twenty, spies):
    stops = Maker(target="spies:Spy", arguments={"path": str(spies), "stop": 10})
    with pytest.raises(Interrupted, match=r"unet: stopped .*the same command goes on"):
        side(store, tmp_path / "run", twenty, stops)
    straight = side(store, tmp_path / "straight", twenty)
    continued = side(store, tmp_path / "run", twenty)
    for seed in ("0", "1"):
        assert furthest(straight[seed].method(), continued[seed].method()) == 0


def test_what_one_of_several_trainings_refuses_is_refused_here(tmp_path, store, twenty):
    with pytest.raises(InputError, match="batch"):
        side(store, tmp_path / "run", twenty.model_copy(update={"batch_size": 100}))
