"""A run that is asked to stop writes a checkpoint, says so, and goes on by the same command."""

from __future__ import annotations

import os
import signal
import threading

import pytest
import torch

from lesionlab.training.checkpoint import load
from lesionlab.training.loop import fit
from lesionlab.training.runs import train_once
from lesionlab.training.stop import Interrupted, StopRequest


class SignalsAt:
    """A tracker that sends this process a signal when a step is logged."""

    def __init__(self, at, number):
        self.at, self.number = at, number

    def metrics(self, values, step):
        if step == self.at:
            os.kill(os.getpid(), self.number)

    def images(self, array, name, step):
        pass


def same(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_stops_the_run_after_its_step_and_the_same_call_goes_on(
    tmp_path, slices, streams, fresh, options, maker, number
):
    straight, continued = fresh(), fresh()
    fit(straight, slices, options, tmp_path / "straight")
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1)]
    with pytest.raises(Interrupted) as caught:
        train_once(fresh(), streams, options, tmp_path / "run", "key", tracker=maker(SignalsAt(4, number)))
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1)] == handlers
    last = tmp_path / "run" / "last.pt"
    assert load(last)["training"]["step"] == 4
    name = signal.Signals(number).name
    assert str(caught.value).startswith(f"cgsamr: stopped after step 4 of 6, as {name} asked. Nothing is lost: {last}")
    assert caught.value.exit_status == 75  # EX_TEMPFAIL of sysexits.h
    train_once(continued, streams, options, tmp_path / "run", "key")
    assert same(straight, continued)


def test_a_signal_in_the_last_step_is_not_swallowed(tmp_path, slices, fresh, options):
    with pytest.raises(Interrupted, match="step 6 of 6"):
        fit(fresh(), slices, options, tmp_path, tracker=SignalsAt(6, signal.SIGTERM))
    assert (tmp_path / "method.pt").exists()


def test_the_time_budget_stops_the_run_and_the_same_call_goes_on(tmp_path, slices, fresh, options):
    straight, continued = fresh(), fresh()
    fit(straight, slices, options, tmp_path / "straight")
    short, steps = options.model_copy(update={"max_minutes": 1e-9}), []
    for _ in range(5):  # each call takes one step, then its time is over
        with pytest.raises(Interrupted, match="its max_minutes of 1e-09 being over"):
            fit(fresh(), slices, short, tmp_path / "run")
        steps.append(load(tmp_path / "run" / "last.pt")["training"]["step"])
    assert steps == [1, 2, 3, 4, 5]
    fit(continued, slices, short, tmp_path / "run")
    assert same(straight, continued)


def test_signals_are_left_alone_outside_the_main_thread():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with StopRequest() as request:
            seen.extend([signal.getsignal(signal.SIGTERM), request.why()])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before, None]
