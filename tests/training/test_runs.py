"""A training is done once for what it is made from, goes on where it stopped, and makes room for another."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
import torch

from lesionlab.stages.artifact import is_current
from lesionlab.training.checkpoint import load
from lesionlab.training.loop import CHECKPOINT, TRAINED, fit
from lesionlab.training.runs import SUBJECTS, TrainingRun, train_once


class Stopped(Exception):
    """Stands for a power cut."""


class StopsAt:
    """A tracker that stops the run when step ``at`` is logged, and counts what it is told."""

    def __init__(self, at: int | None = None):
        self.at, self.steps = at, []

    def metrics(self, values, step):
        if step == self.at:
            raise Stopped
        self.steps.append(step)

    def images(self, array, name, step):
        pass


def changed(folder) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def weights(run: TrainingRun) -> dict[str, torch.Tensor]:
    return run.method().state_dict()


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_training_runs_and_is_sealed(tmp_path, streams, fresh, options):
    method = fresh()
    run = train_once(method, streams, options, tmp_path / "run", "key")
    assert is_current(tmp_path / "run", "key") and not is_current(tmp_path / "run", "other")
    assert not run.method().training
    assert equal(weights(run), method.state_dict())
    history = run.history()
    assert list(history) == ["step", "name", "value"] and history["step"].max() == 6


def test_pictures_come_back_by_step(tmp_path, streams, fresh, options):
    options = options.model_copy(update={"image_moments": (0.5, 1.0)})
    first_two = streams["slices"][0].model_copy(update={"places": (0, 1)})
    run = train_once(fresh(), streams, options, tmp_path / "run", "key", preview=first_two)
    moments = run.moments()
    assert list(moments) == [3, 6]
    assert moments[3]["synthetic"].shape == (2, 2, 16, 16)
    assert not np.array_equal(moments[3]["synthetic"], moments[6]["synthetic"])


def test_a_finished_training_is_not_repeated(tmp_path, streams, fresh, options, caplog, maker):
    train_once(fresh(), streams, options, tmp_path / "run", "key")
    before, tracker = changed(tmp_path / "run"), StopsAt()
    with caplog.at_level(logging.INFO):
        again = train_once(fresh(seed=1), streams, options, tmp_path / "run", "key", tracker=maker(tracker))
    assert changed(tmp_path / "run") == before and tracker.steps == []
    assert again == TrainingRun(tmp_path / "run")
    assert "run: trained already, nothing changed" in caplog.text


def test_another_key_removes_what_is_there_and_trains_anew(tmp_path, streams, fresh, options):
    train_once(fresh(), streams, options, tmp_path / "run", "key")
    (tmp_path / "run" / "left behind").write_text("by the other run")
    other = options.model_copy(update={"seed": 1})
    again = train_once(fresh(seed=1), streams, other, tmp_path / "run", "other")
    expected = train_once(fresh(seed=1), streams, other, tmp_path / "expected", "other")
    assert not (tmp_path / "run" / "left behind").exists()
    assert is_current(tmp_path / "run", "other") and equal(weights(again), weights(expected))


@pytest.mark.parametrize("lost", [TRAINED, CHECKPOINT])
def test_a_training_that_lost_a_file_is_not_taken_for_whole(tmp_path, streams, fresh, options, lost):
    expected = weights(train_once(fresh(), streams, options, tmp_path / "run", "key"))
    (tmp_path / "run" / lost).unlink()
    assert not is_current(tmp_path / "run", "key")
    again = train_once(fresh(), streams, options, tmp_path / "run", "key")
    assert is_current(tmp_path / "run", "key") and equal(weights(again), expected)


def test_a_stopped_training_goes_on(tmp_path, streams, fresh, options, maker):
    straight = train_once(fresh(), streams, options, tmp_path / "straight", "key")
    with pytest.raises(Stopped):
        train_once(fresh(), streams, options, tmp_path / "run", "key", tracker=maker(StopsAt(4)))
    assert not is_current(tmp_path / "run", "key")
    assert load(tmp_path / "run" / CHECKPOINT)["training"]["step"] == 3
    tracker = StopsAt()
    continued = train_once(fresh(), streams, options, tmp_path / "run", "key", tracker=maker(tracker))
    assert tracker.steps == [4, 6]  # logged every second step, from the checkpoint of step 3 on
    assert equal(weights(continued), weights(straight))
    tables = (run.history()[lambda t: ~t["name"].str.startswith("speed/")] for run in (continued, straight))
    pd.testing.assert_frame_equal(*(table.reset_index(drop=True) for table in tables))


def test_a_training_stopped_behind_its_last_checkpoint_still_leaves_its_method(tmp_path, slices, fresh, options):
    trained = fresh()
    fit(trained, slices, options, tmp_path)
    (tmp_path / TRAINED).unlink()
    fit(fresh(), slices, options, tmp_path)
    assert equal(weights(TrainingRun(tmp_path)), trained.state_dict())


@pytest.mark.parametrize("other", ["older", "key-and-more"])
def test_a_stopped_training_of_another_key_is_not_gone_on_with(tmp_path, streams, fresh, options, other, maker):
    with pytest.raises(Stopped):
        train_once(fresh(), streams, options, tmp_path / "run", other, tracker=maker(StopsAt(4)))
    tracker = StopsAt()
    train_once(fresh(), streams, options, tmp_path / "run", "key", tracker=maker(tracker))
    assert tracker.steps == [2, 4, 6]


def test_who_was_learnt_from_is_written_down_before_the_first_step(tmp_path, streams, fresh, options, maker):
    with pytest.raises(Stopped):
        train_once(
            fresh(), streams, options, tmp_path / "run", "key", subjects=["b", "a", "b"], tracker=maker(StopsAt(2))
        )
    assert TrainingRun(tmp_path / "run").subjects() == ["a", "b"]
    again = train_once(fresh(), streams, options, tmp_path / "run", "other", subjects=["c"])
    assert again.subjects() == ["c"]


def test_a_training_that_lost_its_list_of_subjects_is_done_again(tmp_path, streams, fresh, options):
    run = train_once(fresh(), streams, options, tmp_path / "run", "key", subjects=["a"])
    (run.root / SUBJECTS).unlink()
    assert not is_current(tmp_path / "run", "key")
    assert train_once(fresh(), streams, options, tmp_path / "run", "key", subjects=["a"]).subjects() == ["a"]


def test_slices_are_augmented_by_what_is_given(tmp_path, streams, fresh, options, maker):
    plain = train_once(fresh(), streams, options, tmp_path / "plain", "key")
    darker = train_once(
        fresh(), streams, options, tmp_path / "darker", "key",
        augment=maker(lambda batch: batch.replace(images=batch.images / 2)),
    )  # fmt: skip
    assert not equal(weights(plain), weights(darker))
