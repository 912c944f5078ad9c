"""Several trainings at once: the same results, errors and signals as one after the other."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
import torch

from lesionlab.errors import InputError
from lesionlab.training import side_by_side as module
from lesionlab.training.side_by_side import GPUS, Place, side_by_side
from lesionlab.training.stop import Interrupted


def wait_until_asked(where, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not where.processes.asked and time.monotonic() < deadline:
        time.sleep(0.01)


def test_one_place_works_in_order_in_this_process():
    seen = []
    works = {name: lambda where, name=name: seen.append((name, where.apart)) or name for name in "bac"}
    assert side_by_side(works) == {"b": "b", "a": "a", "c": "c"}
    assert seen == [("b", False), ("a", False), ("c", False)]


def test_as_many_at_once_as_there_are_places_each_with_its_number():
    meet, numbers = threading.Barrier(2, timeout=10), []

    def work(where):
        meet.wait()  # would break if only one were at work
        numbers.append(where.number)
        meet.wait()
        return where.places

    assert side_by_side(dict.fromkeys("abcd", work), 2) == dict.fromkeys("abcd", 2)
    assert sorted(numbers[:2]) == sorted(numbers[2:]) == [0, 1]


def test_where_one_fails_those_at_work_end_and_no_other_begins(caplog):
    begun, both, failed = [], threading.Barrier(2, timeout=10), threading.Event()

    def fails(where):
        begun.append("fails")
        both.wait()
        failed.set()
        raise InputError("no good", given="x", allowed="y", cure="z")

    def goes_on(where):
        begun.append("goes on")
        both.wait()
        assert failed.wait(10)
        time.sleep(0.3)
        begun.append("ended")
        raise ValueError("later")

    works = {"a": fails, "b": goes_on} | {
        f"c{i}": lambda where: time.sleep(0.2) or begun.append("c") for i in range(50)
    }
    with pytest.raises(InputError, match="no good"):
        side_by_side(works, 2)
    assert sorted(begun[:2]) == ["fails", "goes on"] and begun[2:] == ["ended"]
    assert "b: later" in caplog.text


def test_a_signal_lets_nothing_else_begin():
    begun = []

    def work(where):
        begun.append(where.number)
        if len(begun) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        wait_until_asked(where)
        raise InterruptedError("as asked")

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(InterruptedError, match="as asked"):
        side_by_side(dict.fromkeys("abcdef", work), 2)
    assert len(begun) <= 2 and signal.getsignal(signal.SIGTERM) is before


def test_a_signal_between_two_works_stops_as_well():
    def work(where):
        os.kill(os.getpid(), signal.SIGTERM)
        wait_until_asked(where)
        return "done"

    with pytest.raises(Interrupted, match="between two trainings"):
        side_by_side({"a": work}, 2)


@pytest.fixture
def control_c():
    """Ctrl-C as in a terminal; a shell's jobs in the background are born deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_control_c_stops_as_well(control_c):
    begun = []

    def work(where):
        begun.append(where.number)
        if len(begun) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        wait_until_asked(where)

    with pytest.raises(KeyboardInterrupt):
        side_by_side(dict.fromkeys("abcdef", work), 2)
    assert len(begun) <= 2


def test_control_c_while_work_is_handed_out_stops_what_has_begun():
    asked = []

    class CutShort(dict):
        def items(self):
            yield from list(super().items())
            raise KeyboardInterrupt

    def work(where):
        wait_until_asked(where)
        asked.append(where.processes.asked)

    with pytest.raises(KeyboardInterrupt):
        side_by_side(CutShort(a=work), 2)
    assert asked == [True]


def test_a_failure_is_raised_before_what_was_asked_to_stop(caplog):
    meet = threading.Barrier(2, timeout=10)

    def stopped(where):
        meet.wait()
        raise Interrupted("a", "as asked", 1, 2, "x")

    def fails(where):
        meet.wait()
        time.sleep(0.2)
        raise ValueError("worse")

    with pytest.raises(ValueError, match="worse"):
        side_by_side({"a": stopped, "b": fails}, 2)
    assert "a: a: stopped after step 1 of 2" in caplog.text


@pytest.mark.parametrize(
    ("number", "devices", "given", "wanted"),
    [
        (0, 1, "", "0"),
        (1, 1, "", "1"),
        (1, 2, "", "2,3"),
        (2, 2, "", "0,1"),  # more asked for than there are: places share
        (1, 1, "5,7", "7"),
    ],
)
def test_each_place_has_gpus_of_its_own(monkeypatch, number, devices, given, wanted):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv(GPUS, given)
    assert Place(number, places=3).variables(devices)[GPUS] == wanted


def test_each_place_has_its_share_of_the_cores_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.setattr(module, "_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv(GPUS, raising=False)
    assert Place(1, places=2).variables(devices=1)["OMP_NUM_THREADS"] == "4"
    assert (
        Place(1, places=2, environment={"A": "b"}).variables(devices=2).items()
        >= {
            "OMP_NUM_THREADS": "2",
            "A": "b",
        }.items()
    )
    assert GPUS not in Place(1, places=2).variables(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert Place(1, places=2).variables(1)["OMP_NUM_THREADS"] == "3"
