"""Schedule, random state, meter, montage and progress."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from lesionlab.errors import InputError
from lesionlab.methods.base import Method
from lesionlab.training.history import History, Meter
from lesionlab.training.montage import montage
from lesionlab.training.options import TrainingOptions
from lesionlab.training.progress import Progress, duration
from lesionlab.training.randomness import own_randomness, random_state, set_random_state
from lesionlab.training.schedule import Schedule, make_schedule


def test_rate_is_constant_then_linear_to_zero():
    # Two steps at 1, then 4/4, 3/4, 2/4, 1/4; the step after the last would have 0.
    assert [Method.rate(None, step, 2, 4) for step in range(7)] == [1, 1, 1, 0.75, 0.5, 0.25, 0]


def test_rate_without_decay():
    assert [Method.rate(None, step, 3, 0) for step in range(3)] == [1, 1, 1]


def test_schedule_counts_epochs_or_steps():
    options = TrainingOptions(constant=2, decay=3)
    assert make_schedule(options, 10) == Schedule(20, 30)
    assert make_schedule(options.model_copy(update={"unit": "steps"}), 10) == Schedule(2, 3)
    with pytest.raises(InputError, match="constant 0, decay 0 epochs"):
        make_schedule(TrainingOptions(constant=0, decay=0), 10)


def test_rate_is_applied_to_each_group_from_its_own_start(fresh):
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": parameters[:1], "lr": 1.0}, {"params": parameters[1:], "lr": 0.1}])
    schedule = Schedule(1, 2)
    for step in (0, 1, 2):
        schedule.apply(fresh(), optimizer, step)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.5, 0.05])


def test_a_method_may_have_a_rate_of_its_own(fresh):
    method, optimizer = fresh(), torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    method.rate = lambda step, constant, decay: step / (constant + decay)
    rates = []
    for step in range(4):
        Schedule(1, 3).apply(method, optimizer, step)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0, 0.5, 1, 1.5])


def test_mistyped_options_are_refused():
    with pytest.raises(ValidationError, match="batchsize"):
        TrainingOptions(batchsize=3)


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))


def test_random_state_comes_back():
    draw()
    state = random_state()
    first = draw()
    set_random_state(state)
    assert draw() == first


def test_own_randomness_is_seeded_and_leaves_no_trace():
    state = random_state()
    expected = draw()
    set_random_state(state)
    with own_randomness(3):
        one = draw()
    assert draw() == expected
    with own_randomness(3):
        assert draw() == one
    with own_randomness(4):
        assert draw() != one


def test_meter_means_and_continues():
    meter = Meter()
    meter.add({"a": torch.tensor(1.0)})
    other = Meter()
    other.load_state_dict(meter.state_dict(), torch.device("cpu"))
    other.add({"a": torch.tensor(3.0)})
    assert other.drain() == {"a": 2.0}
    other.add({"a": torch.tensor(7.0)})
    assert other.drain() == {"a": 7.0}


def test_history_is_long_form(tmp_path):
    history = History()
    history.add(1, {"a": 0.5, "b": 2.0})
    history.save(tmp_path / "history.csv")
    assert history.table().to_dict("list") == {"step": [1, 1], "name": ["a", "b"], "value": [0.5, 2.0]}
    assert (tmp_path / "history.csv").read_text().splitlines() == ["step,name,value", "1,a,0.5", "1,b,2.0"]
    assert [p.name for p in tmp_path.iterdir()] == ["history.csv"]


def test_montage_by_hand():
    # One slice; "big" has two channels of 2 x 2, "small" one of 1 x 1, enlarged to 2 x 2; gaps of 2 are black.
    big = torch.tensor([[[[1.0, -1.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]]])
    picture = montage({"big": big, "small": torch.ones(1, 1, 1, 1)})
    assert picture.shape == (8, 8)
    assert picture[:2].tolist() == [[255, 0, 0, 0, 255, 255, 0, 0], [128, 128, 0, 0, 255, 255, 0, 0]]
    assert picture[4:6, :2].tolist() == [[255, 255], [255, 255]] and picture[:, 6:].max() == 0


@pytest.mark.parametrize(("seconds", "text"), [(9.4, "9 s"), (75, "1 min 15 s"), (3600 * 2 + 125, "2 h 2 min")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_progress_tells_time_left(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    with caplog.at_level("INFO"), Progress("unet", total=10, done=4) as progress:
        for _ in range(2):
            now[0] += 30
            progress.advance()
        # Two steps took 60 s; four are left.
        assert progress.seconds_left() == pytest.approx(120)
        progress.report({"U/total": 0.25})
    assert "from step 4" in caplog.messages[0]
    assert caplog.messages[1] == "unet: step 6 of 10, 2 min 0 s left; U/total 0.25"
