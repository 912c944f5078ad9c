"""One process among several: what does not need the others."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from lesionlab.training.device import warn_of_norms
from lesionlab.training.ending import earliest
from lesionlab.training.randomness import seed_of
from lesionlab.training.ranks import Ranks


def test_one_process_changes_nothing():
    ranks, values = Ranks(), torch.tensor([1.0, 2.0])
    ranks.average([values])
    ranks.copy_first([values])
    assert values.tolist() == [1.0, 2.0] and ranks.leads
    assert (ranks.any(True), ranks.any(False), ranks.from_first("a"), ranks.gather("a")) == (True, False, "a", ["a"])
    assert ranks.part(np.arange(3)).tolist() == [0, 1, 2]


def test_seeds_differ_by_process_and_step_and_the_first_has_the_runs_own():
    assert seed_of(7, 0) == 7
    seeds = {seed_of(seed, rank, step) for seed in (7, 8) for rank in range(4) for step in (0, 5)}
    assert len(seeds) == 16 and seed_of(7, 2, 5) == seed_of(7, 2, 5)


def test_what_broke_first_in_any_process():
    assert earliest([{"a": (4, 1.0)}, {"a": (3, 2.0), "b": (9, 3.0)}, {}]) == {"a": (3, 2.0), "b": (9, 3.0)}


@pytest.mark.parametrize(("layer", "said"), [(torch.nn.BatchNorm2d(2), True), (torch.nn.InstanceNorm2d(2), False)])
def test_batch_norm_over_parts_is_told(caplog, layer, said):
    with caplog.at_level(logging.WARNING):
        warn_of_norms(torch.nn.Sequential(layer), torch.device("cpu"), sync=True)
    assert ("CPUs cannot join it" in caplog.text) == said
