from __future__ import annotations

import math

import pytest

from lesionlab.figures import formats


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.8123, 0.5], 3),  # below 1: three decimals
        ([1.0, 0.5], 3),  # a perfect score changes nothing
        ([7.25], 2),
        ([23.4, 0.1], 1),
        ([512.3], 0),
        ([3.0, 12.0], 0),  # counts
        ([0.0012], 5),
        ([math.nan, 0.5], 3),
        ([], 0),
    ],
)
def test_decimals_follow_the_largest_value(values, expected):
    assert formats.decimals_for(values) == expected


def test_numbers_as_text():
    assert formats.number(0.12345, 3) == "0.123"
    assert formats.number(float("nan")) == formats.number(None) == formats.MISSING
    assert formats.number(-0.0001, 3) == "0.000"
    assert formats.number(math.inf) == "infinite"


def test_a_difference_carries_its_sign():
    assert formats.signed(0.0123, 3) == "+0.012"
    assert formats.signed(-0.0123, 3) == "\N{MINUS SIGN}0.012"
    assert formats.signed(0.0001, 3) == "0.000"
    assert formats.signed(float("nan")) == formats.MISSING


def test_small_p_values_are_bounds():
    assert formats.p_value(0.0004) == "<0.001"
    assert formats.p_value(0.0625) == "0.062"  # Python rounds a tie to the even digit
    assert formats.p_value(float("nan")) == formats.MISSING


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(3.21, "3.2 s"), (42.4, "42 s"), (59.7, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations(seconds, expected):
    assert formats.duration(seconds) == expected
