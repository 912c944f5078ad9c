"""What becomes of a training when another takes its place."""

from __future__ import annotations

import logging

import pytest
import torch

from lesionlab.training import folder as folders
from lesionlab.training.checkpoint import load
from lesionlab.training.loop import CHECKPOINT, HISTORY, TRAINED
from lesionlab.training.run import COMING_BEST
from lesionlab.training.runs import TrainingRun, train_once


@pytest.fixture
def train(tmp_path, streams, fresh, options):
    """Trains what a key stands for in one folder."""
    return lambda key, **changes: train_once(
        fresh(), streams, options.model_copy(update=changes), tmp_path / "run", key, subjects=[key]
    )


def test_the_training_before_is_kept(tmp_path, train, caplog):
    before = train("one").method().state_dict()
    with caplog.at_level(logging.WARNING):
        train("two", seed=1)
    kept = TrainingRun(tmp_path / "run.replaced")
    assert all(torch.equal(weights, before[name]) for name, weights in kept.method().state_dict().items())
    assert kept.subjects() == ["one"] and (kept.root / HISTORY).is_file()
    assert TrainingRun(tmp_path / "run").subjects() == ["two"]
    assert "trained anew, for this has changed: training.seed (0 before, 1 now)" in caplog.text
    assert f"the run before is kept as {kept.root}" in caplog.text


def test_of_several_the_last_is_kept(tmp_path, train):
    for seed, key in enumerate(["one", "two", "three"]):
        train(key, seed=seed)
    assert TrainingRun(tmp_path / "run.replaced").subjects() == ["two"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.replaced"]


def test_a_checkpoint_of_an_unfinished_training_is_kept(tmp_path, train):
    train("one")
    (tmp_path / "run" / TRAINED).unlink()
    train("two", seed=1)
    assert load(tmp_path / "run.replaced" / CHECKPOINT)["training"]["step"] == 6


def test_a_best_that_still_waits_for_its_checkpoint_is_kept(tmp_path, train):
    train("one")
    (tmp_path / "run" / TRAINED).rename(tmp_path / "run" / COMING_BEST)
    (tmp_path / "run" / CHECKPOINT).unlink()
    train("two", seed=1)
    assert (tmp_path / "run.replaced" / COMING_BEST).is_file()


def test_what_had_not_come_to_a_checkpoint_is_not_kept(tmp_path, train):
    train("one")
    for name in (TRAINED, CHECKPOINT):
        (tmp_path / "run" / name).unlink()
    train("two", seed=1)
    assert not (tmp_path / "run.replaced").exists()


@pytest.fixture(params=["_move", "_remove"])
def cut_short(tmp_path, train, monkeypatch, request):
    """A training that was giving way to another's when the process died: two files had left, or all of them."""
    train("older", seed=9)
    run = train("one")
    before = run.method().state_dict(), (run.root / HISTORY).read_bytes()
    real, calls = getattr(folders, request.param), []

    def dies(path, *into):
        calls.append(path.name)
        if calls[2:] if request.param == "_move" else path.name == "run.replaced":
            raise KeyboardInterrupt
        real(path, *into)

    monkeypatch.setattr(folders, request.param, dies)
    with pytest.raises(KeyboardInterrupt):
        train("two", seed=1)
    monkeypatch.undo()
    left = len(list((tmp_path / "run.leaving").iterdir()))
    assert left == 2 if request.param == "_move" else left > 5 and not (tmp_path / "run" / "started.json").exists()
    return before


def test_a_kill_while_files_are_moved_loses_none(tmp_path, train, cut_short):
    train("two", seed=1)
    kept = TrainingRun(tmp_path / "run.replaced")
    assert kept.subjects() == ["one"] and kept.method() and (kept.root / CHECKPOINT).is_file()
    assert folders.started(kept.root)["key"] == "one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.replaced"]


def test_files_that_had_begun_to_leave_come_back_with_the_old_configuration(tmp_path, train, cut_short):
    weights, history = cut_short
    again = train("one")
    assert all(torch.equal(values, weights[name]) for name, values in again.method().state_dict().items())
    assert (again.root / HISTORY).read_bytes() == history
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.replaced"]
    assert TrainingRun(tmp_path / "run.replaced").subjects() == ["older"]
